"""The writer's side of the inventory: profiles merged into rows, aliases followed, traffic added to its buckets."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Literal, get_args

from apisensor.inventory import histogram, profile
from apisensor.inventory.model import Alias, EndpointDelta, EndpointKey, Side
from apisensor.store import profiles, segments, traffic
from apisensor.store.documents import pack
from apisensor.store.pending import Bucket, OwnerHour, Pending
from apisensor.store.traffic import widths

MOVE_ROWS = 2_000
"""Transactions of merged endpoints that are given the new id in one commit, and at most one segment beyond; until all
have it, readers look for both."""
MOVE_ALIASES = 200
"""Merged endpoints whose transactions are looked for at a time: a template's, mostly."""
MAX_ALIASES = 500_000
"""Kept, the latest: each some 100 bytes. What was merged before them is known by its new id alone."""

_COLUMNS = ("id", "side", "owner", "method", "route", "walled", "rpc", *profiles.LISTED)
_INSERT = f"INSERT INTO endpoints ({','.join(_COLUMNS)}) VALUES ({','.join('?' * len(_COLUMNS))})"
_UPDATE = f"UPDATE endpoints SET {','.join(f'{name} = ?' for name in profiles.LISTED)} WHERE n = ?"
_TOLD = "UPDATE endpoints SET walled = ?, rpc = ? WHERE n = ? AND (walled <> ? OR rpc <> ?)"
_OWNER = """INSERT INTO owners VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (side, owner) DO UPDATE SET
    endpoints = endpoints + excluded.endpoints, calls = calls + excluded.calls, errors = errors + excluded.errors,
    unmatched = unmatched + excluded.unmatched, last_hour = max(last_hour, excluded.last_hour)"""
_HOUR = """INSERT INTO owner_hours VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (hour, side, owner) DO UPDATE SET
    calls = calls + excluded.calls, errors = errors + excluded.errors, unmatched = unmatched + excluded.unmatched"""


