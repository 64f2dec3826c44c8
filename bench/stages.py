"""The standard recording through the sensor's stages, each timed: a worker's, then core's.

    worker:  ring record -> analyse (decode, streams, protocols, pairing) -> inspect -> redact -> send
    core:    packet -> receive -> count (route, views, inventory, detection, metrics) -> export (OTLP)
             -> compress, store

As in the processes themselves: records are analysed one by one, the other stages of a worker take STAGE_BATCH
exchanges at a time, core takes packets as they were sent. Between the two is a list instead of a socket. CPU time is
the process's own (user and system).
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, MutableSequence, Sequence
from typing import Any, cast

import msgspec
from isal import igzip

from apisensor.content.inspector import Inspector
from apisensor.events.decode import decode
from apisensor.export.http_sender import GZIP_LEVEL
from apisensor.export.resource import ResourceEncoder, export_request
from apisensor.export.span import SpanEncoder
from apisensor.metrics.calls import CallMetrics
from apisensor.processes.calls import Calls
from apisensor.processes.finishing import STAGE_BATCH
from apisensor.processes.link import Link
from apisensor.processes.pages import Packet
from apisensor.processes.worker import Outbox
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.sections import Settings
from apisensor.store.service import StoreService
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer
from apisensor.streams.limits import Limits
from apisensor.transactions.analyzer import Analyzer
from apisensor.transactions.model import Exchange, Transaction

IN_WORKER = ("analyse", "inspect", "redact", "send")
SPANS = 512
"""Spans of an export request: OTEL_BSP_MAX_EXPORT_BATCH_SIZE's default."""
ROWS = 700
"""Transactions of a commit: what the keeper's COMMIT_BYTES lets through."""
UNIX_NS = 1_714_564_800_000_000_000
"""When the recording began."""
TICK = 2_000
"""Transactions between two looks at the time: core's TICK_S of the recording."""

Spent = dict[str, int]
"""Stage -> CPU ns."""


class Stopwatch:
    """CPU nanoseconds of this process, by stage."""

    def __init__(self) -> None:
        self.spent: Spent = {}

    @contextlib.contextmanager
    def of(self, stage: str) -> Iterator[None]:
        """Books what the block takes."""
        start = time.process_time_ns()
        yield
        self.spent[stage] = self.spent.get(stage, 0) + time.process_time_ns() - start


class _Sent:
    """A link to core that keeps what it is given."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []

    def send(self, packet: bytes) -> bool:
        self.packets.append(packet)
        return True


class Rows:
    """A store that keeps what core's thread hands over, and knows nothing from before."""

    def __init__(self) -> None:
        self.items: list[Stored] = []

    def endpoints(self) -> list[Any]:
        return []

    def walled(self) -> frozenset[str]:
        return frozenset()

    aliases = findings = endpoints
    rpc = walled

    def start(self) -> None: ...
    def finding(self, finding: object) -> None: ...
    def inventory(self, delta: object) -> None: ...

    def put(self, t: Transaction, endpoint: str | None, counted: bool) -> None:
        self.items.append(Stored(t, endpoint, counted))


def run_worker(records: Sequence[bytes], expected: int, watch: Stopwatch) -> list[bytes]:
    """One pass of a new worker over the records: the packets for core.

    Raises:
        AssertionError: not so many transactions came out, or one was incomplete: failing is not the work.
    """
    page = memoryview(bytearray(4096)).cast("Q")
    feed = Analyzer(Limits(), counts=cast(MutableSequence[int], page)).feed
    inspect = Inspector().inspect
    redact = Redactor(bytes(32), IdSource(b"bench")).transaction
    sent = _Sent()
    outbox = Outbox(cast(Link, sent), page)
    complete = 0
    for start in range(0, len(records), 2 * STAGE_BATCH):
        batch = [memoryview(record) for record in records[start : start + 2 * STAGE_BATCH]]
        with watch.of("analyse"):
            found = [feed(decode(record)) for record in batch]
        exchanges: list[Exchange] = [exchange for some in found for exchange in some]
        with watch.of("inspect"):
            insights = [inspect(exchange) for exchange in exchanges]
        with watch.of("redact"):
            transactions = [redact(*pair) for pair in zip(exchanges, insights, strict=True)]
        with watch.of("send"):
            for transaction in transactions:
                outbox.put(transaction)
        complete += sum(transaction.incomplete_reason is None for transaction in transactions)
    with watch.of("send"):
        outbox.flush()
    if complete != expected:
        raise AssertionError(f"{complete} of {expected} transactions came out complete")
    return sent.packets


def run_core(packets: Sequence[bytes], watch: Stopwatch, path: str) -> None:
    """One pass of a new core over a worker's packets. `path`: of a database that is not there yet."""
    receive = msgspec.msgpack.Decoder(Packet).decode
    rows = Rows()
    settings = Settings()
    calls = Calls(settings, store=cast(StoreService, rows), on_finding=lambda _: None)
    metrics = CallMetrics(settings.metrics.max_series, started_ns=UNIX_NS)
    encode_span, encode_resource = SpanEncoder().encode, ResourceEncoder({"host.name": "bench"}).encode
    writer = Writer(path, settings.store)
    open_spans: list[tuple[bytes, bytes]] = []
    seen = now_ns = 0

    def flush(spans: int, items: int) -> None:
        while len(open_spans) >= spans:
            with watch.of("export"):
                groups: dict[bytes, list[bytes]] = {}
                for resource, span in open_spans[:SPANS]:
                    groups.setdefault(resource, []).append(span)
                request = export_request(groups.items())
            del open_spans[:SPANS]
            with watch.of("compress"):
                igzip.compress(request, GZIP_LEVEL, mtime=0)
        while len(rows.items) >= items:
            with watch.of("store"):
                writer.write(rows.items[:ROWS], None, [])
                while writer.index():
                    pass
            del rows.items[:ROWS]

    for packet in packets:
        with watch.of("receive"):
            transactions = receive(packet).transactions
        for t in transactions:
            t.wall_offset_ns = UNIX_NS
        with watch.of("count"):
            calls.route(transactions)
            for t in transactions:
                metrics.observe(t)
            now_ns = transactions[-1].start_ns if transactions else now_ns
            calls.offer(transactions, now_ns)
            seen += len(transactions)
            if seen >= TICK:
                seen = 0
                calls.tick(now_ns, now_ns + UNIX_NS)
        with watch.of("export"):
            open_spans += [(encode_resource(t.process), encode_span(t)) for t in transactions]
        flush(SPANS, ROWS)
    calls.close()
    flush(1, 1)
    writer.close()


def run(records: Sequence[bytes], expected: int, directory: str) -> Spent:
    """A worker and core, one after the other. `directory`: for a database, which is left there."""
    watch = Stopwatch()
    packets = run_worker(records, expected, watch)
    gc.collect()  # the worker is another process: the cycles of its flows are not core's to clear
    run_core(packets, watch, f"{directory}/{time.monotonic_ns()}.db")
    return watch.spent


def microseconds(runs: Sequence[Spent], stages: Sequence[str], count: int) -> list[float]:
    """CPU of these stages per transaction, of each run."""
    return [sum(spent[stage] for stage in stages) / count / 1000 for spent in runs]
