"""Starts the parts of the sensor, restarts what dies, and holds what must survive a part."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from apisensor import compiled
from apisensor.capture.kernel import POLICY_OWN, Map, map_memory
from apisensor.capture.procfs import memory_bytes
from apisensor.events.model import Address
from apisensor.processes import log
from apisensor.processes.governing import Governing
from apisensor.processes.loading import SKIP_SLOTS, Kernel, LoadError, Loading
from apisensor.processes.messages import (
    Drop,
    Keep,
    Note,
    PartParameters,
    Parts,
    PartState,
    Ready,
    decode_to_run,
    encode,
)
from apisensor.processes.parts import NEED_KERNEL, Page, Part, make_parts, needed
from apisensor.processes.privileges import FATAL, WRITE_FAILED
from apisensor.replay.model import RecordingHeader
from apisensor.sections import Settings

BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Pause before a part is started again: at once the first time, longer the more often it dies."""
HEALTHY_S = 3.0
"""A part that lived so long starts again at once."""
REPORT_S = 2.0
"""How often core is told how the parts are."""
START_TRIES = 3
"""A part that dies so often before it was ever ready ends the sensor."""

CLOSERS = 32
"""Links that are let go at once: each waits until no processor is in its program any more, and they wait together."""

MAPS = ("map:", "inner:", "ring:")
"""Beginnings of the names of maps among what the loader hands over; the others are programs."""


def _environment() -> dict[str, str]:
    """Of every part but core."""
    plain = os.environ.get(compiled.PLAIN)
    return {"PATH": "/usr/bin:/bin"} | ({compiled.PLAIN: plain} if plain else {})


