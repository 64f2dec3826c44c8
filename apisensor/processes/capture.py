"""The capture process: attaches probes, follows processes, reads the kernel's counters. No payload, no ELF.

    python -m apisensor.processes.capture PARAMETERS

It starts as root, opens nothing but /proc and what processes have mapped, and keeps the capabilities named below.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time

from apisensor.capture import procfs
from apisensor.capture.counters import KernelCounters
from apisensor.capture.kernel import Map, possible_processors
from apisensor.capture.libraries import Libraries
from apisensor.capture.library import Library
from apisensor.capture.mappings import MappingWatch
from apisensor.capture.observer import NOTICE_MEMORY_BIO, NeverCapture, Observer, decode_notice, inode_of
from apisensor.capture.pauses import RULE_BYTES, PauseError, Pauses
from apisensor.capture.preflight import perf_is_closed, uretprobe_hazard
from apisensor.capture.probes import Programs
from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.events.ring import Ring
from apisensor.live.pauses import Resume
from apisensor.processes.asking import Asking
from apisensor.processes.link import Link
from apisensor.processes.messages import (
    Drop,
    FromCapture,
    Keep,
    KernelReport,
    Note,
    PartParameters,
    PauseAnswer,
    PauseOrder,
    ProcessTraffic,
    Ready,
    decode_from_run,
    decode_to_capture,
    encode,
    parameters_from,
)
from apisensor.processes.privileges import FATAL, become, die_with_parent

CAPABILITIES = (
    "CAP_BPF",  # maps and links
    "CAP_PERFMON",  # tracing programs, perf events
    "CAP_SYS_PTRACE",  # /proc/PID/exe, maps, environ, root of processes of other users
    "CAP_DAC_READ_SEARCH",  # libraries in folders of other users
    "CAP_CHECKPOINT_RESTORE",  # /proc/PID/map_files: exactly the file that is mapped, even deleted
)

PERF_ADMINISTRATOR = "CAP_SYS_ADMIN"
"""Kept besides where the distribution's kernel wants it for perf events, and probes are attached by these."""

NOTICES_BYTES = 256 * 4096
"""Size of the notices ring, as bpf/maps.h has it."""
REPORT_S = 1.0
SWEEP_S = 60.0
"""How often TLS sessions and calls of processes that have ended are removed from the kernel's tables."""
FULL_SWEEP_S = 5.0
"""The same while one of them is full: what killed processes have left takes the room of others."""
FULL = ("kernel.lost.map_full_sessions", "kernel.lost.map_full_calls")
"""Counters that say so."""
BATCH = 256
"""Notices worked on before the other sources get their turn."""


