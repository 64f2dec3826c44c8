"""The writer's side of findings: their life cycle, and the transactions that show them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from apisensor.detect.model import SEVERITIES, STATES, Finding, State
from apisensor.store import segments
from apisensor.store.documents import pack
from apisensor.store.errors import StoreError

MAX_AWAITED = 100_000
"""Ids of transactions that a finding named before they came; the oldest are given up."""
MAX_FINDINGS = 100_000
"""Kept: the oldest go first. Every client of an attack may be one."""
MAX_COMMENT = 2_000
MAX_WHO = 100
"""Characters of what people write."""
MAX_EVENTS = 200
"""Of one finding: one that is closed and opened all day keeps its first and its latest steps."""

SENSOR = "sensor"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Finding).decode

_UPSERT = """INSERT INTO findings
    (id, state, severity, rule, key, title, service, endpoint, identity, client, last_ns, body)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET state = excluded.state,
    severity = excluded.severity, rule = excluded.rule, title = excluded.title, service = excluded.service,
    endpoint = excluded.endpoint, identity = excluded.identity, client = excluded.client,
    last_ns = excluded.last_ns, body = excluded.body"""


def encode(finding: Finding) -> bytes:
    """A snapshot: the detectors' own object goes on growing."""
    return _encode(finding)


