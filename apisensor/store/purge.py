"""Deletes what somebody wants gone: by age, service or identity. Step by step, each with a commit of its own.

Deleted bytes are overwritten (secure_delete), and the WAL is emptied at the end: it has the old pages too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from typing import Any

from apisensor.store import profiles, segments
from apisensor.store.commands import Done, Purge
from apisensor.store.documents import pack
from apisensor.store.errors import StoreError
from apisensor.store.findings import Findings
from apisensor.store.retention import delete_transactions
from apisensor.store.schema import SEGMENT_BITS, transaction

PROFILES = 500
"""Read in one step, when a caller is taken out of them."""

_OWN_TRANSACTIONS = {
    "service": ("service = ?",),
    "identity": ("identity = ?", "login = ?"),
}
_SECONDS = 1_000_000_000

Steps = Generator[None, None, Done]


def purge(connection: sqlite3.Connection, findings: Findings, command: Purge) -> Steps:
    """Yields after each step, returns what it did.

    Raises:
        StoreError: not exactly one thing to go by is given.
        sqlite3.Error
    """
    given = [name for name in ("before", "service", "identity") if getattr(command, name) is not None]
    if len(given) != 1:
        raise StoreError("a purge goes by exactly one of: before, service, identity")
    return _Purge(connection, findings, given[0], getattr(command, given[0])).steps()


class _Purge:
    def __init__(self, connection: sqlite3.Connection, findings: Findings, by: str, value: Any) -> None:
        self._connection = connection
        self._findings = findings
        self._by = by
        self._value = value
        self._done = {"transactions": 0, "endpoints": 0, "findings": 0}

    def steps(self) -> Steps:
        execute = self._connection.execute
        execute("PRAGMA secure_delete = ON")
        try:
            for part in (self._transactions, self._finding_rows, self._evidence, self._endpoints):
                for _ in part():
                    yield
            execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            return Done(**self._done)
        finally:
            execute("PRAGMA secure_delete = FAST")

    def _transactions(self) -> Iterator[None]:
        known = self._connection.execute("SELECT segment, first_ns FROM segments ORDER BY segment").fetchall()
        for segment, first_ns in known:
            with transaction(self._connection):
                if self._by == "before":
                    before_ns = self._value * _SECONDS
                    if first_ns >= before_ns:
                        continue
                    self._delete(segment, "time < ?", before_ns)
                else:
                    value = pack(self._value) if self._by == "identity" else self._value
                    for where in _OWN_TRANSACTIONS[self._by]:
                        self._delete(segment, where, value)
            yield

    def _delete(self, segment: int, where: str, value: object) -> None:
        first, end = segment << SEGMENT_BITS, (segment + 1) << SEGMENT_BITS
        gone = delete_transactions(self._connection, f"seq >= ? AND seq < ? AND {where}", (first, end, value))
        self._done["transactions"] += gone
        if gone:
            segments.forget(self._connection, segment)

    def _finding_rows(self) -> Iterator[None]:
        where, value = {
            "before": ("last_ns < ?", self._value),
            "service": ("service = ?", self._value),
            "identity": ("identity = ?", self._value),
        }[self._by]
        if self._by == "before":
            value *= _SECONDS
        for (n,) in self._connection.execute(f"SELECT n FROM findings WHERE {where}", (value,)).fetchall():
            with transaction(self._connection):
                self._done["transactions"] += self._findings.delete(n)
                self._done["findings"] += 1
            yield

    def _evidence(self) -> Iterator[None]:
        """Of findings that stay: about another identity, say, in the same attack."""
        value = pack(self._value) if self._by == "identity" else self._value
        where, values = {
            "before": ("time < ?", (self._value * _SECONDS if self._by == "before" else 0,)),
            "service": ("service = ?", (value,)),
            "identity": ("identity = ? OR login = ?", (value, value)),
        }[self._by]
        with transaction(self._connection):
            gone = self._connection.execute(f"DELETE FROM evidence WHERE {where} RETURNING id", values).fetchall()
            self._connection.executemany("DELETE FROM pins WHERE id = ?", gone)
        self._done["transactions"] += len(gone)
        yield

    def _endpoints(self) -> Iterator[None]:
        if self._by == "identity":
            yield from self._callers()
            return
        execute = self._connection.execute
        where, value = {
            "before": ("last_ns < ?", self._value),
            "service": ("owner = ?", self._value),
        }[self._by]
        if self._by == "before":
            value *= _SECONDS
        for (n,) in execute(f"SELECT n FROM endpoints WHERE {where}", (value,)).fetchall():
            with transaction(self._connection):
                self._endpoint(n)
            yield
        with transaction(self._connection):
            if self._by == "before":
                execute("DELETE FROM buckets WHERE time < ?", (self._value,))
                execute("DELETE FROM owner_hours WHERE hour < ?", (self._value,))
                execute("DELETE FROM owners WHERE endpoints = 0 AND unmatched = 0")
            else:
                execute("DELETE FROM owner_hours WHERE owner = ?", (self._value,))
                execute("DELETE FROM owners WHERE owner = ?", (self._value,))
        yield

    def _endpoint(self, n: int) -> None:
        execute = self._connection.execute
        endpoint, side, owner = execute("DELETE FROM endpoints WHERE n = ? RETURNING id, side, owner", (n,)).fetchone()
        execute("DELETE FROM profiles WHERE n = ?", (n,))
        execute("DELETE FROM aliases WHERE new = ?", (endpoint,))
        execute("DELETE FROM buckets WHERE endpoint = ?", (n,))
        execute("UPDATE owners SET endpoints = endpoints - 1 WHERE side = ? AND owner = ?", (side, owner))
        self._done["endpoints"] += 1

    def _callers(self) -> Iterator[None]:
        execute = self._connection.execute
        last = -1
        while rows := execute(
            f"SELECT n, body FROM profiles WHERE n > ? ORDER BY n LIMIT {PROFILES}", (last,)
        ).fetchall():
            with transaction(self._connection):
                for n, body in rows:
                    p = profiles.decode(body)
                    kept = {key: caller for key, caller in p.callers.items() if caller.identity != self._value}
                    if len(kept) < len(p.callers):
                        p.callers = kept
                        execute("UPDATE profiles SET body = ? WHERE n = ?", (profiles.encode(p), n))
                        execute("UPDATE endpoints SET callers = ? WHERE n = ?", (len(kept), n))
                        self._done["endpoints"] += 1
            last = rows[-1][0]
            yield
