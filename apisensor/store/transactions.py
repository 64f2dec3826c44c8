"""The writer's side of stored transactions: rows, documents, segments."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable, Container, Iterable
from typing import Any

import msgspec

from apisensor.store import segments
from apisensor.store.documents import Encoder, pack
from apisensor.store.schema import SEGMENT_BITS
from apisensor.transactions.model import Transaction

PATH_CHARACTERS = 200
"""Of a path, for search; the whole one is in the document."""

_INSERT = f"INSERT INTO transactions VALUES ({','.join('?' * 15)})"
_SEGMENT = """INSERT INTO segments (segment, first_ns, last_ns, rows) VALUES (?, ?, ?, ?)
    ON CONFLICT (segment) DO UPDATE SET first_ns = min(first_ns, excluded.first_ns),
    last_ns = max(last_ns, excluded.last_ns), rows = rows + excluded.rows, indexed = 0"""
"""Rows may come to a segment that was full: numbers are given again where a purge took the last ones."""


class Stored:
    """A transaction on its way into the store."""

    __slots__ = ("counted", "endpoint", "transaction")

    def __init__(self, transaction: Transaction, endpoint: str | None, counted: bool) -> None:
        self.transaction = transaction
        self.endpoint = endpoint
        self.counted = counted


class Transactions:
    """Numbers, encodes and inserts. All methods within a transaction of the database, but for load."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.load()

    def load(self) -> None:
        """From what is in the database: at the start, and after a transaction was rolled back."""
        self._encoder = Encoder(self._connection)
        newest = self._connection.execute("SELECT max(seq) FROM transactions").fetchone()[0]
        ended = self._connection.execute("SELECT max(since_seq) FROM dictionaries").fetchone()[0]
        # Never below a number that was given: the numbers are in cursors.
        self._seq: int = max(newest or 0, ended or 0)

    def index(self) -> bool:
        """Indexes one segment that is full; a transaction of its own. True: there may be more to do."""
        return segments.index(self._connection, self._seq + 1)

    def add(
        self, items: Iterable[Stored], resolve: Callable[[str], str], awaited: Container[bytes | str | None]
    ) -> tuple[list[tuple[Any, ...]], int]:
        """Returns rows of `evidence` for those whose packed id is awaited, and how many could not be encoded.

        Args:
            resolve: id of an endpoint: the one it has today.
        """
        endpoint_of = functools.cache(lambda id: pack(resolve(id)))
        rows: list[tuple[Any, ...]] = []
        documents: list[tuple[int, bytes]] = []
        evidence: list[tuple[Any, ...]] = []
        failed = 0
        seq = self._seq
        for item in items:
            t = item.transaction
            try:
                body = self._encoder.encode(t, seq + 1)
            except (UnicodeEncodeError, msgspec.MsgspecError, TypeError):
                failed += 1
                continue
            seq += 1
            packed = pack(t.id)
            time_ns = t.start_ns + t.wall_offset_ns
            endpoint = None if item.endpoint is None else endpoint_of(item.endpoint)
            service = None if t.process is None else t.process.service
            identity = None if t.auth is None else pack(t.auth.identity)
            login = pack(t.login_identity)
            rows.append(
                (
                    seq, seq >> SEGMENT_BITS, packed, time_ns, item.counted, endpoint, service,
                    0 if t.status is None else t.status // 100, t.status, t.method,
                    None if t.client is None else t.client.address or None, identity, login, pack(t.trace_id),
                    None if t.path is None else t.path[:PATH_CHARACTERS],
                )
            )  # fmt: skip
            documents.append((seq, body))
            if packed in awaited:
                evidence.append((packed, time_ns, service, identity, login, endpoint, body))
        self._connection.executemany(_INSERT, rows)
        self._connection.executemany("INSERT INTO documents VALUES (?, ?)", documents)
        self._connection.executemany(_SEGMENT, _segments(rows))
        self._seq = seq
        self._encoder.train(seq)
        return evidence, failed


def _segments(rows: list[tuple[Any, ...]]) -> Iterable[tuple[int, int, int, int]]:
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(row[1], []).append(row[3])
    return [(segment, min(times), max(times), len(times)) for segment, times in found.items()]
