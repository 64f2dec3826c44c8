"""The core process: joins what workers and capture tell, and serves the sinks. Unprivileged.

python -m apisensor.processes.core PARAMETERS

links of the workers -> enrich (process, service, library) -> route -> printer, live stream, OTLP, metrics
                                                                 `---> inventory, detection, store (calls.py)
"""

from __future__ import annotations

import functools
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from apisensor.capture.library import Library
from apisensor.detect import json_form
from apisensor.detect.detection import UnknownDetectorError
from apisensor.detect.model import Finding
from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.enrich.processes import ProcessTable
from apisensor.enrich.views import is_loopback
from apisensor.enrich.waiting import Waiting
from apisensor.export import configuration
from apisensor.export.exporter import Exporter
from apisensor.export.receiver import sender_of
from apisensor.live import answers
from apisensor.live.server import LiveServer
from apisensor.live.terminal import TransactionPrinter
from apisensor.metrics import configuration as metrics_configuration
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.prometheus import exposition
from apisensor.processes import log
from apisensor.processes.calls import Calls
from apisensor.processes.commands import Commands
from apisensor.processes.delivered import Delivered
from apisensor.processes.garbage import settle
from apisensor.processes.link import Link
from apisensor.processes.messages import (
    KernelReport,
    Note,
    PartParameters,
    Parts,
    PauseAnswer,
    Ready,
    Resend,
    decode_from_capture,
    decode_from_run,
    encode,
    parameters_from,
)
from apisensor.processes.node_status import NodeStatus
from apisensor.processes.pages import CoreCount, Packet, account, core_counters, map_page, worker_counters
from apisensor.processes.pausing import Pausing
from apisensor.processes.privileges import FATAL, become, die_with_parent
from apisensor.processes.scheduling import give_way
from apisensor.settings import SettingsError
from apisensor.store.service import StoreService
from apisensor.transactions.model import Transaction

if TYPE_CHECKING:
    from apisensor.metrics.exporter import MetricExporter

TICK_S = 0.2
"""How often batches of spans are handed over, waiting transactions looked at, and counters published."""
PACKETS = 64
"""Packets of one worker worked on before the other sources get their turn."""
QUIET_S = 10.0
"""Nothing captured for so long: the user is told what is seen instead."""
MARK_S = 2.5
"""So long after a transaction the counters still belong to it: reports come each second, connections close late."""
CLOSE_S = 5.0
"""How long the end waits, in all, for rows to be stored, spans and metrics to be sent, and lines to be printed."""


class Clock:
    """Unix time minus CLOCK_MONOTONIC, sampled again every second: Unix time is corrected while the sensor runs."""

    def __init__(self) -> None:
        self._sampled_ns = -(1 << 62)
        self.offset_ns = 0

    def look(self, now_ns: int) -> None:
        if now_ns - self._sampled_ns >= 1_000_000_000:
            self._sampled_ns = now_ns
            self.offset_ns = time.time_ns() - time.monotonic_ns()