def decode(body: bytes) -> Finding:
    """
    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _decode(body)


class Findings:
    """All methods that change something: within a transaction of the database, but for load."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.awaited: dict[bytes | str | None, None] = {}
        """Packed ids of transactions that findings name and the store does not have, the oldest first."""
        self.count = 0
        self.load()

    def load(self) -> None:
        missing = self._connection.execute(
            "SELECT DISTINCT p.id FROM pins p LEFT JOIN evidence e ON e.id = p.id WHERE e.id IS NULL "
            f"ORDER BY p.finding DESC LIMIT {MAX_AWAITED}"
        )
        self.awaited = dict.fromkeys(i for (i,) in reversed(missing.fetchall()))
        self.count = self._connection.execute("SELECT count(*) FROM findings").fetchone()[0]

    def unclosed(self) -> list[Finding]:
        rows = self._connection.execute(
            "SELECT body, endpoint FROM findings WHERE state IN ('open', 'acknowledged', 'false_positive')"
        )
        return [msgspec.structs.replace(decode(body), endpoint=endpoint) for body, endpoint in rows]

    def put(self, finding: Finding, endpoint: str | None) -> None:
        """Upserts. `endpoint`: the id that the finding's has today."""
        execute = self._connection.execute
        severity = SEVERITIES.index(finding.severity)
        row = execute("SELECT n, state, severity, body FROM findings WHERE id = ?", (finding.id,)).fetchone()
        state: State = "open"
        comments: list[str] = []
        if row is None:
            comments.append("")
            if (judged := self._judged(finding)) is not None:
                state, comments = "false_positive", [f"as finding {judged} of the same"]
        else:
            before = decode(row[3])
            state = row[1]
            again = finding.last_ns > before.last_ns or finding.count > before.count
            if state == "closed" and again:
                state = "open"
                comments.append("happened again")
            if severity > row[2]:
                comments.append(f"severity rose from {before.severity} to {finding.severity}")
        values = (
            finding.id, state, severity, finding.rule, finding.key, finding.title, finding.service, endpoint,
            finding.identity, finding.client, finding.last_ns, encode(finding),
        )  # fmt: skip
        execute(_UPSERT, values)
        self.count += row is None
        n = self._n(finding.id)
        for comment in comments:
            self._event(n, finding.time_ns if row is None else finding.last_ns, SENSOR, state, comment)
        self._pin(n, finding.transactions)

    def _judged(self, finding: Finding) -> str | None:
        """Id of an earlier finding of the same, that somebody called a false positive."""
        asked = "SELECT id FROM findings WHERE rule = ? AND key = ? AND state = 'false_positive'"
        row = self._connection.execute(asked, (finding.rule, finding.key)).fetchone()
        return None if row is None else row[0]

    def set_state(self, finding: str, state: State, who: str, comment: str, now_ns: int) -> None:
        """A step that a person takes.

        Raises:
            StoreError: there is no such finding, or the step says nothing that is allowed.
        """
        if state not in STATES:
            raise StoreError(f"no state {state!r}: it is one of {', '.join(STATES)}")
        if not who or len(who) > MAX_WHO or len(comment) > MAX_COMMENT:
            raise StoreError(f"who has 1 to {MAX_WHO} characters, a comment {MAX_COMMENT:,} at most")
        n = self._n(finding)
        if n == 0:
            raise StoreError(f"no finding {finding!r} in the store: `apisensor findings list` shows them")
        self._connection.execute("UPDATE findings SET state = ? WHERE n = ?", (state, n))
        self._event(n, now_ns, who, state, comment)

    def _n(self, finding: str) -> int:
        row = self._connection.execute("SELECT n FROM findings WHERE id = ?", (finding,)).fetchone()
        return 0 if row is None else row[0]

    def _event(self, n: int, time_ns: int, who: str, state: State, comment: str) -> None:
        execute = self._connection.execute
        last = execute("SELECT coalesce(max(number), 0) FROM events WHERE finding = ?", (n,)).fetchone()[0]
        execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (n, last + 1, time_ns, who, state, comment))
        execute("DELETE FROM events WHERE finding = ? AND number BETWEEN 2 AND ?", (n, last + 2 - MAX_EVENTS))

    def _pin(self, n: int, transactions: list[str]) -> None:
        execute = self._connection.execute
        wanted = {pack(i) for i in transactions}
        pinned = {i for (i,) in execute("SELECT id FROM pins WHERE finding = ?", (n,))}
        for packed in pinned - wanted:
            execute("DELETE FROM pins WHERE finding = ? AND id = ?", (n, packed))
            self._release(packed)
        new = wanted - pinned
        self._connection.executemany("INSERT INTO pins VALUES (?, ?)", [(n, packed) for packed in new])
        self._copy([p for p in new if execute("SELECT 1 FROM evidence WHERE id = ?", (p,)).fetchone() is None])

    def _copy(self, ids: list[bytes | str]) -> None:
        """Holds those transactions that are in the store already, and waits for the others."""
        there = segments.with_ids(self._connection, ids)
        for packed in ids:
            if packed in there:
                row = self._connection.execute(
                    "SELECT time, service, identity, login, endpoint, body FROM transactions "
                    "JOIN documents USING (seq) WHERE seq = ?",
                    (there[packed],),
                ).fetchone()
                self.hold([(packed, *row)])
                continue
            self.awaited[packed] = None
            if len(self.awaited) > MAX_AWAITED:
                del self.awaited[next(iter(self.awaited))]

    def hold(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Transactions that findings name, as rows of `evidence`."""
        for row in rows:
            self._connection.execute("INSERT OR REPLACE INTO evidence VALUES (?, ?, ?, ?, ?, ?, ?)", row)
            self.awaited.pop(row[0], None)

    def _release(self, packed: bytes | str | None) -> None:
        execute = self._connection.execute
        if execute("SELECT 1 FROM pins WHERE id = ? LIMIT 1", (packed,)).fetchone() is None:
            execute("DELETE FROM evidence WHERE id = ?", (packed,))
            self.awaited.pop(packed, None)

    def delete(self, n: int) -> int:
        """A finding with everything that is kept for it. Returns how many transactions went with it."""
        execute = self._connection.execute
        pinned = execute("SELECT id FROM pins WHERE finding = ?", (n,)).fetchall()
        before = self._connection.total_changes
        execute("DELETE FROM pins WHERE finding = ?", (n,))
        after = self._connection.total_changes
        assert after - before == len(pinned)
        for (packed,) in pinned:
            self._release(packed)
        evidence = self._connection.total_changes - after
        execute("DELETE FROM events WHERE finding = ?", (n,))
        execute("DELETE FROM findings WHERE n = ?", (n,))
        self.count -= 1
        return evidence
