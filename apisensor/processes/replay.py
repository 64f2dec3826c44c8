"""`apisensor replay`: the stages of `run`, composed in one process over a file. No privilege, no BPF.

packet capture | recording -> Analyzer (streams, protocols, pairing) -> inspect -> redact -> process -> route -> shown
                                                                          inventory, detection (calls.py) <--'
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator

import msgspec

from apisensor.content.descriptor_sets import descriptions
from apisensor.content.inspector import Inspector
from apisensor.content.limited import count_limits
from apisensor.detect.model import Finding
from apisensor.enrich.model import ProcessGone, ProcessSeen
from apisensor.enrich.processes import ProcessTable
from apisensor.enrich.waiting import Waiting
from apisensor.events.model import Event
from apisensor.processes.calls import Calls
from apisensor.processes.describing import read_sets
from apisensor.processes.replay_summary import ReplaySummary, analysis_losses, flows_not_examined, recorded_losses
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.replay.counters import LOSSES, NOTES
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.model import ClockSample, LossCounters, RecordingHeader
from apisensor.replay.overlap import DIFFER, Disputes
from apisensor.replay.packets import PacketCapture
from apisensor.replay.recording import read_recording
from apisensor.replay.records import Recorded
from apisensor.replay.source import ByteSource, open_file, recognise
from apisensor.sections import Settings
from apisensor.streams.limits import limits_of
from apisensor.transactions.analyzer import Analyzer
from apisensor.transactions.counts import Count
from apisensor.transactions.model import Exchange, Transaction

EXPIRE_NS = 250_000_000
"""Event time between two looks for what has waited too long; the same as in a worker."""

PROCESS_WAIT_NS = 5_000_000_000
"""Event time that a transaction waits for its process. In a recording the processes are written by another part than
the events, each when its buffer is full or a second is over."""


def replay(
    path: str,
    on_transaction: Callable[[Transaction], object],
    *,
    on_finding: Callable[[Finding], object] = lambda _finding: None,
    reveal: bool = False,
    key: bytes | None = None,
    limits: ReplayLimits | None = None,
    overlap: str = "linux",
    settings: Settings | None = None,
) -> ReplaySummary:
    """Analyses a packet capture or a recording.

    The same file gives the same ids each time: they follow from what it holds first.

    Args:
        path: A file, a pipe, or "-" for standard input; its format is recognised by its content.
        on_transaction: Called with each transaction as it ends. What it raises passes through.
        on_finding: Called with each finding when it is new, and when it has grown.
        reveal: Leave values unredacted.
        key: Keys the identities' hashes; None: a random one, so that hashes of two runs cannot be joined.
        limits: Bounds on the reassembly of packets.
        overlap: Whose bytes count where packets overlap and differ (replay/overlap.py).
        settings: What `run` would analyse with; None: the defaults.

    Returns:
        What the file held. `error` is set where it could not be read to its end.

    Raises:
        ReplayError: Nothing could be read: no such file, no capture, empty, compressed, unsupported link type.
        DescriptorSetError, UnknownDetectorError: What the settings name cannot be used.
    """
    run = _Replay(on_transaction, on_finding, reveal, key or secrets.token_bytes(32), settings or Settings())
    name = "standard input" if path == "-" else path if path.isprintable() else ascii(path)
    file = open_file(path)
    try:
        source = ByteSource(file.read, name)
        form = recognise(source)
        capture = None if form == "recording" else PacketCapture(source, form, limits, overlap)
        error = None
        try:
            if capture is None:
                run.recording(read_recording(source))
            else:
                run.packets(capture)
        except ReplayError as failure:
            error = str(failure)
        run.finish()
    finally:
        if path != "-":
            file.close()
    return run.summary(name, form, capture, error)


def _turn_to_client(exchange: Exchange) -> None:
    """Packets were seen from neither end, and `local` was a guess where the handshake was not captured: what was found
    in the bytes says who sent the request, and that end becomes `local`."""
    if exchange.side == "server":
        exchange.local, exchange.remote = exchange.remote, exchange.local
    exchange.side = "network"


class _Replay:
    """One run over one file."""

    def __init__(
        self,
        on_transaction: Callable[[Transaction], object],
        on_finding: Callable[[Finding], object],
        reveal: bool,
        key: bytes,
        settings: Settings,
    ) -> None:
        self._on_transaction = on_transaction
        self._on_finding = on_finding
        self._findings: set[str] = set()
        self._calls = Calls(settings, store=None, on_finding=self._found)
        self._reveal = reveal
        self._key = key
        self._limits = limits_of(settings.worker)
        self._counts = [0] * len(Count)
        self._analyzer = Analyzer(self._limits, counts=self._counts)
        self._disputes: Disputes | None = None
        """Where packets contradict each other; None: the events are not those of packets."""
        sets = read_sets(settings.worker.descriptor_sets)
        self._inspect = Inspector(descriptions(sets) if sets else None).inspect
        self._seed = hashlib.sha256()
        self._redactor: Redactor | None = None
        self._waiting = Waiting(ProcessTable(), wait_ns=PROCESS_WAIT_NS)
        self._wall_offset_ns = 0
        self._now_ns = 0
        self._next_expiry = 0
        self._events = 0
        self._transactions = 0
        self._failed = 0
        self._incomplete: dict[str, int] = {}
        self._recorded_losses: dict[bytes | None, dict[str, int]] = {}
        """By run; running totals."""
        self._run_id: bytes | None = None

    def packets(self, capture: PacketCapture) -> None:
        """Everything of a packet capture. Raises ReplayError when all that can be read has been analysed."""
        self._disputes = capture.disputes
        for event in capture.events():
            self._event(event)

    def recording(self, records: Iterable[Recorded]) -> None:
        """Everything of a recording. Raises as `packets`."""
        for record in records:
            match record:
                case ProcessSeen() | ProcessGone():
                    for transaction in self._waiting.put(record):
                        self._emit(transaction)
                case ClockSample():
                    self._wall_offset_ns = record.wall_offset_ns
                case LossCounters():
                    self._recorded_losses[self._run_id] = record.counters
                case RecordingHeader():
                    self._begin(record)
                case _:
                    self._event(record)

    def finish(self) -> None:
        """The file is over: what is open is emitted as incomplete."""
        self._finished(self._analyzer.finish(self._now_ns))
        for transaction in self._waiting.drain():
            self._emit(transaction)
        self._calls.close()

    def _begin(self, header: RecordingHeader) -> None:
        """A recording starts, or another writer of the same one."""
        if header.run_id == self._run_id:
            return
        if self._run_id is not None:  # recordings one after the other: ids and pids of the first mean nothing now
            self.finish()
            self._analyzer = Analyzer(self._limits, counts=self._counts)
            self._waiting = Waiting(ProcessTable(), wait_ns=PROCESS_WAIT_NS)
            self._now_ns = self._next_expiry = 0
        self._run_id = header.run_id
        self._seed.update(header.run_id)
        self._wall_offset_ns = header.wall_offset_ns

    def _event(self, event: Event) -> None:
        self._events += 1
        if self._redactor is None:
            self._seed.update(msgspec.msgpack.encode(event))
        exchanges = self._analyzer.feed(event)
        if exchanges:
            self._finished(exchanges)
        if event.time_ns > self._now_ns:
            self._now_ns = event.time_ns
            if event.time_ns >= self._next_expiry:
                self._next_expiry = event.time_ns + EXPIRE_NS
                self._finished(self._analyzer.expire(event.time_ns))
                for transaction in self._waiting.expired(event.time_ns):
                    self._emit(transaction)
                self._calls.tick(event.time_ns, event.time_ns + self._wall_offset_ns)

    def _finished(self, exchanges: Iterable[Exchange]) -> None:
        for transaction in self._redacted(exchanges):
            transaction.wall_offset_ns = self._wall_offset_ns
            for ready in self._waiting.offer(transaction, self._now_ns):
                self._emit(ready)

    def _redacted(self, exchanges: Iterable[Exchange]) -> Iterator[Transaction]:
        for exchange in exchanges:
            if self._redactor is None:
                self._redactor = Redactor(self._key, IdSource(self._seed.digest()), reveal=self._reveal)
            if self._disputes is not None:
                _turn_to_client(exchange)
                end_ns = (exchange.response or exchange.request).end_ns
                if self._disputes.within(exchange.flow, exchange.request.start_ns, end_ns):
                    exchange.anomalies = [*exchange.anomalies, DIFFER]
            try:
                transaction = self._redactor.transaction(exchange, self._inspect(exchange))
            except Exception:  # noqa: BLE001 - costs this exchange, is counted, and must not show what it held
                self._failed += 1
                continue
            count_limits(self._counts, transaction.anomalies)
            yield transaction

    def _emit(self, transaction: Transaction) -> None:
        self._transactions += 1
        reason = transaction.incomplete_reason
        if reason is not None:
            self._incomplete[reason] = self._incomplete.get(reason, 0) + 1
        self._calls.route((transaction,))
        self._on_transaction(transaction)
        self._calls.offer((transaction,), self._now_ns)

    def _found(self, finding: Finding) -> None:
        self._findings.add(finding.id)
        self._on_finding(finding)

    def summary(self, path: str, form: str, capture: PacketCapture | None, error: str | None) -> ReplaySummary:
        losses = analysis_losses(self._counts, of_packets=capture is not None)
        not_examined = flows_not_examined(self._counts)
        notes: dict[str, int] = {}
        if capture is None:
            losses = recorded_losses(self._recorded_losses.values()) | losses
        else:
            losses = {name: capture.counts[name] for name in LOSSES if capture.counts.get(name)} | losses
            notes = {name: capture.counts[name] for name in NOTES if capture.counts.get(name)}
            not_examined = dict(sorted(capture.not_examined.items())) | not_examined
        if self._failed:
            losses["failed_exchanges"] = self._failed
        if self._waiting.unattributed:
            losses["transactions_without_process"] = self._waiting.unattributed
        return ReplaySummary(
            path=path,
            format=form,
            packets=0 if capture is None else capture.packets,
            events=self._events,
            flows=self._counts[Count.FLOWS_BEGUN] if capture is None else capture.flows,
            transactions=self._transactions,
            findings=len(self._findings),
            incomplete=dict(sorted(self._incomplete.items())),
            losses=losses,
            not_examined=not_examined,
            notes=notes,
            error=error,
        )