class Endpoints:
    """All methods that change something: within a transaction of the database."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def keys(self) -> list[tuple[str, EndpointKey]]:
        sides = {side: side for side in get_args(Side)}
        rows = self._connection.execute("SELECT id, side, owner, method, route FROM endpoints")
        return [(i, EndpointKey(sides[side], owner, method, route)) for i, side, owner, method, route in rows]

    def told(self, what: Literal["walled", "rpc"]) -> frozenset[str]:
        """Ids of the endpoints of which the latest delta said so."""
        return frozenset(i for (i,) in self._connection.execute(f"SELECT id FROM endpoints WHERE {what} = 1"))

    def aliases(self) -> list[Alias]:
        return [Alias(old, new) for old, new in self._connection.execute("SELECT old, new FROM aliases")]

    def apply(self, pending: Pending) -> None:
        """Writes everything that is pending; the caller forgets it after the commit."""
        for delta in pending.endpoints.values():
            endpoint = self.resolve(delta.id)
            self._merge(endpoint, delta)
            if endpoint == delta.id:
                told = (delta.walled, delta.rpc)
                self._connection.execute(_TOLD, (*told, self._n(endpoint), *told))
        self._buckets(pending.buckets)
        self._hours(pending.hours)
        for alias in pending.aliases:
            self._alias(alias.old, alias.new)

    def resolve(self, endpoint: str) -> str:
        """The id it has today. Chains are one step long: `_alias` shortens them."""
        row = self._connection.execute("SELECT new FROM aliases WHERE old = ?", (endpoint,)).fetchone()
        return endpoint if row is None else row[0]

    def _n(self, endpoint: str) -> int | None:
        row = self._connection.execute("SELECT n FROM endpoints WHERE id = ?", (endpoint,)).fetchone()
        return None if row is None else row[0]

    def _merge(self, endpoint: str, delta: EndpointDelta) -> None:
        n = self._n(endpoint)
        if n is None:
            self._new(endpoint, delta)
            return
        body = self._connection.execute("SELECT body FROM profiles WHERE n = ?", (n,)).fetchone()[0]
        merged = profile.merge(profiles.decode(body), delta.profile)
        self._connection.execute(_UPDATE, (*profiles.listed(merged), n))
        self._connection.execute("UPDATE profiles SET body = ? WHERE n = ?", (profiles.encode(merged), n))

    def _new(self, endpoint: str, delta: EndpointDelta) -> None:
        key = delta.key
        values = (
            endpoint,
            key.side,
            key.owner,
            key.method,
            key.route,
            delta.walled,
            delta.rpc,
            *profiles.listed(delta.profile),
        )
        n = self._connection.execute(_INSERT, values).lastrowid
        self._connection.execute("INSERT INTO profiles VALUES (?, ?)", (n, profiles.encode(delta.profile)))
        self._connection.execute(_OWNER, (key.side, key.owner, 1, 0, 0, 0, 0))
        # Aliases may have come before the endpoint that they lead to.
        for (old,) in self._connection.execute("SELECT old FROM aliases WHERE new = ?", (endpoint,)).fetchall():
            self._absorb(old, endpoint)

    def _alias(self, old: str, new: str) -> None:
        new = self.resolve(new)
        if old == new:
            return
        execute = self._connection.execute
        execute("INSERT OR REPLACE INTO aliases (old, new, moved) VALUES (?, ?, 0)", (old, new))
        execute("DELETE FROM aliases WHERE n <= (SELECT max(n) FROM aliases) - ?", (MAX_ALIASES,))
        # What led to the old one leads to the new one from now on; its transactions may be under any of these ids.
        execute("UPDATE aliases SET new = ?, moved = 0 WHERE new = ?", (new, old))
        execute("UPDATE findings SET endpoint = ? WHERE endpoint = ?", (new, old))
        self._absorb(old, new)

    def _absorb(self, old: str, new: str) -> None:
        """Moves the old endpoint's row into the new one's, where both are."""
        execute = self._connection.execute
        source = execute(
            "SELECT n, side, owner, method, route, body FROM endpoints JOIN profiles USING (n) WHERE id = ?", (old,)
        ).fetchone()
        target = self._n(new)
        if source is None or target is None:
            return
        n, side, owner, method, route, body = source
        key = EndpointKey(side, owner, method, route)
        self._merge(new, EndpointDelta(new, key, profiles.decode(body)))
        execute("DELETE FROM endpoints WHERE n = ?", (n,))
        execute("DELETE FROM profiles WHERE n = ?", (n,))
        execute(_OWNER, (side, owner, -1, 0, 0, 0, 0))
        self._move_buckets(n, target)

    def _move_buckets(self, source: int, target: int) -> None:
        for step in widths("an endpoint"):
            # The key begins with the time, and times are known: so many look-ups, and no index for a rare thing.
            first = self._connection.execute("SELECT min(time), max(time) FROM buckets WHERE step = ?", (step,))
            begin, end = first.fetchone()
            for time in () if begin is None else range(begin, end + 1, step):
                row = self._connection.execute(
                    "DELETE FROM buckets WHERE step = ? AND time = ? AND endpoint = ? RETURNING count, errors, latency",
                    (step, time, source),
                ).fetchone()
                if row is not None:
                    self._bucket(step, time, target, Bucket(row[0], row[1], traffic.decode(row[2])))

    def move_transactions(self) -> bool:
        """Gives transactions of merged endpoints their new id, MOVE_ROWS at most. True: there may be more to do."""
        connection = self._connection
        waiting = connection.execute(f"SELECT old, new FROM aliases WHERE moved = 0 LIMIT {MOVE_ALIASES}").fetchall()
        new_of = {pack(old): pack(new) for old, new in waiting}
        room = MOVE_ROWS
        for segment in list(segments.newest_first(connection)) if new_of else ():
            rows = segments.having(connection, segment, "endpoint", list(new_of))
            connection.executemany(
                "UPDATE transactions SET endpoint = ? WHERE seq = ?", [(new_of[old], seq) for seq, old in rows]
            )
            if rows:
                segments.forget(connection, segment.number)
            room -= len(rows)
            if room <= 0:
                return True
        connection.executemany("UPDATE aliases SET moved = 1 WHERE old = ?", [(old,) for old, _ in waiting])
        return bool(waiting)

    def _buckets(self, buckets: dict[tuple[str, int], Bucket]) -> None:
        wider: dict[tuple[str, int, int], Bucket] = {}
        for (endpoint, time), bucket in buckets.items():
            first, *others = widths(endpoint)
            wider[endpoint, first, time] = bucket
            for width in others:
                sum_ = wider.setdefault((endpoint, width, time // width * width), Bucket())
                sum_.count += bucket.count
                sum_.errors += bucket.errors
                histogram.merge(sum_.latency, bucket.latency)
        for (endpoint, width, time), bucket in wider.items():
            n = self._n(self.resolve(endpoint)) if endpoint else 0
            if n is not None:
                self._bucket(width, time, n, bucket)

    def _bucket(self, step: int, time: int, n: int, more: Bucket) -> None:
        execute = self._connection.execute
        key = (step, time, n)
        row = execute(
            "SELECT count, errors, latency FROM buckets WHERE step = ? AND time = ? AND endpoint = ?", key
        ).fetchone()
        if row is None:
            values = (*key, more.count, more.errors, traffic.encode(more.latency))
            execute("INSERT INTO buckets VALUES (?, ?, ?, ?, ?, ?)", values)
            return
        latency = traffic.decode(row[2])
        histogram.merge(latency, more.latency)
        execute(
            "UPDATE buckets SET count = ?, errors = ?, latency = ? WHERE step = ? AND time = ? AND endpoint = ?",
            (row[0] + more.count, row[1] + more.errors, traffic.encode(latency), *key),
        )

    def _hours(self, hours: dict[tuple[int, str, str], OwnerHour]) -> None:
        def rows() -> Iterable[tuple[int, str, str, int, int, int]]:
            return [(*key, value.calls, value.errors, value.unmatched) for key, value in hours.items()]

        self._connection.executemany(_HOUR, rows())
        owners = ((side, owner, 0, calls, errors, lost, hour) for hour, side, owner, calls, errors, lost in rows())
        self._connection.executemany(_OWNER, owners)
