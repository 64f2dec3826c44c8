"""Segments of transactions: which of their rows may have a value.

A full segment has postings (postings.py), made by `index`; of one that has none, the newest above all, all rows are
looked at: SQLite does that with 8,192 rows in some two milliseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import zstandard

from apisensor.store import postings
from apisensor.store.postings import Value
from apisensor.store.schema import SEGMENT_BITS, transaction

FIELDS = ("id", "trace", "endpoint", "service", "class", "method", "client", "identity", "login")
"""Columns of `transactions` that have postings."""

LOOKED_UP = 3
"""A row that is looked up by its number takes as long as three that are gone through, and more where they are few."""
FETCHED = 256
"""Rows taken at a time: thousands of tuples at once would start a collection of Python's (processes/garbage.py)."""

_NEXT = "SELECT segment FROM segments WHERE indexed = 0 AND segment < ? ORDER BY segment DESC LIMIT 1"


class Segment(msgspec.Struct, frozen=True):
    """A row of `segments`."""

    number: int
    first_ns: int
    rows: int
    indexed: bool

    @property
    def first(self) -> int:
        """`seq` of its first row."""
        return self.number << SEGMENT_BITS

    @property
    def end(self) -> int:
        return (self.number + 1) << SEGMENT_BITS

    @property
    def worth(self) -> int:
        """So many rows are looked up; where it were more, it is quicker to go through all of them."""
        return self.rows // LOOKED_UP


def newest_first(connection: sqlite3.Connection, where: str = "1", values: Iterable[Any] = ()) -> Iterator[Segment]:
    sql = f"SELECT segment, first_ns, rows, indexed FROM segments WHERE {where} ORDER BY segment DESC"
    for number, first_ns, rows, indexed in connection.execute(sql, tuple(values)):
        yield Segment(number, first_ns, rows, bool(indexed))


def candidates(
    connection: sqlite3.Connection, segment: Segment, field: str, values: Iterable[Value], most: int
) -> set[int] | None:
    """`seq` of rows that may have one of the values; the segment is indexed. None: there are more than `most`.

    Raises:
        zstandard.ZstdError: the postings are damaged.
    """
    cursor = connection.execute("SELECT body FROM postings WHERE segment = ? AND field = ?", (segment.number, field))
    found = cursor.fetchone()
    if found is None:
        raise zstandard.ZstdError(f"postings of {field} in segment {segment.number} are missing")
    rows = postings.find(found[0], values)
    first = segment.first
    return None if sum(map(len, rows)) > most else {first + row for some in rows for row in some}


def among(rows: Iterable[int]) -> tuple[str, tuple[Any, ...]]:
    """FROM and WHERE of a statement over rows of these numbers, in the order in which they are given."""
    return "json_each(?) j CROSS JOIN transactions t ON t.seq = j.value WHERE 1", (str(list(rows)),)


def all_of(segment: Segment) -> tuple[str, tuple[Any, ...]]:
    """The same, over all rows of a segment."""
    return "transactions t WHERE t.seq >= ? AND t.seq < ?", (segment.first, segment.end)


def having(
    connection: sqlite3.Connection, segment: Segment, field: str, values: list[Value]
) -> list[tuple[int, Value]]:
    """`seq` and value of the segment's rows with one of the values."""
    found = candidates(connection, segment, field, values, segment.worth) if segment.indexed else None
    if found == set():
        return []
    source, bound = all_of(segment) if found is None else among(found)
    sql = f"SELECT t.seq, t.{field} FROM {source} AND t.{field} IN ({','.join('?' * len(values))})"
    return connection.execute(sql, (*bound, *values)).fetchall()


def with_ids(connection: sqlite3.Connection, packed: Iterable[Value]) -> dict[Value, int]:
    """Packed ids: `seq` of their transactions, as far as they are there. The newest segments first."""
    wanted, found = set(packed), dict[Value, int]()
    for segment in newest_first(connection) if wanted else ():
        for seq, value in having(connection, segment, "id", list(wanted)):
            found[value] = max(seq, found.get(value, 0))
        wanted -= found.keys()
        if not wanted:
            break
    return found


def index(connection: sqlite3.Connection, next_seq: int) -> bool:
    """Makes the postings of one segment that is full, the newest first. True: there may be more to do.

    Args:
        next_seq: of the row that comes next.
    """
    found = connection.execute(_NEXT, (next_seq >> SEGMENT_BITS,)).fetchone()
    if found is None:
        return False
    number = found[0]
    first, end = number << SEGMENT_BITS, (number + 1) << SEGMENT_BITS
    rows = connection.execute(
        f"SELECT seq - ?, {', '.join(FIELDS)} FROM transactions WHERE seq >= ? AND seq < ? ORDER BY seq",
        (first, first, end),
    )
    table: list[list[Any]] = [[] for _ in range(1 + len(FIELDS))]
    while some := rows.fetchmany(FETCHED):
        for column, values in zip(table, zip(*some, strict=True), strict=True):
            column.extend(values)
    numbers, *columns = table
    bodies = [(number, field, postings.encode(c, numbers)) for field, c in zip(FIELDS, columns, strict=True)]
    with transaction(connection):
        connection.executemany("INSERT OR REPLACE INTO postings VALUES (?, ?, ?)", bodies)
        connection.execute("UPDATE segments SET indexed = 1 WHERE segment = ?", (number,))
    return True


def forget(connection: sqlite3.Connection, number: int) -> None:
    """Rows of the segment were changed: its postings are made anew. Within a transaction of the database."""
    connection.execute("DELETE FROM postings WHERE segment = ?", (number,))
    connection.execute("UPDATE segments SET indexed = 0 WHERE segment = ?", (number,))
