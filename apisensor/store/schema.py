"""Tables of the database, as steps from one version to the next. docs/store.md explains each table.

`PRAGMA user_version` is the number of steps that were taken. A step is never changed once it was released.

Transactions are numbered as they are put (`seq`), and 8,192 of them form a segment, which is indexed at once when it is
full (segments.py): a commit writes rows and documents at the end of their tables and nothing else, though ids,
identities and trace ids are random, and what is old goes from one end. Readers go through the segments, newest first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from apisensor.store.errors import StoreError

SEGMENT_BITS = 13
"""8,192 transactions. With fewer, a search for something rare has more segments to ask; with more, the newest one,
which is not indexed yet, takes longer to look through."""

_FIRST = f"""
CREATE TABLE transactions (
    seq INTEGER PRIMARY KEY,
    segment INTEGER NOT NULL,  -- seq >> {SEGMENT_BITS}
    id BLOB NOT NULL,
    time INTEGER NOT NULL,     -- Unix time of the first request byte, ns
    shown INTEGER NOT NULL,    -- 0: the client's view of a call inside the node
    endpoint BLOB,
    service TEXT,
    class INTEGER NOT NULL,    -- first digit of the status; 0: no response was seen
    status INTEGER,
    method TEXT,
    client TEXT,
    identity BLOB,
    login BLOB,
    trace BLOB NOT NULL,
    path TEXT                  -- its beginning, for search
);
CREATE INDEX transactions_id ON transactions (segment, id);
CREATE INDEX transactions_trace ON transactions (segment, trace);
CREATE INDEX transactions_endpoint ON transactions (segment, endpoint) WHERE endpoint IS NOT NULL;
CREATE INDEX transactions_service ON transactions (segment, service) WHERE service IS NOT NULL;
CREATE INDEX transactions_class ON transactions (segment, class);
CREATE INDEX transactions_method ON transactions (segment, method) WHERE method IS NOT NULL;
CREATE INDEX transactions_client ON transactions (segment, client) WHERE client IS NOT NULL;
CREATE INDEX transactions_identity ON transactions (segment, identity) WHERE identity IS NOT NULL;
CREATE INDEX transactions_login ON transactions (segment, login) WHERE login IS NOT NULL;

CREATE TABLE documents (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY,
    first_ns INTEGER NOT NULL,  -- of the times in it
    last_ns INTEGER NOT NULL,
    rows INTEGER NOT NULL
);
CREATE TABLE dictionaries (number INTEGER PRIMARY KEY, since_seq INTEGER NOT NULL, body BLOB NOT NULL);

