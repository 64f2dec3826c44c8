"""Versions of the tables."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from apisensor.store import schema
from apisensor.store.errors import StoreError
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import stored

SECOND_STEP = """
ALTER TABLE segments ADD COLUMN comment TEXT NOT NULL DEFAULT 'none; yet';
UPDATE segments SET comment = 'moved';
"""


@pytest.fixture
def connection(path: str, write: Write, writer: Writer) -> Iterator[sqlite3.Connection]:
    """To a database of version 1 with a transaction in it."""
    write([stored(1)])
    writer.close()
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def test_a_step_leads_to_the_next_version_and_keeps_the_rows(connection: sqlite3.Connection) -> None:
    schema.migrate(connection, (*schema.STEPS, SECOND_STEP))
    assert schema.version_of(connection) == 2
    assert connection.execute("SELECT rows, comment FROM segments").fetchall() == [(1, "moved")]
    schema.migrate(connection, (*schema.STEPS, SECOND_STEP))
    assert schema.version_of(connection) == 2


def test_a_step_that_fails_leaves_the_old_version_whole(connection: sqlite3.Connection) -> None:
    broken = SECOND_STEP + "INSERT INTO nowhere VALUES (1);\n"
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        schema.migrate(connection, (*schema.STEPS, broken))
    assert schema.version_of(connection) == 1
    assert [row[1] for row in connection.execute("PRAGMA table_info(segments)")] == [
        "segment",
        "first_ns",
        "last_ns",
        "rows",
    ]


def test_a_newer_version_is_refused_by_writer_and_reader(connection: sqlite3.Connection, path: str) -> None:
    from apisensor.sections import Store  # noqa: PLC0415

    connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="by a newer apisensor"):
        Writer(path, Store())
    with pytest.raises(StoreError, match="by a newer apisensor"):
        StoreReader(path).facts()
    assert connection.execute("SELECT count(*) FROM transactions").fetchone() == (1,)


def test_settings_of_the_database(writer: Writer) -> None:
    pragma = {
        name: writer.connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "auto_vacuum")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 1, "auto_vacuum": 2}
