"""Keeps the store within its limits of age and size, in steps short enough for one commit each.

What goes first: the oldest transactions, then the oldest buckets of traffic, then the oldest findings with their
evidence. Endpoints stay: the inventory bounds them.

The limit holds for the database with its WAL. WAL_SHARE of it is the WAL's; of the rest, pages in use stay below
FULL. Deleted pages are used again, so the file stops growing; it shrinks only where the limit was lowered.
"""

from __future__ import annotations

import os
import sqlite3

from apisensor.sections import MIB, Store
from apisensor.store.findings import MAX_FINDINGS, Findings
from apisensor.store.opening import PAGE_BYTES
from apisensor.store.schema import transaction
from apisensor.store.traffic import KEPT, OWNER_HOURS_KEPT

STEP_ROWS = 500
"""Rows deleted in one commit: some milliseconds."""
WAL_SHARE = 8
"""One eighth of the limit, and WAL_MOST at most."""
WAL_MOST = 32 * MIB
FULL = 0.92
"""Of the database's share: what one commit adds fits into the rest (COMMIT_BYTES of keeper.py, compressed, and the
postings of a segment are each below a twentieth of the smallest store)."""
VACUUM_PAGES = 256
"""Pages given back to the file system in one step, where the file is above its limit."""


class Retention:
    """`step` deletes a little; the service calls it between commits while there is more to do."""

    def __init__(self, connection: sqlite3.Connection, path: str, settings: Store, findings: Findings) -> None:
        self._connection = connection
        self._path = path
        self._findings = findings
        self._transaction_ns = settings.max_days * 86_400 * 1_000_000_000
        self._finding_ns = settings.finding_days * 86_400 * 1_000_000_000
        self._wal_bytes = min(WAL_MOST, settings.max_bytes // WAL_SHARE)
        self._pages = (settings.max_bytes - self._wal_bytes) // PAGE_BYTES
        self._full = int(self._pages * FULL)
        self.deleted = 0
        """Transactions, since the start."""
        self.full_of_inventory = False
        """Nothing is left to delete and the store is above its limit."""
        # The WAL begins anew when all of it was checkpointed: half of its share leaves room for the commits meanwhile.
        connection.execute(f"PRAGMA wal_autocheckpoint = {max(64, self._wal_bytes // 2 // PAGE_BYTES)}")
        connection.execute(f"PRAGMA journal_size_limit = {self._wal_bytes}")

    def step(self, now_ns: int) -> bool:
        """One commit at most. True: call again."""
        return self._too_old(now_ns) or self._too_large()

    def _pragma(self, name: str) -> int:
        value: int = self._connection.execute(f"PRAGMA {name}").fetchone()[0]
        return value

    def _too_large(self) -> bool:
        pages, free = self._pragma("page_count"), self._pragma("freelist_count")
        self.full_of_inventory = False
        if pages - free > self._full:
            if self._oldest_transactions() or self._oldest_buckets() or self._oldest_finding():
                return True
            self.full_of_inventory = True
        if pages > self._pages and free:
            self._connection.execute(f"PRAGMA incremental_vacuum({min(free, VACUUM_PAGES)})").fetchall()
            return True
        self._bound_wal()
        return False

    def _bound_wal(self) -> None:
        """A reader that stays in its transaction keeps the WAL from beginning anew."""
        try:
            size = os.stat(self._path + "-wal").st_size
        except OSError:
            return
        if size > self._wal_bytes * 3 // 4:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _too_old(self, now_ns: int) -> bool:
        return (
            self._oldest_transactions(now_ns - self._transaction_ns)
            or self._old_findings(now_ns - self._finding_ns)
            or (self._findings.count > MAX_FINDINGS and self._oldest_finding())
            or self._old_buckets(now_ns // 1_000_000_000)
        )

    def _oldest_transactions(self, before_ns: int | None = None) -> bool:
        """STEP_ROWS of the oldest; with before_ns as many of them as are older. They go in the order they came in."""
        execute = self._connection.execute
        if before_ns is not None:
            oldest = execute("SELECT time FROM transactions ORDER BY seq LIMIT 1").fetchone()
            if oldest is None or oldest[0] >= before_ns:
                return False
        last = execute(
            f"SELECT max(seq) FROM (SELECT seq, time FROM transactions ORDER BY seq LIMIT {STEP_ROWS})"
            + ("" if before_ns is None else " WHERE time < ?"),
            () if before_ns is None else (before_ns,),
        ).fetchone()[0]
        if last is None:
            return False
        with transaction(self._connection):
            self.deleted += delete_transactions(self._connection, "seq <= ?", (last,))
        return True

    def _old_buckets(self, now_s: int) -> bool:
        execute = self._connection.execute
        found = False
        for step, kept in KEPT.items():
            key = (step, (now_s - kept) // step * step)
            if execute("SELECT 1 FROM buckets WHERE step = ? AND time < ? LIMIT 1", key).fetchone():
                found = True
                self._delete_buckets(*key)
        if execute("SELECT 1 FROM owner_hours WHERE hour < ? LIMIT 1", (now_s - OWNER_HOURS_KEPT,)).fetchone():
            found = self._delete_hours(now_s - OWNER_HOURS_KEPT)
        return found

    def _oldest_buckets(self) -> bool:
        return any(self._delete_buckets(step, 1 << 62) for step in KEPT) or self._oldest_hour()

    def _oldest_hour(self) -> bool:
        oldest = self._connection.execute("SELECT min(hour) FROM owner_hours").fetchone()[0]
        return oldest is not None and self._delete_hours(oldest + 1)

    def _delete_hours(self, before: int) -> bool:
        """And the owners who have no endpoint and have not been heard of since."""
        with transaction(self._connection):
            gone = self._connection.execute("DELETE FROM owner_hours WHERE hour < ?", (before,)).rowcount
            self._connection.execute("DELETE FROM owners WHERE endpoints <= 0 AND last_hour < ?", (before,))
        return gone > 0

    def _delete_buckets(self, step: int, before: int) -> bool:
        with transaction(self._connection):
            return (
                self._connection.execute(
                    "DELETE FROM buckets WHERE (step, time, endpoint) IN (SELECT step, time, endpoint FROM buckets "
                    f"WHERE step = ? AND time < ? ORDER BY time, endpoint LIMIT {STEP_ROWS})",
                    (step, before),
                ).rowcount
                > 0
            )

    def _old_findings(self, before_ns: int) -> bool:
        row = self._connection.execute(
            "SELECT n FROM findings WHERE last_ns < ? ORDER BY last_ns LIMIT 1", (before_ns,)
        ).fetchone()
        return row is not None and self._delete_finding(row[0])

    def _oldest_finding(self) -> bool:
        row = self._connection.execute("SELECT n FROM findings ORDER BY last_ns LIMIT 1").fetchone()
        return row is not None and self._delete_finding(row[0])

    def _delete_finding(self, n: int) -> bool:
        with transaction(self._connection):
            self._findings.delete(n)
        return True


def delete_transactions(connection: sqlite3.Connection, where: str, values: tuple[object, ...]) -> int:
    """Rows, their documents and their share of the segments; within a transaction of the database."""
    gone = connection.execute(f"DELETE FROM transactions WHERE {where} RETURNING seq, segment", values).fetchall()
    connection.executemany("DELETE FROM documents WHERE seq = ?", [(seq,) for seq, _ in gone])
    counts: dict[int, int] = {}
    for _, segment in gone:
        counts[segment] = counts.get(segment, 0) + 1
    connection.executemany(
        "UPDATE segments SET rows = rows - ? WHERE segment = ?", [(count, segment) for segment, count in counts.items()]
    )
    for segment in counts:
        if connection.execute("DELETE FROM segments WHERE segment = ? AND rows <= 0", (segment,)).rowcount:
            connection.execute("DELETE FROM postings WHERE segment = ?", (segment,))
    return len(gone)
