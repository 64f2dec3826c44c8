"""Pages of transactions, the newest first.

A query goes through the segments from the newest. In each it takes the rows that the postings of all its filters leave
(segments.py; all rows where there are none) and asks those. So that no combination is slow, a page stops when it has
looked at BUDGET rows: it may then be short, and its cursor goes on from there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor.store import cursor, segments
from apisensor.store.connections import Reading
from apisensor.store.documents import pack, unpack
from apisensor.store.model import Document, Page, TransactionQuery, TransactionRow
from apisensor.store.schema import SEGMENT_BITS
from apisensor.store.segments import Segment
from apisensor.store.terms import Term, endpoint_ids, terms_of
from apisensor.transactions.json_form import rfc3339
from apisensor.transactions.model import Auth, Operation, Process, Sensitive

BUDGET = 200_000
"""Rows that one page looks at, some 0.1 s; postings that leave only what is asked for are not charged."""
SEGMENT_CHARGE = 100
"""A segment in which nothing is found costs as much as so many rows: its postings are read."""
POSTINGS_OF_A_ROW = 2
"""Numbers that are taken out of postings in the time of one row."""
_SECONDS = 1_000_000_000
_KIND = "transactions"


class _Peer(msgspec.Struct):
    address: str


class _Listed(msgspec.Struct):
    """What a list shows of a document."""

    id: str
    start_time: str
    side: str
    complete: bool
    sensitive: list[Sensitive]
    anomalies: list[str]
    method: str | None = None
    authority: str | None = None
    path: str | None = None
    route: str | None = None
    status: int | None = None
    grpc_status: int | None = None
    operations: list[Operation] = []
    duration_ms: float | None = None
    client: _Peer | None = None
    auth: Auth | None = None
    login_identity: str | None = None
    process: Process | None = None


_decode = msgspec.json.Decoder(_Listed).decode


def page(reading: Reading, query: TransactionQuery) -> Page[TransactionRow]:
    """
    Raises:
        StoreError: the query says something impossible.
    """
    cursor.check_limit(query.limit)
    before: int = 1 << 62
    if query.cursor is not None:
        (before,) = cursor.decode(_KIND, query.cursor, (int,))
    found, reached = _search(reading, query, before)
    rows = [listed(reading, seq) for seq in found[: query.limit]]
    if len(found) > query.limit:
        return Page(rows, cursor.encode(_KIND, (found[query.limit - 1],)))
    if reached is None:
        return Page(rows, None)
    segment, first_ns = reached
    return Page(rows, cursor.encode(_KIND, (segment << SEGMENT_BITS,)), searched_to=rfc3339(first_ns))


def _search(reading: Reading, query: TransactionQuery, before: int) -> tuple[list[int], tuple[int, int] | None]:
    """Up to limit + 1 numbers of rows; where it stopped early, the last segment it looked at and its first time."""
    terms = terms_of(reading, query)
    where, times = _span(query)
    conditions = [t.condition for t in terms]
    values = [v for t in terms for v in t.values]
    if not query.all_views:
        conditions.append("t.shown = 1")
    for bound, sign in ((query.since, ">="), (query.until, "<")):
        if bound is not None:
            conditions.append(f"t.time {sign} ?")
            values.append(bound * _SECONDS)
    rest = "".join(f" AND {condition}" for condition in conditions)
    # `shown` alone leaves half of the rows at worst.
    selective = bool(times) or not all(term.exact for term in terms)
    found: list[int] = []
    room = BUDGET
    for segment in segments.newest_first(
        reading.connection, f"segment <= ?{where}", ((before - 1) >> SEGMENT_BITS, *times)
    ):
        room -= SEGMENT_CHARGE
        wanted = query.limit + 1 - len(found)
        rows, read = _left(reading, terms, segment) if segment.indexed else (None, 0)
        room -= read // POSTINGS_OF_A_ROW
        if rows is None:
            room -= segment.rows if terms or selective else 0
            source, bounds = segments.all_of(segment)
            sql = f"{source} AND t.seq < ?{rest} ORDER BY t.seq DESC LIMIT ?"
            found += _ask(reading, sql, (*bounds, before, *values, wanted))
        elif rows:
            room -= segments.LOOKED_UP * len(rows) if selective else 0
            source, bounds = segments.among(sorted((n for n in rows if n < before), reverse=True))
            found += _ask(reading, f"{source}{rest} LIMIT ?", (*bounds, *values, wanted))
        if len(found) > query.limit:
            break
        if room <= 0:
            return found, (segment.number, segment.first_ns)
    return found, None


def _ask(reading: Reading, sql: str, values: tuple[Any, ...]) -> list[int]:
    return [seq for (seq,) in reading.connection.execute(f"SELECT t.seq FROM {sql}", values)]


def _left(reading: Reading, terms: list[Term], segment: Segment) -> tuple[set[int] | None, int]:
    """Rows that the postings of all terms leave, and how many numbers were taken out of postings for that.

    None: no term leaves so few that they are worth looking up.
    """
    left: set[int] | None = None
    read = 0
    for term in terms:
        if not term.by_field or left == set():
            continue
        parts = [segments.candidates(reading.connection, segment, *by, segment.worth) for by in term.by_field]
        rows: set[int] = set()
        for part in parts:
            rows |= part or set()
        if None not in parts:
            read += len(rows)
            left = rows if left is None else left & rows
    return left, read


def _span(query: TransactionQuery) -> tuple[str, list[int]]:
    """Which segments may have rows of the time that is asked for."""
    sql, values = "", []
    if query.since is not None:
        sql += " AND last_ns >= ?"
        values.append(query.since * _SECONDS)
    if query.until is not None:
        sql += " AND first_ns < ?"
        values.append(query.until * _SECONDS)
    return sql, values


def listed(reading: Reading, seq: int) -> TransactionRow:
    """A stored transaction as a row."""
    body, endpoint = reading.connection.execute(
        "SELECT d.body, t.endpoint FROM documents d JOIN transactions t ON t.seq = d.seq WHERE d.seq = ?", (seq,)
    ).fetchone()
    return row_of(reading, body, endpoint)


def row_of(reading: Reading, body: bytes, endpoint: bytes | str | None) -> TransactionRow:
    """
    Args:
        body: the compressed document.
        endpoint: packed id.
    """
    t = _decode(reading.documents.json(body))
    today = unpack(endpoint)
    route = t.route
    if today is not None:
        today = endpoint_ids(reading, today)[0]
        row = reading.connection.execute("SELECT route FROM endpoints WHERE id = ?", (today,)).fetchone()
        route = route if row is None else row[0]
    identity = None if t.auth is None else t.auth.identity
    return TransactionRow(
        id=t.id,
        time=t.start_time,
        side=t.side,
        service=None if t.process is None else t.process.service,
        method=t.method,
        host=t.authority,
        path=t.path,
        route=route,
        status=t.status,
        grpc_status=t.grpc_status,
        operations=t.operations,
        duration_ms=t.duration_ms,
        client=None if t.client is None else t.client.address or None,
        identity=identity if identity is not None else t.login_identity,
        endpoint=today,
        complete=t.complete,
        sensitive=list(dict.fromkeys(s.kind for s in t.sensitive)),
        anomalies=t.anomalies,
    )


def document(reading: Reading, transaction: str) -> Document | None:
    """A transaction by its id: stored, or held by a finding."""
    packed = pack(transaction)
    execute = reading.connection.execute
    row = execute("SELECT body FROM evidence WHERE id = ?", (packed,)).fetchone()
    if row is None:
        seq = segments.with_ids(reading.connection, [packed]).get(packed)
        row = execute("SELECT body FROM documents WHERE seq = ?", (seq,)).fetchone()
    return None if row is None else reading.documents.document(row[0])