class Core:
    """Everything of this process, wired up. Each source is a callable in the selector."""

    def __init__(
        self,
        parameters: PartParameters,
        exporter: Exporter | None,
        metric_exporter: MetricExporter | None,
        store: StoreService | None,
    ) -> None:
        descriptors = parameters.descriptors
        self._exporter, self._metric_exporter, self._store = exporter, metric_exporter, store
        self._log = log.make(parameters.settings, "core")
        self._delivered = Delivered("" if exporter is None else exporter.destination, self._log)
        self._selector = selectors.DefaultSelector()
        self._page = map_page(descriptors["page"], write=True)
        self._settle_predecessor()
        self._printer = TransactionPrinter(format=parameters.output, on_writing=self._writing, on_written=self._written)
        self._own_page = parameters.page
        self._prints = parameters.output != "none"
        self._spans_before = self._page[CoreCount.SPANS_OFFERED]
        self._rows_before = self._page[CoreCount.ROWS_SETTLED]
        workers = parameters.settings.worker.count
        self._worker_pages = [map_page(descriptors[f"page:{index}"], write=False) for index in range(workers)]
        self._decode = msgspec.msgpack.Decoder(Packet).decode
        for index in range(workers):
            self._register(Link.of(descriptors[f"worker:{index}"]), functools.partial(self._on_worker, index))
        self._capture = Link.of(descriptors["capture"])
        self._register(self._capture, self._on_capture)
        self._run = Link.of(parameters.run)
        self._register(self._run, self._on_run)
        self._processes = ProcessTable()
        self._waiting = Waiting(self._processes)
        self._clock = Clock()
        self._calls = Calls(parameters.settings, store=store, on_finding=self._found)
        self._metrics = CallMetrics(parameters.settings.metrics.max_series, started_ns=time.time_ns())
        self._node = NodeStatus(self._counters, self._processes, exporter, store)
        self._pausing = Pausing(self._capture)
        self._commands = Commands(store, self._pausing, self._selector)
        listening = socket.socket(fileno=descriptors["live"])
        live = parameters.settings.live
        self._live = LiveServer(
            listening,
            self._selector,
            {
                "status": answers.status(self._node.status),
                "metrics": answers.metrics(lambda: exposition(self._metrics, self._node.status())),
                "command": self._commands.answer,
            },
            queue_bytes=live.subscriber_queue,
            max_clients=live.max_clients,
        )
        self._last_transaction = time.monotonic()
        self._told_quiet = False
        self.stopping = False

    def _settle_predecessor(self) -> None:
        """What earlier cores took and did not hand on is lost; nothing is in this one's hands yet."""
        page = self._page
        done = page[CoreCount.HANDLED] + page[CoreCount.NOT_PRINTED] + page[CoreCount.OWN_CALLS]
        page[CoreCount.LOST_IN_CORE] = page[CoreCount.RECEIVED] - done
        page[CoreCount.PERHAPS_PRINTED] += page[CoreCount.PRINTING]
        page[CoreCount.PRINTING] = 0
        if self._store is not None:
            rows = page[CoreCount.RECEIVED] - page[CoreCount.OWN_CALLS]
            page[CoreCount.ROWS_LOST_WITH_CORE] = rows - page[CoreCount.ROWS_SETTLED]
        page[CoreCount.SPANS_LOST_WITH_CORE] = page[CoreCount.SPANS_OFFERED] - page[CoreCount.SPANS_SETTLED]

    def _register(self, link: Link, handler: Callable[[Link], None]) -> None:
        self._selector.register(link.fileno(), selectors.EVENT_READ, lambda _mask: handler(link))

    def loop(self) -> None:
        """Works until it is told to stop."""
        self._capture.send(encode(Resend()))
        self._run.send(encode(Ready()))
        next_tick = time.monotonic()
        # Without a reader of its output (`run | head`) a sensor in the foreground has no purpose left.
        while not self.stopping and not self._printer.broken:
            for key, mask in self._selector.select(max(0.0, next_tick - time.monotonic())):
                key.data(mask)
            if time.monotonic() >= next_tick:
                next_tick = time.monotonic() + TICK_S
                self._tick()

    def close(self) -> None:
        """Gives what is in hand to the sinks and waits a moment for them."""
        end = time.monotonic() + CLOSE_S
        self._sink(self._waiting.drain())
        self._calls.close()
        for sink in (self._store, self._exporter, self._metric_exporter, self._printer):
            if sink is not None:
                sink.close(max(0.1, end - time.monotonic()))
        self._live.close()
        self._publish()

    def _on_worker(self, worker: int, link: Link) -> None:
        self._clock.look(time.monotonic_ns())
        for _ in range(PACKETS):
            received = link.receive()
            if received is None:
                return
            packet = self._decode(received[0])
            account(self._page, worker, packet)
            now_ns, ready = time.monotonic_ns(), []
            for transaction in packet.transactions:
                if self._is_own(transaction):
                    self._page[CoreCount.OWN_CALLS] += 1
                    continue
                transaction.wall_offset_ns = self._clock.offset_ns
                ready += self._waiting.offer(transaction, now_ns)
            self._sink(ready)

    def _is_own(self, t: Transaction) -> bool:
        """A browser's or a program's view of a call to the sensor's own page. The kernel side knows the sensor's
        processes and its connections to others, but nobody's connections to it before they are accepted."""
        own, server = self._own_page, t.server
        if own is None or server is None or t.client is None or server.port != own.port or t.side != "client":
            return False
        return server.address == own.address or (
            own.address in ("0.0.0.0", "::") and (server.address == t.client.address or is_loopback(server.address))
        )

    def _on_capture(self, link: Link) -> None:
        while (received := link.receive()) is not None:
            message = decode_from_capture(received[0])
            if isinstance(message, ProcessSeen | ProcessGone):
                self._sink(self._waiting.put(message))
            elif isinstance(message, KernelReport):
                self._node.kernel = message
                if time.monotonic() - self._last_transaction < MARK_S:
                    self._node.mark()
            elif isinstance(message, PauseAnswer):
                self._pausing.answered(message)
            elif isinstance(message, Library):
                self._node.libraries[message.identity] = message
            elif isinstance(message, Note):
                self._log.warning(message.text)

    def _on_run(self, link: Link) -> None:
        while (received := link.receive()) is not None:
            message = decode_from_run(received[0])
            if isinstance(message, Parts):
                self._node.parts = message

    def _sink(self, transactions: list[Transaction]) -> None:
        """Gives finished transactions to everything that wants them. One sink takes all of them before the next does:
        so it stays in the processor's caches with its code."""
        if not transactions:
            return
        self._last_transaction = time.monotonic()
        self._calls.route(transactions)
        dropped = self._printer.dropped
        for transaction in transactions:
            self._node.count(transaction)
            self._printer.write(transaction)
            self._live.publish(transaction)
        self._page[CoreCount.NOT_PRINTED] += self._printer.dropped - dropped
        if self._exporter is not None:
            for transaction in transactions:
                self._exporter.offer(transaction)
        for transaction in transactions:
            self._metrics.observe(transaction)
        self._calls.offer(transactions, time.monotonic_ns())
        if not self._prints:
            self._page[CoreCount.HANDLED] += len(transactions)

    def _found(self, finding: Finding) -> None:
        """Gives a finding that is new, or has grown, to who looks on."""
        line = json_form.json_line(finding)
        self._printer.finding(line)
        self._live.publish_finding(line)

    def _writing(self, count: int) -> None:
        """Lines go out (told by the printer's thread, the only one that writes these two counters then)."""
        self._page[CoreCount.PRINTING] = count

    def _written(self, count: int) -> None:
        self._page[CoreCount.HANDLED] += count
        self._page[CoreCount.PRINTING] = 0

    def _tick(self) -> None:
        now_ns = time.monotonic_ns()
        self._clock.look(now_ns)
        self._sink(self._waiting.expired(now_ns))
        self._calls.tick(now_ns, now_ns + self._clock.offset_ns)
        if self._exporter is not None:
            self._exporter.tick(now_ns)
        if self._metric_exporter is not None:
            self._metric_exporter.tick(now_ns, self._metrics, self._node.status)
        self._publish()
        self._quiet()

    def _publish(self) -> None:
        """Brings the shared counters of spans and rows up to date."""
        page = self._page
        if self._store is not None:
            page[CoreCount.ROWS_SETTLED] = self._rows_before + self._store.settled()
        if self._exporter is not None:
            stats = self._exporter.stats()
            self._delivered.look(stats)
            page[CoreCount.SPANS_OFFERED] = self._spans_before + stats.offered
            settled = stats.offered - stats.queued
            page[CoreCount.SPANS_SETTLED] = self._spans_before - page[CoreCount.SPANS_LOST_WITH_CORE] + settled

    def _counters(self) -> dict[str, int]:
        return {
            **worker_counters(self._worker_pages),
            **core_counters(self._page),
            **self._live.counters(),
            **self._calls.counters(),
            **self._metrics.counters(),
            **(self._store.counters() if self._store is not None else {}),
            **(self._metric_exporter.counters() if self._metric_exporter is not None else {}),
            "core.waiting": len(self._waiting),
            "core.lost.findings_not_printed": self._printer.findings_dropped,
        }

    def _quiet(self) -> None:
        """Says once in a while what is seen when nothing is captured."""
        quiet = time.monotonic() - self._last_transaction
        if quiet < QUIET_S:
            self._told_quiet = False
        elif not self._told_quiet:
            self._told_quiet = True
            for line in self._node.quiet(quiet):
                self._log.info(line)


