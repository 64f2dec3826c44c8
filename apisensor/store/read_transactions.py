"""Pages of transactions, the newest first.

Every index begins with the segment (schema.py), so a query goes through the segments from the newest, each by one
index. Which one is decided by counting in the newest segments: that of the filter which leaves the fewest rows. The
other filters are applied to those rows. So that no combination is slow, a page stops when it has looked at BUDGET rows:
it may then be short, and its cursor goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from apisensor.store import cursor
from apisensor.store.connections import Reading
from apisensor.store.documents import pack, unpack
from apisensor.store.model import Document, Page, TransactionQuery, TransactionRow
from apisensor.store.schema import SEGMENT_BITS
from apisensor.store.terms import Term, endpoint_ids, terms_of
from apisensor.transactions.json_form import rfc3339
from apisensor.transactions.model import Auth, Operation, Process, Sensitive

BUDGET = 200_000
"""Rows that one page looks at, some 0.1 s; an index that leaves only what is asked for is not charged."""
SAMPLE_SEGMENTS = 2
"""Newest segments in which filters are compared: the newest alone may have a row or two."""
SEGMENT_CHARGE = 10
"""An empty segment costs as much as so many rows: a look into an index."""
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
    span, times = _span(query)
    segments = reading.connection.execute(
        f"SELECT segment, first_ns, rows FROM segments WHERE segment <= ?{span} ORDER BY segment DESC",
        (before >> SEGMENT_BITS, *times),
    )
    driver = _driver(reading, terms)
    conditions = [t.condition for t in terms if t is not driver or not t.exact]
    values = [v for t in terms if t is not driver or not t.exact for v in t.values]
    if not query.all_views:
        conditions.append("shown = 1")
    for bound, sign in ((query.since, ">="), (query.until, "<")):
        if bound is not None:
            conditions.append(f"time {sign} ?")
            values.append(bound * _SECONDS)
    found: list[int] = []
    room = BUDGET
    for segment, first_ns, rows in segments:
        room -= SEGMENT_CHARGE
        # `shown` alone leaves half of the rows at worst.
        if len(conditions) > 1 or query.all_views:
            room -= rows if driver is None else _count(reading, driver, segment)
        found += _within(reading, driver, conditions, values, segment, before, query.limit + 1 - len(found))
        if len(found) > query.limit:
            break
        if room <= 0:
            return found, (segment, first_ns)
    return found, None


def _within(
    reading: Reading,
    driver: Term | None,
    conditions: Sequence[str],
    values: Sequence[Any],
    segment: int,
    before: int,
    limit: int,
) -> list[int]:
    """Numbers of a segment's rows below `before`, falling."""
    rest = "".join(f" AND {condition}" for condition in conditions)
    execute = reading.connection.execute
    if driver is None:
        first, end = segment << SEGMENT_BITS, min(before, (segment + 1) << SEGMENT_BITS)
        rows = execute(
            f"SELECT seq FROM transactions WHERE seq >= ? AND seq < ?{rest} ORDER BY seq DESC LIMIT ?",
            (first, end, *values, limit),
        )
        return [seq for (seq,) in rows]
    found: set[int] = set()
    for index, condition, value in driver.by_index:
        rows = execute(
            f"SELECT seq FROM transactions INDEXED BY {index} WHERE segment = ? AND {condition} AND seq < ?{rest} "
            "ORDER BY seq DESC LIMIT ?",
            (segment, value, before, *values, limit),
        )
        found.update(seq for (seq,) in rows)
    return sorted(found, reverse=True)[:limit]


def _driver(reading: Reading, terms: list[Term]) -> Term | None:
    """The filter with an index that leaves the fewest rows lately."""
    newest = reading.connection.execute(f"SELECT segment FROM segments ORDER BY segment DESC LIMIT {SAMPLE_SEGMENTS}")
    segments = [segment for (segment,) in newest]
    indexed = [term for term in terms if term.by_index]
    if len(indexed) < 2:
        return indexed[0] if indexed else None
    return min(indexed, key=lambda term: sum(_count(reading, term, segment) for segment in segments))


def _count(reading: Reading, term: Term, segment: int) -> int:
    return sum(
        reading.connection.execute(
            f"SELECT count(*) FROM transactions INDEXED BY {index} WHERE segment = ? AND {condition}", (segment, value)
        ).fetchone()[0]
        for index, condition, value in term.by_index
    )


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
        row = execute(
            "SELECT d.body FROM segments s CROSS JOIN transactions t INDEXED BY transactions_id "
            "ON t.segment = s.segment AND t.id = ? JOIN documents d ON d.seq = t.seq ORDER BY s.segment DESC LIMIT 1",
            (packed,),
        ).fetchone()
    return None if row is None else reading.documents.document(row[0])