class Supervisor:
    """All parts of one sensor."""

    def __init__(
        self,
        settings: Settings,
        loading: Loading,
        *,
        key: bytes = b"",
        described: bytes | None = None,
        live: socket.socket | None = None,
        page: Page | None = None,
        output: Literal["table", "jsonl", "none"] = "none",
        recording: tuple[int, RecordingHeader] | None = None,
    ) -> None:
        """
        Args:
            described: what descriptor sets say, for the workers.
            recording: an open file and the header for it; then nothing is analysed and there is no core.
        """
        self._settings, self._output = settings, output
        self._loading: Loading | None = loading
        self._kernel: Kernel | None = None
        self.log = log.make(settings, "run")
        self._recording = recording
        self._held: dict[str, tuple[Keep, list[int]]] = {}
        self._notes: list[str] = []
        self._disowned = [os.getpid()]
        """Processes that the kernel side is to leave out as soon as it is there."""
        self.failed: str | None = None
        """Why the sensor must end, one line."""
        self.finished = False
        """Core has ended by itself: nobody reads what it prints."""
        self._next_report = 0.0
        self._governing: Governing | None = None
        self._selector: selectors.BaseSelector | None = None
        self._page = None if page is None else Address(*page.listening.getsockname()[:2])
        file = None if recording is None else recording[0]
        self._parts, self._sockets = make_parts(settings, key, described, live, page, file)

    @property
    def ready(self) -> bool:
        """Is every part at work?"""
        return all(part.ready for part in self._parts)

    def describe(self) -> str:
        """What is running, for one line."""
        attached = sum(keep.library is not None for keep, _ in self._held.values())
        return f"{len(self._parts)} parts, {attached} TLS libraries attached; {self._notes[0]}"

    def start(self, selector: selectors.BaseSelector) -> None:
        """Starts every part, those that need the kernel side when it is there; their ends and messages are handled by
        callables in the selector."""
        self._selector = selector
        assert self._loading is not None
        selector.register(self._loading, selectors.EVENT_READ, lambda _mask: self._loaded())
        for part in self._parts:
            selector.register(part.link.fileno(), selectors.EVENT_READ, lambda _mask, part=part: self._on_message(part))
            if part.module not in NEED_KERNEL:
                self._start(part)

    def _loaded(self) -> None:
        """The loader has answered, or is late: the parts that need the programs and maps can start."""
        assert self._selector is not None
        loading, self._loading = self._loading, None
        assert loading is not None
        self._selector.unregister(loading)
        try:
            kernel = self._kernel = loading.finish()
        except LoadError as error:
            self.failed = str(error)
            return
        self._notes.insert(
            0,
            f"sockets: back end {kernel.back_end}; uprobes: {'uprobe_multi links' if kernel.uprobe_multi else 'perf'}; "
            f"programs {kernel.programs}",
        )
        for pid in self._disowned:
            self.disown(pid)
        # A recording is what somebody has asked for: it is whole.
        share = self._settings.governor.cpu_share if self._recording is None else 0
        self._governing = Governing(share, kernel.descriptors) if share else None
        if self._governing is not None and self._governing.note is not None:
            self._notes.append(self._governing.note)
        for part in self._parts:
            if part.module in NEED_KERNEL:
                part.descriptors |= needed(kernel.descriptors, part)
                self._start(part)

    def disown(self, pid: int) -> None:
        """Makes the kernel side leave a process out: the sensor does not see itself."""
        if self._kernel is None:
            self._disowned.append(pid)
        else:
            self._map("policies", 1).set(struct.pack("I", pid), POLICY_OWN)

    def _map(self, name: str, value_size: int) -> Map:
        assert self._kernel is not None
        return Map(self._kernel.descriptors[f"map:{name}"], 4, value_size)

    def _raise_epoch(self, part: Part) -> None:
        """A worker does not know what its predecessor was told of sockets: the kernel side tells it again, from the
        moment on that the predecessor's end is known."""
        if part.module == "worker":
            self._map("epochs", 4).set(struct.pack("I", part.index), struct.pack("I", part.restarts + 1))

    def _start(self, part: Part) -> None:
        parameters = PartParameters(
            settings=self._settings,
            run=part.theirs.fileno(),
            descriptors=part.descriptors,
            uprobe_multi=self._kernel is not None and self._kernel.uprobe_multi,
            index=part.index,
            output=self._output,
            page=self._page,
            own=[os.getpid(), *self._pids()],
            held=len(self._held) if part.name == "capture" else 0,
            skip_slots=SKIP_SLOTS,
            ring_bytes=self._settings.capture.ring_bytes,
            recording=self._recording[1] if self._recording else None,
        )
        self._raise_epoch(part)
        command = [
            sys.executable,
            "-I",
            "-m",
            f"apisensor.processes.{part.module}",
            msgspec.json.encode(parameters).decode(),
        ]
        given = [part.theirs.fileno(), *part.descriptors.values()]
        part.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            # The environment may hold the collector's credentials (OTEL_EXPORTER_OTLP_HEADERS): only core needs them.
            env=None if part.name == "core" else _environment(),
            stdout=None if part.name == "core" else subprocess.DEVNULL,
            pass_fds=given,
            # An interrupt at the terminal is for `run`, which then ends the parts in order.
            start_new_session=True,
        )
        self.disown(part.process.pid)
        part.started_ns = time.monotonic_ns()
        part.ready = False
        part.handle = os.pidfd_open(part.process.pid)
        assert self._selector is not None
        self._selector.register(part.handle, selectors.EVENT_READ, lambda _mask: self._on_end(part))
        if part.name == "capture":
            for keep, links in self._held.values():
                part.link.send(encode(keep), links)

    def _pids(self, *, ready: bool = False) -> list[int]:
        return [part.process.pid for part in self._parts if part.process is not None and (part.ready or not ready)]

    def _on_end(self, part: Part) -> None:
        """A part has ended by itself: say so and plan its restart."""
        assert part.process is not None
        assert self._selector is not None
        status = part.process.wait()
        self._selector.unregister(part.handle)
        os.close(part.handle)
        part.process = None
        if status == 0 and part.wakes is not None:
            part.resting = True
            self._selector.register(part.wakes, selectors.EVENT_READ, lambda _mask: self._wake(part))
            self._next_report = 0.0
            return
        part.last_exit = f"signal {-status}" if status < 0 else f"exit status {status}"
        lived = (time.monotonic_ns() - part.started_ns) / 1e9
        part.failures = 0 if lived > HEALTHY_S else part.failures + 1
        if status == 0 and part.name == "core":
            self.finished = True
            return
        if status >= WRITE_FAILED:
            self.failed = f"the recording cannot be written: {os.strerror(status - WRITE_FAILED)}"
            return
        if status == FATAL or (not part.was_ready and part.failures >= START_TRIES):
            self.failed = f"{part.name} cannot work ({part.last_exit}): its lines above say why"
            return
        pause = BACKOFF_S[min(max(part.failures - 1, 0), len(BACKOFF_S) - 1)]
        part.again_at = time.monotonic() + pause
        part.restarts += 1
        self._raise_epoch(part)
        again = f"starting it again in {pause:g} s" if pause else "starting it again"
        self.log.warning(f"{part.name} ended ({part.last_exit}), {again}")
        self._next_report = 0.0

    def _wake(self, part: Part) -> None:
        """Somebody connects to a part that rests."""
        assert self._selector is not None
        assert part.wakes is not None
        self._selector.unregister(part.wakes)
        part.resting = False
        self._start(part)

    def _on_message(self, part: Part) -> None:
        while (received := part.link.receive()) is not None:
            message = decode_to_run(received[0])
            if isinstance(message, Keep):
                self._held[message.label] = (message, received[1])
            elif isinstance(message, Drop):
                for descriptor in self._held.pop(message.label, (None, []))[1]:
                    os.close(descriptor)
            elif isinstance(message, Ready):
                part.ready = part.was_ready = True
                self._next_report = 0.0
            elif isinstance(message, Note):
                self._notes.append(message.text)

    def tick(self) -> float:
        """Restarts what is due and reports; returns the seconds until it wants to be called again."""
        now = time.monotonic()
        if self._loading is not None and self._loading.late:
            self._loaded()
        waiting = [part for part in self._parts if part.process is None and self._may_start(part)]
        for part in waiting:
            if now >= part.again_at and self.failed is None:
                self._start(part)
        if self._governing is not None and self._governing.look([os.getpid(), *self._pids(ready=True)]):
            self._next_report = 0.0
        if now >= self._next_report:
            self._next_report = now + REPORT_S
            self._report()
        pauses = [part.again_at - now for part in waiting if part.process is None]
        governing = self._governing.wait_s() if self._governing is not None else REPORT_S
        return max(0.01, min([self._next_report - now, governing, *pauses]))

    def _may_start(self, part: Part) -> bool:
        return not part.resting and (self._kernel is not None or part.module not in NEED_KERNEL)

    def _report(self) -> None:
        core = next((part for part in self._parts if part.name == "core"), None)
        if core is None or core.process is None:
            return
        states = [PartState("run", os.getpid(), "root", self._own_start, 0, None, memory_bytes(os.getpid()))]
        for part in self._parts:
            pid = part.process.pid if part.process is not None else None
            memory = memory_bytes(pid, maps=part.module == "worker") if pid is not None else None
            told = (part.restarts, part.last_exit, memory, part.resting)
            states.append(PartState(part.name, pid, part.user, part.started_ns, *told))
        governor = self._governing.state() if self._governing is not None else None
        core.link.send(encode(Parts(states, self._notes, governor, self._map_memory())))

    def _map_memory(self) -> dict[str, int]:
        """What each map takes. The parts' memory leaves these pages out, so a ring that a worker has mapped is counted
        once."""
        descriptors = {} if self._kernel is None else self._kernel.descriptors
        maps = {name: one for name, one in descriptors.items() if name.startswith(MAPS)}
        return {name.removeprefix("map:").removeprefix("inner:"): map_memory(one) for name, one in maps.items()}

    _own_start = time.monotonic_ns()

    def stop(self, within_s: float) -> None:
        """Ends all parts: what produces first, then what hands on."""
        deadline = time.monotonic() + within_s
        if self._loading is not None:
            self._loading.close()
        order: Sequence[Part] = sorted(self._parts, key=lambda part: part.module in ("core", "recorder"))
        for part in order:
            if part.process is None:
                continue
            part.process.send_signal(signal.SIGTERM)
            try:
                part.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                part.process.kill()
                part.process.wait()
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - takes memory, and is needed at the end

        with ThreadPoolExecutor(CLOSERS) as closers:
            for _, links in self._held.values():
                for descriptor in links:
                    closers.submit(os.close, descriptor)