def _import_exporters() -> type[MetricExporter] | None:
    """Before this becomes a user who may not be able to read the sensor's files, and only what is configured: gRPC and
    protobuf take memory. Returns what makes the exporter of metrics. Raises SettingsError."""
    spans, metrics = configuration.read(os.environ), metrics_configuration.read(os.environ)
    for config in (spans, metrics):
        if config is not None:
            sender_of(config.otlp)
    if metrics is None:
        return None
    from apisensor.metrics.exporter import MetricExporter  # noqa: PLC0415

    return MetricExporter


def main() -> int:
    """Works until SIGTERM or the end of its parent."""
    parameters = parameters_from(sys.argv[1])
    parent = os.getppid()
    settings = parameters.settings
    exporter = metric_exporter = store = None
    try:
        metric_exporting = _import_exporters() if settings.export.enabled else None
        become(parameters.settings.general.user)
        die_with_parent(parent)
        give_way()
        if settings.export.enabled:
            exporter = Exporter.from_environment(os.environ, host_name=socket.gethostname())
        if metric_exporting is not None:
            metric_exporter = metric_exporting.from_environment(os.environ, host_name=socket.gethostname())
        if settings.store.enabled:
            store = StoreService(settings.store_file, settings.store)
        core = Core(parameters, exporter, metric_exporter, store)
    except (SettingsError, UnknownDetectorError) as error:
        log.make(settings, "core").error(str(error))
        return FATAL

    def stop(_signal: int, _frame: object) -> None:
        core.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settle()
    core.loop()
    core.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
