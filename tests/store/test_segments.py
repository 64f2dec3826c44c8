"""Segments are indexed when they are full, and again when rows of them went, changed or came."""

from __future__ import annotations

from typing import Any

import pytest

from apisensor.inventory.model import Alias
from apisensor.sections import Store
from apisensor.store.commands import Purge
from apisensor.store.errors import StoreError
from apisensor.store.keeper import Keeper
from apisensor.store.model import TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.segments import FIELDS
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_NS, SECOND, delta, finding, inventory, number, stored
from tests.store.test_purge import purge

SIZE = 16


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("transactions", "read_transactions", "segments", "purge"):
        monkeypatch.setattr(f"apisensor.store.{module}.SEGMENT_BITS", 4)


def indexed(writer: Writer) -> list[tuple[int, int, int]]:
    """Segment, whether it is indexed, its postings."""
    return writer.connection.execute(
        "SELECT s.segment, indexed, (SELECT count(*) FROM postings p WHERE p.segment = s.segment) "
        "FROM segments s ORDER BY s.segment"
    ).fetchall()


def index(writer: Writer) -> None:
    while writer.index():
        pass


def ids(reader: StoreReader, **fields: Any) -> list[str]:
    return [row.id for row in reader.transactions(TransactionQuery(**fields, limit=500)).rows]


ALL = len(FIELDS)


def test_full_segments_are_indexed_the_newest_first(write: Write, writer: Writer) -> None:
    # The first row has number 1, so the first segment has room for one less.
    write([stored(n) for n in range(1, SIZE - 1)])
    assert not writer.index()
    write([stored(SIZE - 1)])
    assert writer.index()
    assert indexed(writer) == [(0, 1, ALL)]
    write([stored(n) for n in range(SIZE, 3 * SIZE + 5)])
    assert writer.index()
    assert indexed(writer) == [(0, 1, ALL), (1, 0, 0), (2, 1, ALL), (3, 0, 0)]
    index(writer)
    assert indexed(writer) == [(0, 1, ALL), (1, 1, ALL), (2, 1, ALL), (3, 0, 0)]


def test_a_purge_takes_the_marks_of_what_it_deletes(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n) for n in range(1, 4 * SIZE)])
    index(writer)
    purge(writer, Purge(identity=f"{20:032x}"))
    assert indexed(writer) == [(0, 1, ALL), (1, 0, 0), (2, 1, ALL), (3, 1, ALL)]
    assert ids(reader, client="192.0.2.20") == []
    assert ids(reader, client="192.0.2.21") == [number(21)]
    index(writer)
    assert indexed(writer)[1] == (1, 1, ALL)
    assert ids(reader, client="192.0.2.21") == [number(21)]
    purge(writer, Purge(service="service-0"))
    assert ids(reader, service="service-0") == []
    assert [segment for segment, done, count in indexed(writer) if done or count] == []


def test_a_merged_endpoint_is_found_at_any_moment(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n, number(n % 2)) for n in range(1, 3 * SIZE)], inventory(delta(0), delta(1), delta(9)))
    index(writer)
    write([stored(99, number(1))], inventory(aliases=[Alias(number(1), number(9))]))
    expected = [number(99), *(number(n) for n in range(3 * SIZE - 1, 0, -2))]
    assert ids(reader, endpoint=number(9)) == expected
    assert writer.move_transactions()
    assert [done for _, done, _ in indexed(writer)] == [0, 0, 0, 0]
    assert ids(reader, endpoint=number(9)) == expected
    index(writer)
    assert [done for _, done, _ in indexed(writer)] == [1, 1, 1, 0]
    assert ids(reader, endpoint=number(9)) == expected
    assert not writer.move_transactions()


def test_rows_that_come_to_a_full_segment_are_found(path: str, reader: StoreReader) -> None:
    writer = Writer(path, Store())
    writer.write([stored(n) for n in range(1, 2 * SIZE + 3)], None, [])
    index(writer)
    for n in (*range(SIZE + 5, 2 * SIZE), 2 * SIZE, 2 * SIZE + 1, 2 * SIZE + 2):
        purge(writer, Purge(identity=f"{n:032x}"))
    index(writer)
    assert indexed(writer)[1][1] == 1
    writer.close()
    again = Writer(path, Store())
    again.write([stored(500)], None, [])
    assert [segment for segment, _, _ in indexed(again)] == [0, 1]
    assert ids(reader, trace_id=f"{500:032x}") == [number(500)]
    again.close()


def test_postings_go_with_their_segment(write: Write, writer: Writer) -> None:
    write([stored(n) for n in range(1, 4 * SIZE)])
    index(writer)
    while writer.retention.step(NOW_NS + (7 * 86_400 + 2 * SIZE + 3) * SECOND):
        pass
    assert indexed(writer) == [(2, 1, ALL), (3, 1, ALL)]
    assert writer.connection.execute("SELECT DISTINCT segment FROM postings").fetchall() == [(2,), (3,)]


def test_a_finding_holds_what_lies_in_any_segment(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n) for n in range(1, 3 * SIZE + 3)])
    index(writer)
    named = [number(n) for n in (2, 3, SIZE + 3, 3 * SIZE + 1, 777)]
    asked: list[str] = []
    writer.connection.set_trace_callback(asked.append)
    write(findings=(finding(transactions=named),))
    writer.connection.set_trace_callback(None)
    assert [row.id for row in reader.finding_transactions(finding().id)] == named[:-1]
    # All together: each segment is asked once.
    assert len([sql for sql in asked if "FROM postings" in sql]) == 3
    write([stored(777)])
    assert [row.id for row in reader.finding_transactions(finding().id)] == named


def test_the_keeper_indexes_after_a_round(path: str) -> None:
    keeper = Keeper(path, Store(), lambda: NOW_NS)
    for n in range(1, 3 * SIZE):
        keeper.put(stored(n), 1)
    keeper.flush()
    keeper.tend()
    keeper.close()
    writer = Writer(path, Store())
    assert indexed(writer) == [(n, 1, ALL) for n in range(3)]
    writer.close()


@pytest.mark.parametrize("damage", ["DELETE FROM postings", "UPDATE postings SET body = x'00'"])
def test_damaged_postings_are_said(write: Write, writer: Writer, reader: StoreReader, damage: str) -> None:
    write([stored(n) for n in range(1, 2 * SIZE)])
    index(writer)
    writer.connection.execute(damage)
    with pytest.raises(StoreError, match="cannot be read") as raised:
        reader.transactions(TransactionQuery(method="GET"))
    assert raised.value.cause == "damaged"
    assert len(ids(reader)) == 2 * SIZE - 1
