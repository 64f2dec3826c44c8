"""What the path from record to span and inventory makes of much that is odd: `python -m tests.path_outcome`, a line for
each input.

Compiled and plain modules must say the same, to the byte (test_compiled.py). Inputs are the standard recording, and
the fuzzers' seeds, corpus and mutations of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator
from typing import cast

import msgspec

from apisensor import compiled
from apisensor.content.inspector import Inspector
from apisensor.enrich.model import ProcessSeen, TlsLibrary
from apisensor.enrich.processes import ProcessTable
from apisensor.enrich.waiting import Waiting
from apisensor.events.decode import decode
from apisensor.events.model import Event
from apisensor.export.resource import ResourceEncoder, export_request
from apisensor.export.span import SpanEncoder
from apisensor.metrics.calls import CallMetrics
from apisensor.processes.calls import Calls
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.sections import Detect, Settings
from apisensor.store.service import StoreService
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer
from apisensor.streams.limits import Limits
from apisensor.transactions.analyzer import Analyzer, Count
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Exchange, Header, Transaction
from bench.stages import Rows
from bench.standard_recording import events as standard_events
from bench.worker import ring_record
from tests.content.exchanges import exchange
from tests.fuzz.flows import SMALL
from tests.fuzz.flows import events as fuzzed_events
from tests.fuzz.mutation import mutations
from tests.fuzz.seeds import inputs

CALLS = 300
"""Of the standard recording, in each protocol."""
MUTATIONS = 1_500
"""Of the inputs of each fuzzed target."""


SETTINGS = Settings(detect=Detect(auth_failures=2, auth_failures_client=2, exfiltration_min_bytes=1))
"""Detectors that find something in a few calls."""


class Kept(Rows):
    """A store: what it is given, as bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.deltas: list[bytes] = []

    def finding(self, finding: object) -> None:
        self.deltas.append(msgspec.json.encode(finding))

    def inventory(self, delta: object) -> None:
        self.deltas.append(msgspec.json.encode(delta))


class Path:
    """All stages, and a digest of what came out at each."""

    def __init__(self, limits: Limits) -> None:
        self.analyzer = Analyzer(limits)
        self.inspect = Inspector().inspect
        self.redact = Redactor(bytes(32), IdSource(b"the same")).transaction
        self.span = SpanEncoder(server_request_headers=["x-request-id", "host"]).encode
        self.resource = ResourceEncoder({"host.name": "one"}).encode
        self.digest = hashlib.sha256()
        self.found = 0
        self.waiting = Waiting(ProcessTable())
        self.pids: set[int] = set()
        self.store = Kept()
        self.calls = Calls(SETTINGS, store=cast(StoreService, self.store), on_finding=lambda _: None)
        self.metrics = CallMetrics(100, started_ns=0)

    def take(self, exchanges: list[Exchange]) -> None:
        for one in exchanges:
            self.found += 1
            transaction = self.redact(one, self.inspect(one))
            span = self.span(transaction)
            self.digest.update(json_line(transaction))
            self.digest.update(export_request([(self.resource(None), [span])]))
            self.count(transaction)

    def count(self, transaction: Transaction) -> None:
        pid, now_ns = transaction.pid, transaction.start_ns + (transaction.duration_ns or 0)
        known = self.waiting.offer(transaction, now_ns)
        if pid not in self.pids:
            self.pids.add(pid)
            libraries = [TlsLibrary("/lib/libssl.so.3", "openssl")]
            known += self.waiting.put(ProcessSeen(pid, 0, executable=f"/bin/p{pid}", libraries=libraries))
        self.calls.route(known)
        for one in known:
            self.metrics.observe(one)
        self.calls.offer(known, now_ns)
        self.calls.tick(now_ns, now_ns)

    def outcome(self) -> str:
        counts = [self.analyzer.counts[count] for count in Count]
        self.digest.update(repr(counts).encode())
        self.calls.close()
        for row in self.store.items:
            self.digest.update(repr((row.transaction.id, row.endpoint, row.counted)).encode())
        for delta in self.store.deltas:
            self.digest.update(delta)
        for series in self.metrics.series():
            self.digest.update(msgspec.json.encode(series))
        self.digest.update(repr(self.calls.counters()).encode())
        return f"{self.found} {self.digest.hexdigest()}"


def of_events(events: list[Event], limits: Limits) -> str:
    path = Path(limits)
    last = 0
    for event in events:
        last = event.time_ns
        path.take(path.analyzer.feed(event))
    path.take(path.analyzer.expire(last + 1))
    path.take(path.analyzer.finish(last + 2))
    if len(path.store.items) >= CALLS:  # a database takes long to make
        path.digest.update(rows(path.store.items))
    return path.outcome()


def rows(items: list[Stored]) -> bytes:
    """What the store makes of them."""
    with tempfile.TemporaryDirectory() as directory:
        file = f"{directory}/store.db"
        writer = Writer(file, SETTINGS.store)
        writer.write(items, None, [])
        writer.close()
        with contextlib.closing(sqlite3.connect(file)) as connection:
            tables = ("transactions", "documents", "segments")
            return repr([connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]).encode()


def of_lines(data: bytes) -> str:
    """As the target of the fuzzer: a target, fields and a body."""
    head, *rest = data.split(b"\n", 12)
    fields: list[Header] = [(name, value) for name, _, value in (line.partition(b":") for line in rest[:9])]
    path = Path(Limits())
    path.take([exchange(fields, fields[::-1], target=head, body=data, response_body=b"\n".join(rest))])
    return path.outcome()


def outcomes() -> Iterator[str]:
    for protocol in ("http/1.1", "h2"):
        records = [memoryview(ring_record(event)) for event in standard_events(CALLS, protocol)]
        yield f"{protocol} {of_events([decode(record) for record in records], Limits())}"
    for name in ("http1", "http2"):
        pool = inputs(name)
        for number, data in enumerate([*pool, *mutations(pool, MUTATIONS, seed=7)]):
            events = list(fuzzed_events(data))
            yield f"{name} {number} {of_events(events, Limits())} {of_events(events, SMALL)}"
    pool = inputs("redaction")
    for number, data in enumerate([*pool, *mutations(pool, MUTATIONS, seed=7)]):
        yield f"redaction {number} {of_lines(data)}"


def main() -> None:
    print(compiled.told())
    for line in outcomes():
        print(line)


if __name__ == "__main__":
    main()
