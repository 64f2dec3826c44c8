"""Versions of the tables."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

import msgspec
import pytest
import zstandard

from apisensor.sections import Store
from apisensor.store import schema
from apisensor.store.documents import pack
from apisensor.store.errors import StoreError
from apisensor.store.model import TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from apisensor.transactions.json_form import public
from tests.store.conftest import Write
from tests.store.rows import call, number, stored

NEWEST = len(schema.STEPS)
ANOTHER_STEP = """
ALTER TABLE segments ADD COLUMN comment TEXT NOT NULL DEFAULT 'none; yet';
UPDATE segments SET comment = 'moved';
"""


@pytest.fixture
def connection(path: str, write: Write, writer: Writer) -> Iterator[sqlite3.Connection]:
    """To a database of the newest version with a transaction in it."""
    write([stored(1)])
    writer.close()
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_a_step_leads_to_the_next_version_and_keeps_the_rows(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, (*schema.STEPS, ANOTHER_STEP))
    assert schema.version_of(connection) == NEWEST + 1
    assert connection.execute("SELECT rows, comment FROM segments").fetchall() == [(1, "moved")]
    schema.migrate(connection, (*schema.STEPS, ANOTHER_STEP))
    assert schema.version_of(connection) == NEWEST + 1


def test_a_step_that_fails_leaves_the_old_version_whole(connection: sqlite3.Connection) -> None:
    broken = ANOTHER_STEP + "INSERT INTO nowhere VALUES (1);\n"
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection, (*schema.STEPS, broken))
    assert schema.version_of(connection) == NEWEST
    assert [row[1] for row in connection.execute("PRAGMA table_info(segments)")] == [
        "segment",
        "first_ns",
        "last_ns",
        "rows",
        "indexed",
    ]


def test_a_newer_version_is_refused_by_writer_and_reader(connection: sqlite3.Connection, path: str) -> None:
    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="by a newer apisensor"):
        Writer(path, Store())
    with pytest.raises(StoreError, match="by a newer apisensor"):
        StoreReader(path).facts()
    assert connection.execute("SELECT count(*) FROM transactions").fetchone() == (1,)


def old(path: str, count: int) -> None:
    """A database as version 1 of the tables had it: documents are JSON."""
    os.makedirs(os.path.dirname(path))
    connection = sqlite3.connect(path, isolation_level=None)
    schema.migrate(connection, schema.STEPS[:1])
    connection.execute("BEGIN")
    for seq in range(1, count + 1):
        t = call(seq)
        assert t.client is not None
        assert t.process is not None
        assert t.auth is not None
        row = (
            seq, seq >> schema.SEGMENT_BITS, pack(t.id), t.start_ns + t.wall_offset_ns, 1, pack(number(seq % 3)),
            t.process.service, 2, 200, t.method, t.client.address, pack(t.auth.identity), None, pack(t.trace_id),
            t.path,
        )  # fmt: skip
        connection.execute(f"INSERT INTO transactions VALUES ({','.join('?' * len(row))})", row)
        body = zstandard.compress(msgspec.json.encode(public(t)))
        connection.execute("INSERT INTO documents VALUES (?, ?)", (seq, body))
    segments = "SELECT segment, min(time), max(time), count(*) FROM transactions GROUP BY segment"
    connection.execute(f"INSERT INTO segments {segments}")
    connection.execute("COMMIT")
    connection.close()


def test_what_version_1_kept_is_kept(path: str, reader: StoreReader) -> None:
    last = (1 << schema.SEGMENT_BITS) + 2
    old(path, last)
    with pytest.raises(StoreError, match=r"by an older apisensor .* brings it up to date when it starts"):
        reader.facts()
    writer = Writer(path, Store())
    query = TransactionQuery(client="192.0.2.7", method="GET", endpoint=number(1), limit=500)
    expected = [number(n) for n in range(last, 0, -1) if n % 200 == 7 and n % 3 == 1]
    assert len(expected) > 10
    for _ in range(2):
        assert [row.id for row in reader.transactions(query).rows] == expected
        assert reader.transaction(number(5)) == msgspec.json.decode(msgspec.json.encode(public(call(5))))
        writer.index()
    writer.write([stored(last + 1)], None, [])
    assert [row.id for row in reader.transactions(TransactionQuery(limit=2)).rows] == [number(last + 1), number(last)]
    assert reader.facts().transactions == last + 1
    writer.close()


def test_settings_of_the_database(writer: Writer) -> None:
    pragma = {
        name: writer.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 1, "auto_vacuum": 2}
