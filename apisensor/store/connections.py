"""Connections of readers: opened read-only, few, each lent to one thread at a time."""

from __future__ import annotations

import os
import queue
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import msgspec
import zstandard

from apisensor.store import schema
from apisensor.store.documents import Decoder
from apisensor.store.errors import StoreError, cause_of

MAX_CONNECTIONS = 4
"""Queries at a time; a thread that wants one more waits. Each has a cache of CACHE_KIB."""
CACHE_KIB = 8 * 1024
WAIT_S = 10.0
"""For a free connection."""
BUSY_S = 2.0
"""For SQLite's own locks: recovery of a WAL after a kill."""


class Reading(msgspec.Struct):
    """What a query has: a connection in a transaction (all its statements see the same rows), and its decoder."""

    connection: sqlite3.Connection
    documents: Decoder
    file: tuple[int, int]
    """Device and inode of the database that is open."""
    immutable: bool
    """Opened as a file that nobody writes."""


class Connections:
    """Any number of threads may use it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._free: queue.LifoQueue[Reading | None] = queue.LifoQueue()
        for _ in range(MAX_CONNECTIONS):
            self._free.put(None)

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """
        Raises:
            StoreError: there is no store, it may not be read, it is damaged or busy.
        """
        try:
            reading = self._free.get(timeout=WAIT_S)
        except queue.Empty:
            raise StoreError("the store is busy with other queries: try again", "busy") from None
        try:
            before, reading = reading, None
            reading = self._current(before)
            reading.connection.execute("BEGIN")
            try:
                yield reading
            finally:
                reading.connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            _closed(reading)
            reading = None
            raise self._said(error) from None
        except (msgspec.MsgspecError, zstandard.ZstdError) as error:
            raise StoreError(f"a row of the store {self._path} cannot be read: {error}", "damaged") from None
        finally:
            self._free.put(reading)

    def close(self) -> None:
        """Closes what is free; nobody may be reading."""
        for _ in range(MAX_CONNECTIONS):
            _closed(self._free.get())
            self._free.put(None)

    def _current(self, reading: Reading | None) -> Reading:
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            _closed(reading)
            raise StoreError(
                f"no sensor has kept anything here yet: {self._path} does not exist (`apisensor run` makes it; "
                "general.state_directory says where)",
                "missing",
            ) from None
        except OSError as error:
            _closed(reading)
            raise self._refused(error.strerror or str(error)) from None
        file = (status.st_dev, status.st_ino)
        if reading is not None and reading.file == file and not (reading.immutable and self._written()):
            return reading
        _closed(reading)
        return self._open(file)

    def _written(self) -> bool:
        """Whether there is a WAL: a writer has the database open, or had it when it was killed."""
        try:
            return os.stat(self._path + "-wal").st_size > 0
        except OSError:
            return False

    def _open(self, file: tuple[int, int]) -> Reading:
        try:
            connection, immutable = self._connect("mode=ro"), False
        except sqlite3.Error as error:
            # After a clean end of the writer there is neither WAL nor index of it, and who may not write the folder
            # cannot make one: then the database is whole as it is.
            if cause_of(error) != "not_allowed" or self._written():
                raise
            connection, immutable = self._connect("mode=ro&immutable=1"), True
        try:
            schema.check_version(connection)
            if schema.version_of(connection) == 0:
                raise StoreError(f"no sensor has kept anything here yet: {self._path} is empty", "missing")
            schema.check_current(connection)
        except BaseException:
            connection.close()
            raise

        def dictionary(number: int) -> bytes | None:
            row = connection.execute("SELECT body FROM dictionaries WHERE number = ?", (number,)).fetchone()
            return None if row is None else row[0]

        return Reading(connection, Decoder(dictionary), file, immutable)

    def _connect(self, options: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(self._path)}?{options}",
            uri=True,
            timeout=BUSY_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
            # Opens the file.
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _said(self, error: sqlite3.Error) -> StoreError:
        cause = cause_of(error)
        if cause == "not_allowed":
            return self._refused(str(error))
        text = {
            "damaged": f"the store {self._path} is damaged ({error}): a sensor that runs sets it aside and begins anew",
            "busy": "the store is busy: try again",
        }.get(cause, f"the store {self._path} cannot be read: {error}")
        return StoreError(text, cause)

    def _refused(self, text: str) -> StoreError:
        return StoreError(
            f"the store {self._path} may not be read by this user ({text}): be root, or in the group of general.user",
            "not_allowed",
        )


def _closed(reading: Reading | None) -> None:
    if reading is not None:
        reading.connection.close()