CREATE TABLE endpoints (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    side TEXT NOT NULL,
    owner TEXT NOT NULL,
    method TEXT NOT NULL,
    route TEXT NOT NULL,
    walled INTEGER NOT NULL,      -- EndpointDelta.walled, as it was told last
    rpc INTEGER NOT NULL,         -- EndpointDelta.rpc
    count INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    p50 REAL,
    p95 REAL NOT NULL,            -- ms; -1: no call was answered
    auth TEXT NOT NULL,           -- JSON: schemes, the most frequent first
    unauthenticated INTEGER NOT NULL,
    sensitive TEXT NOT NULL,      -- JSON: kinds; '' where there are none
    flags INTEGER NOT NULL,       -- 1: unauthenticated, 2: sensitive, 4: errors
    callers INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    last_ns INTEGER NOT NULL
);
CREATE INDEX endpoints_owner ON endpoints (owner, route, method, side, flags);
CREATE INDEX endpoints_last_seen ON endpoints (last_ns, n);
CREATE INDEX endpoints_first_seen ON endpoints (first_ns, n);
CREATE INDEX endpoints_count ON endpoints (count, n);
CREATE INDEX endpoints_errors ON endpoints (errors, n);
CREATE INDEX endpoints_latency ON endpoints (p95, n);
CREATE INDEX endpoints_walled ON endpoints (id) WHERE walled = 1;
CREATE INDEX endpoints_rpc ON endpoints (id) WHERE rpc = 1;
CREATE TABLE profiles (n INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE aliases (
    n INTEGER PRIMARY KEY,
    old TEXT NOT NULL UNIQUE,
    new TEXT NOT NULL,
    moved INTEGER NOT NULL        -- 1: transactions have the new id
);
CREATE INDEX aliases_new ON aliases (new);
CREATE INDEX aliases_moving ON aliases (old) WHERE moved = 0;

CREATE TABLE owners (
    side TEXT NOT NULL,
    owner TEXT NOT NULL,
    endpoints INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    unmatched INTEGER NOT NULL,
    last_hour INTEGER NOT NULL,   -- in which there was a call
    PRIMARY KEY (side, owner)
) WITHOUT ROWID;
CREATE TABLE owner_hours (
    hour INTEGER NOT NULL,        -- Unix time at which it begins, s
    side TEXT NOT NULL,
    owner TEXT NOT NULL,
    calls INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    unmatched INTEGER NOT NULL,
    PRIMARY KEY (hour, side, owner)
) WITHOUT ROWID;
CREATE TABLE buckets (
    step INTEGER NOT NULL,        -- s
    time INTEGER NOT NULL,        -- Unix time at which it begins, s
    endpoint INTEGER NOT NULL,    -- endpoints.n; 0: all calls
    count INTEGER NOT NULL,
    errors INTEGER NOT NULL,
    latency BLOB NOT NULL,
    PRIMARY KEY (step, time, endpoint)
) WITHOUT ROWID;

CREATE TABLE findings (
    n INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    severity INTEGER NOT NULL,    -- 0 info ... 4 critical
    rule TEXT NOT NULL,
    key TEXT NOT NULL,
    title TEXT NOT NULL,
    service TEXT,
    endpoint TEXT,
    identity TEXT,
    client TEXT,
    last_ns INTEGER NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX findings_worst ON findings (severity, last_ns, n, state, rule, service, endpoint, identity, client);
CREATE INDEX findings_false ON findings (rule, key) WHERE state = 'false_positive';
CREATE INDEX findings_last ON findings (last_ns);
CREATE INDEX findings_endpoint ON findings (endpoint) WHERE endpoint IS NOT NULL;
CREATE INDEX findings_identity ON findings (identity) WHERE identity IS NOT NULL;
CREATE INDEX findings_service ON findings (service) WHERE service IS NOT NULL;
CREATE TABLE events (
    finding INTEGER NOT NULL,
    number INTEGER NOT NULL,
    time INTEGER NOT NULL,        -- Unix time, ns
    who TEXT NOT NULL,
    state TEXT NOT NULL,
    comment TEXT NOT NULL,
    PRIMARY KEY (finding, number)
) WITHOUT ROWID;
CREATE TABLE pins (finding INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (finding, id)) WITHOUT ROWID;
CREATE INDEX pins_id ON pins (id);
CREATE TABLE evidence (
    id BLOB PRIMARY KEY,
    time INTEGER NOT NULL,
    service TEXT,
    identity BLOB,
    login BLOB,
    endpoint BLOB,                -- as it was called then
    body BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE notes (time INTEGER NOT NULL, text TEXT NOT NULL);
"""

_SECOND = """
-- Documents are msgpack from here on (documents.py); those that are JSON stay.
DROP INDEX transactions_id;
DROP INDEX transactions_trace;
DROP INDEX transactions_endpoint;
DROP INDEX transactions_service;
DROP INDEX transactions_class;
DROP INDEX transactions_method;
DROP INDEX transactions_client;
DROP INDEX transactions_identity;
DROP INDEX transactions_login;
CREATE TABLE postings (segment INTEGER NOT NULL, field TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (segment, field))
    WITHOUT ROWID;
ALTER TABLE segments ADD COLUMN indexed INTEGER NOT NULL DEFAULT 0;  -- 1: it has postings
CREATE INDEX segments_unindexed ON segments (segment) WHERE indexed = 0;
"""

STEPS: tuple[str, ...] = (_FIRST, _SECOND)
"""Each is one or more statements; step i leads from version i to i + 1."""


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Brings the database to the newest version, each step in a transaction of its own.

    Raises:
        StoreError: a newer apisensor wrote it.
        sqlite3.Error
    """
    check_version(connection, len(steps))
    for version in range(version_of(connection), len(steps)):
        with transaction(connection):
            for statement in statements(steps[version]):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")


def version_of(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def check_version(connection: sqlite3.Connection, known: int = len(STEPS)) -> None:
    """Raises StoreError where a newer apisensor wrote the database."""
    if (version := version_of(connection)) > known:
        raise StoreError(
            f"the store was written by a newer apisensor (version {version} of its tables, this one knows {known}): "
            "use that one, or move the store's files away",
            "newer",
        )


def check_current(connection: sqlite3.Connection) -> None:
    """Raises StoreError where an older apisensor wrote the database and no newer one has had it since."""
    if (version := version_of(connection)) < len(STEPS):
        raise StoreError(
            f"the store was written by an older apisensor (version {version} of its tables, this one reads "
            f"{len(STEPS)}): the sensor brings it up to date when it starts",
            "older",
        )


def statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: executescript would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        # After some errors (disk full) SQLite has rolled back itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
