"""The store stays within its limits, whatever is written; what shows a finding stays longest."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from apisensor.inventory.model import Unmatched
from apisensor.sections import MIB, Store
from apisensor.store.keeper import Keeper
from apisensor.store.model import EndpointQuery, FindingQuery, TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.traffic import DAY
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_NS, NOW_S, SECOND, call, delta, finding, inventory, number, profile, stored

SMALLEST = 16 * MIB


def size(path: str) -> int:
    return sum(os.stat(path + suffix).st_size for suffix in ("", "-wal") if Path(path + suffix).exists())


def test_ten_times_as_much_is_written_and_the_file_stays_within_its_limit(path: str, reader: StoreReader) -> None:
    keeper = Keeper(path, Store(max_bytes=SMALLEST), lambda: NOW_NS)
    keeper.finding(finding(transactions=[number(n) for n in range(5)]))
    chance = random.Random(1)
    largest = written = n = 0
    while written < 10 * SMALLEST:
        # Incompressible, so that it is known how much would lie on the disk.
        noise = chance.randbytes(3_000).hex()
        keeper.put(Stored(call(n, response_headers=[("x", noise)]), number(n % 20), True), 8_000)
        written += len(noise) // 2
        n += 1
        if n % 100 == 0:
            keeper.inventory(inventory(delta(n % 20, profile(100, first=NOW_S + n))))
            keeper.flush(all_of_it=n % 1_000 == 0)
            keeper.tend()
            largest = max(largest, size(path))
    keeper.flush(all_of_it=True)
    counters = keeper.counters()
    keeper.close()
    assert counters["store.stored"] == n
    assert largest <= SMALLEST
    facts = reader.facts()
    assert facts.transactions == n - counters["store.deleted"]
    assert SMALLEST / 2 < facts.bytes <= SMALLEST
    assert reader.transactions(TransactionQuery()).rows[0].id == number(n - 1)
    assert [row.id for row in reader.finding_transactions(finding().id)] == [number(m) for m in range(5)]
    assert sum(row.count for row in reader.endpoints(EndpointQuery()).rows) == n // 100 * 100
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    left = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("transactions", "documents")
    ]
    assert left == [facts.transactions] * 2
    connection.close()


def run(writer: Writer, now_ns: int = NOW_NS) -> None:
    steps = 0
    while writer.retention.step(now_ns):
        steps += 1
        assert steps < 10_000


def test_a_limit_that_was_lowered_makes_the_file_smaller(path: str, write: Write, writer: Writer) -> None:
    chance = random.Random(1)
    for first in range(0, 20_000, 1_000):
        write([stored(n, response_headers=[("x", chance.randbytes(1_500).hex())]) for n in range(first, first + 1_000)])
    writer.close()
    assert size(path) > 2 * SMALLEST
    again = Writer(path, Store(max_bytes=SMALLEST))
    run(again)
    again.close()
    assert size(path) <= SMALLEST


def test_age(write: Write, writer: Writer, reader: StoreReader) -> None:
    """Seven days for transactions, ninety for findings: the defaults."""
    write(
        [stored(n) for n in range(1_500)],
        inventory(delta(1, profile(5))),
        findings=(finding(1, transactions=[number(3)]), finding(2, last_ns=NOW_NS + DAY * SECOND)),
    )
    run(writer, NOW_NS + 7 * DAY * SECOND)
    assert reader.facts().transactions == 1_500
    run(writer, NOW_NS + (7 * DAY + 700) * SECOND)
    assert reader.facts().transactions == 800
    assert reader.transaction(number(3)) is not None
    assert reader.traffic(None, NOW_S - 60, NOW_S + 60, 60) == []
    assert [p.count for p in reader.traffic(None, NOW_S - 3_600, NOW_S + 60, 3_600)] == [5]
    run(writer, NOW_NS + (90 * DAY + 1) * SECOND)
    facts = reader.facts()
    assert (facts.transactions, facts.findings, facts.endpoints, facts.oldest) == (0, 1, 1, None)
    assert reader.transaction(number(3)) is None
    assert reader.traffic(None, 0, 1 << 40, 3_600) == []
    assert reader.owners()[0].calls == 5


def test_what_goes_first(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        [stored(n) for n in range(1_200)],
        inventory(delta(1, profile(5)), unmatched=[Unmatched("client", "scanned", 3, {})]),
        findings=(finding(1, transactions=[number(3)]), finding(2, transactions=[number(4)])),
    )
    monkeypatch.setattr(writer.retention, "_full", 0)
    tables = ("transactions", "buckets", "owner_hours", "findings", "evidence", "endpoints", "owners")
    seen = []
    while True:
        more = writer.retention.step(NOW_NS)
        now = tuple(writer.connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables)
        seen.append(now)
        if not more:
            break
    assert seen[:-1] == [
        (700, 5, 2, 2, 2, 1, 2),
        (200, 5, 2, 2, 2, 1, 2),
        (0, 5, 2, 2, 2, 1, 2),
        (0, 4, 2, 2, 2, 1, 2),
        (0, 2, 2, 2, 2, 1, 2),
        (0, 0, 2, 2, 2, 1, 2),
        (0, 0, 0, 2, 2, 1, 1),
        (0, 0, 0, 1, 1, 1, 1),
        (0, 0, 0, 0, 0, 1, 1),
    ]
    assert writer.retention.full_of_inventory


def test_findings_have_a_bound(
    write: Write, writer: Writer, reader: StoreReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apisensor.store.retention.MAX_FINDINGS", 5)
    write(findings=tuple(finding(n, last_ns=NOW_NS + n) for n in range(8)))
    write(findings=(finding(0, last_ns=NOW_NS + 100),))
    run(writer)
    kept = [row.finding.key for row in reader.findings(FindingQuery()).rows]
    assert kept == [f"key-{n}" for n in (0, 7, 6, 5, 4)]


def test_owners_without_endpoints_go_with_their_hours(write: Write, writer: Writer, reader: StoreReader) -> None:
    write(inventory=inventory(delta(1), unmatched=[Unmatched("client", "scanned", 3, {})]))
    assert [row.owner for row in reader.owners()] == ["scanned", "shop"]
    run(writer, NOW_NS + 31 * DAY * SECOND)
    assert [row.owner for row in reader.owners()] == ["shop"]


def test_a_reader_that_stays_does_not_stop_the_writer(path: str, write: Write, writer: Writer) -> None:
    write([stored(1)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM transactions").fetchone()
    for first in range(0, 3_000, 500):
        write([stored(n) for n in range(first, first + 500)])
        run(writer)
    assert other.execute("SELECT count(*) FROM transactions").fetchone() == (1,)
    other.close()
