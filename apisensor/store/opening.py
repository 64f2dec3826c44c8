"""Opens the database for its writer: makes it, migrates it, sets a damaged one aside."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time

from apisensor.store import schema
from apisensor.store.errors import Cause, StoreError, cause_of

FILE_MODE = 0o640
"""Readers are in the group."""
BUSY_S = 2.0
"""A reader may hold up a checkpoint for so long; another writer there should not be."""
CACHE_KIB = 4 * 1024
"""The busiest endpoints, and the ends of tables where commits write. Four times as much saves nothing that bench.store
could tell: what is not here is in the kernel's cache."""
PAGE_BYTES = 4096
NO_ROOM_BYTES = 128 * 1024
"""Free bytes of a file system that is full: SQLite's own index of the WAL wants 32 KiB at once."""
SUFFIXES = ("", "-wal", "-shm")
"""Files of one database."""


def open_for_writing(path: str) -> sqlite3.Connection:
    """
    Raises:
        StoreError: it cannot be opened; its cause says whether it is damaged.
    """
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, mode=0o750, exist_ok=True)
        _make(path)
        connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise unavailable(path, error) from None
    try:
        _prepare(connection)
    except sqlite3.Error as error:
        connection.close()
        raise unavailable(path, error) from None
    except StoreError:
        connection.close()
        raise
    return connection


def _make(path: str) -> None:
    """The file with its mode: SQLite gives its WAL the mode of the database."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        if os.fstat(descriptor).st_size == 0:
            os.fchmod(descriptor, FILE_MODE)
    finally:
        os.close(descriptor)


def _prepare(connection: sqlite3.Connection) -> None:
    execute = connection.execute
    # auto_vacuum is decided before the first table.
    execute("PRAGMA auto_vacuum = INCREMENTAL")
    execute("PRAGMA journal_mode = WAL")
    execute("PRAGMA synchronous = NORMAL")
    execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    # What is deleted is overwritten where that costs no further write; a purge overwrites all of it.
    execute("PRAGMA secure_delete = FAST")
    schema.migrate(connection)
    # Reads one page of each table: a damaged file is better found now than with a batch in hand.
    for (table,) in execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone()


def unavailable(path: str, error: OSError | sqlite3.Error) -> StoreError:
    """One line that says what to do."""
    folder = os.path.dirname(path)
    text = str(error) if isinstance(error, sqlite3.Error) else error.strerror or str(error)
    cause: Cause = cause_of(error) if isinstance(error, sqlite3.Error) else "not_allowed"
    # SQLite says "unable to open" where there is no room for a file of its own.
    if cause in ("not_allowed", "io_error") and no_room(folder):
        cause = "disk_full"
    if cause == "not_allowed":
        return StoreError(
            f"the store {path} cannot be written by user {_user()} ({text}): {folder} and what is in it must belong to "
            "general.user and be writable",
            "not_allowed",
        )
    return StoreError(f"the store {path} cannot be opened: {text}", cause)


def no_room(folder: str) -> bool:
    try:
        status = os.statvfs(folder)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < NO_ROOM_BYTES or status.f_ffree == 0 < status.f_files


def _user() -> str:
    import pwd  # noqa: PLC0415  (for one sentence)

    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return str(os.geteuid())


def set_aside(path: str, now_s: int) -> str:
    """Renames the files of a damaged database, and forgets one that was set aside before. Returns the new path.

    One is kept, the latest: each may be as large as the store's limit.

    Raises:
        OSError
    """
    folder, name = os.path.split(path)
    marker = f"{name}.damaged-"
    for old in os.listdir(folder):
        if old.startswith(marker):
            os.unlink(os.path.join(folder, old))
    aside = os.path.join(folder, marker + time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s)))
    for suffix in SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            os.rename(path + suffix, aside + suffix)
    return aside