class CaptureProcess:
    """Everything of this process, wired up."""

    def __init__(self, parameters: PartParameters, mappings: MappingWatch) -> None:
        self._parameters = parameters
        self._capture = parameters.settings.capture
        descriptors = parameters.descriptors
        self._run = Link.of(parameters.run)
        self._core = Link.of(descriptors["core"])
        finder = Asking(Link.of(descriptors["finder"]))
        self._programs = Programs(descriptors, uprobe_multi=parameters.uprobe_multi)
        self._maps = {
            name: Map(descriptors[f"map:{name}"], key, value)
            for name, key, value in (
                ("config", 4, 16),
                ("policies", 4, 1),
                ("memory_bio", 4, 1),
                ("never_ports", 2, 1),
                ("pauses", 4, RULE_BYTES),
                ("paused_ports", 2, 1),
                ("ports_paused", 4, 4),
                ("never_executables", 16, 1),
                ("traffic", 4, 48),
                ("tls_sessions", 16, 96),
                ("calls", 16, 72),
            )
        }
        self._counters = KernelCounters(descriptors, self._maps["traffic"])
        self._hazard = uretprobe_hazard()
        self._libraries = Libraries(self._programs, finder.ask, self._keep, self._drop, self._tell, self._hazard)
        never = NeverCapture(
            self._capture.never_pids,
            self._capture.never_executables,
            self._capture.never_containers,
            self._capture.never_ports,
        )
        self._pauses = Pauses(self._maps)
        self._observer = Observer(
            self._libraries,
            self._maps["policies"],
            self._maps["memory_bio"],
            never,
            self._tell,
            self._counters.libraries,
            self._pauses.policy,
        )
        self._notices = Ring(descriptors["map:notices"], NOTICES_BYTES)
        self._mappings = mappings
        self._mappings_lost = 0
        self.undelivered = 0
        """Messages that core had no room for."""
        self._reports = 0

    def start(self) -> None:
        """Fills the kernel's tables, attaches, and looks at the processes that are there."""
        held = self._take_over()
        self._fill_tables()
        if "kernel" not in held:
            self._send_run(Keep("kernel", None), self._programs.attach_in_kernel())
        if self._hazard is not None:
            self._tell(Note(self._hazard))
        self._libraries.attach_host()
        self._observer.start(self._parameters.own)
        known = self._maps["traffic"].keys()
        for key in known:
            self._observer.first_bytes(struct.unpack("I", key)[0], time.monotonic_ns())
        self._send_run(Ready(f"{sum(library.attached for library in self._libraries.known.values())} libraries"))

    def _take_over(self) -> set[str]:
        """Learns what `run` holds of a predecessor's attachments."""
        labels: set[str] = set()
        while len(labels) < self._parameters.held:
            received = self._run.receive()
            if received is None:
                select.select([self._run], [], [])
                continue
            message = decode_from_run(received[0])
            if isinstance(message, Keep):
                labels.add(message.label)
                self._libraries.restore(message.label, message.library)
        return labels

    def _fill_tables(self) -> None:
        never = self._capture
        for port in never.never_ports:
            self._maps["never_ports"].set(struct.pack("H", port), b"\1")
        for path in never.never_executables:
            place = inode_of(path)
            if place is None:
                self._tell(Note(f"capture.never_executables: {path} does not exist; nothing is left out for it"))
                continue
            inode, major, minor = place
            self._maps["never_executables"].set(struct.pack("QII", inode, major << 20 | minor, 0), b"\1")
        for pid in never.never_pids:
            self._maps["policies"].set(struct.pack("I", pid), b"\2")
        # struct config: workers, call_limit, hold_unknown, hold_unbound
        hold_unknown, hold_unbound = int(bool(never.never_containers)), int(bool(never.never_ports))
        workers = self._parameters.settings.worker.count
        self._maps["config"].set(bytes(4), struct.pack("IIII", workers, never.call_limit, hold_unknown, hold_unbound))

    def loop(self) -> None:
        """Works until its parent ends."""
        ready = select.epoll()
        notices = self._parameters.descriptors["map:notices"]
        for descriptor in (notices, self._core.fileno(), *self._mappings.descriptors):
            ready.register(descriptor, select.EPOLLIN)
        swept, full = time.monotonic(), 0
        next_report = next_sweep = swept + REPORT_S
        while True:
            ready.poll(max(0.0, next_report - time.monotonic()))
            taken = list(self._notices.take(decode_notice, BATCH))
            # A process that moves TLS bytes has mapped its library before.
            self._read_mappings()
            # A memory BIO cannot wait: its process is in the middle of a handshake.
            for notice in sorted(taken, key=lambda notice: notice.kind != NOTICE_MEMORY_BIO):
                self._observer.handle(notice)
            while (received := self._core.receive()) is not None:
                message = decode_to_capture(received[0])
                if isinstance(message, PauseOrder):
                    self._tell(self._obey(message))
                    continue
                self._observer.resend()
                for library in self._libraries.known.values():
                    self._tell(library)
            now = time.monotonic()
            if now >= next_report:
                next_report = now + REPORT_S
                self._judge(self._pauses.expire(time.monotonic_ns()))
                before, full = full, self._report()
                if full != before:
                    next_sweep = min(next_sweep, swept + FULL_SWEEP_S)
            if now >= next_sweep:
                swept, next_sweep = now, now + SWEEP_S
                self._sweep()

    def _judge(self, pids: list[int]) -> None:
        for pid in pids:
            self._observer.judge(pid)

    def _obey(self, message: PauseOrder) -> PauseAnswer:
        order, now_ns = message.order, time.monotonic_ns()
        try:
            if isinstance(order, Resume):
                self._judge(self._pauses.resume(order.rule))
                return PauseAnswer(message.number, f"{order.rule} is captured again", refused=False)
            count = self._pauses.pause(order, now_ns)
        except PauseError as error:
            return PauseAnswer(message.number, str(error), refused=True)
        processes = "" if order.rule.kind == "port" else f" ({count} processes now)"
        self._report()  # so that the status that is asked for next has it
        return PauseAnswer(message.number, f"nothing of {order.rule} is captured{processes}", refused=False)

    def _read_mappings(self) -> None:
        for mapping in self._mappings.read():
            if procfs.is_tls_library(mapping.path):
                files = list(procfs.mapped_files(mapping.pid))
                for file in files:
                    if procfs.is_tls_library(file.path):
                        self._observer.mapped(mapping.pid, file, mapping.time_ns)
                if not files:
                    self._observer.had_mapped(mapping.pid, (mapping.device, mapping.inode), mapping.time_ns)
            elif procfs.is_crypto_library(mapping.path):
                # The dynamic linker maps it after libssl, which may have been looked at before it was there.
                self._observer.prepare(mapping.pid)
        if self._mappings.lost != self._mappings_lost:
            self._mappings_lost = self._mappings.lost
            self._observer.start(self._parameters.own)

    def _report(self) -> int:
        """Tells core what has been counted. Returns how often a table that is swept had no room, so far."""
        counters = self._counters.read()
        counters["capture.lost.mappings"] = self._mappings.lost
        counters["capture.lost.messages"] = self.undelivered
        self._reports += 1
        counters["capture.reports"] = self._reports
        rows = self._counters.processes(self._observer.sight.attached, self._observer.sight.blind)
        processes = [ProcessTraffic(*row) for row in rows]
        self._tell(KernelReport(counters, processes, list(self._pauses.told(time.monotonic_ns()))))
        return sum(counters[name] for name in FULL)

    def _sweep(self) -> None:
        # Both keys have the process after their first word; calls of threads have 0 there and end with their thread.
        for table in (self._maps["tls_sessions"], self._maps["calls"]):
            for key in table.keys(most=1 << 17):
                pid = struct.unpack_from("I", key, 8)[0]
                if pid and not os.path.exists(f"/proc/{pid}"):
                    table.delete(key)

    def _keep(self, label: str, library: Library | None, links: list[int]) -> None:
        self._send_run(Keep(label, library), links)

    def _drop(self, label: str) -> None:
        self._send_run(Drop(label))

    def _send_run(self, message: Keep | Drop | Ready, links: list[int] | None = None) -> None:
        """Hands descriptors over to `run`, which then alone holds them."""
        while not self._run.send(encode(message), links or []):
            select.select([], [self._run], [])
        for link in links or []:
            os.close(link)

    def _tell(self, message: FromCapture | ProcessSeen | ProcessGone) -> None:
        if not self._core.send(encode(message)):
            self.undelivered += 1


def kept_capabilities(parameters: PartParameters) -> tuple[str, ...]:
    """With the one for perf events where the kernel is closed and probes need them while it runs."""
    by_perf = not parameters.uprobe_multi or any(name.startswith("kprobe:") for name in parameters.descriptors)
    return (*CAPABILITIES, PERF_ADMINISTRATOR) if by_perf and perf_is_closed() else CAPABILITIES


def main() -> int:
    """Captures until its parent ends."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    try:
        mappings = MappingWatch(possible_processors())
    except PermissionError as error:
        remedy = "sysctl kernel.perf_event_paranoid=2, or CAP_SYS_ADMIN" if perf_is_closed() else "CAP_PERFMON"
        print(f"apisensor: capture: {error}: it needs {remedy}", file=sys.stderr)
        return FATAL
    become(parameters.settings.general.user, kept_capabilities(parameters))
    die_with_parent(parent)
    capture = CaptureProcess(parameters, mappings)
    capture.start()
    capture.loop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
