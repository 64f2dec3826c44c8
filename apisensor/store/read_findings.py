"""Pages of findings, one finding with its life, and the transactions that show it."""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor.detect.model import SEVERITIES
from apisensor.store import cursor, findings
from apisensor.store.connections import Reading
from apisensor.store.documents import pack
from apisensor.store.model import FindingEvent, FindingQuery, FindingRecord, Page, TransactionRow
from apisensor.store.read_endpoints import today
from apisensor.store.read_transactions import row_of
from apisensor.transactions.json_form import rfc3339

_KIND = "findings"


def page(reading: Reading, query: FindingQuery) -> Page[FindingRecord]:
    """
    Raises:
        StoreError: the query says something impossible.
    """
    cursor.check_limit(query.limit)
    conditions, values = _filter(reading, query)
    total = None
    if not query.search:
        # The index has all that filters look at but the title.
        (total,) = reading.connection.execute(
            f"SELECT count(*) FROM findings INDEXED BY findings_worst WHERE {' AND '.join(conditions) or '1'}", values
        ).fetchone()
    if query.cursor is not None:
        conditions.append("(severity, last_ns, n) < (?, ?, ?)")
        values += cursor.decode(_KIND, query.cursor, (int, int, int))
    found = reading.connection.execute(
        f"SELECT severity, last_ns, n, state, endpoint, body FROM findings INDEXED BY findings_worst "
        f"WHERE {' AND '.join(conditions) or '1'} ORDER BY severity DESC, last_ns DESC, n DESC LIMIT ?",
        (*values, query.limit + 1),
    ).fetchall()
    more = cursor.encode(_KIND, found[query.limit - 1][:3]) if len(found) > query.limit else None
    return Page([_record(reading, *row[2:]) for row in found[: query.limit]], more, total)


def _filter(reading: Reading, query: FindingQuery) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    values: list[Any] = []
    for column in ("state", "rule", "service", "identity", "client"):
        if (value := getattr(query, column)) is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if query.endpoint is not None:
        conditions.append("endpoint = ?")
        values.append(today(reading, query.endpoint))
    if query.severity is not None:
        conditions.append("severity >= ?")
        values.append(SEVERITIES.index(query.severity))
    if query.search:
        conditions.append("title LIKE ? ESCAPE '\\'")
        values.append(cursor.like(query.search))
    return conditions, values


def _record(reading: Reading, n: int, state: Any, endpoint: str | None, body: bytes) -> FindingRecord:
    events = reading.connection.execute(
        "SELECT time, who, state, comment FROM events WHERE finding = ? ORDER BY number", (n,)
    )
    return FindingRecord(
        finding=msgspec.structs.replace(findings.decode(body), endpoint=endpoint),
        state=state,
        events=[FindingEvent(time=rfc3339(time), who=who, state=s, comment=text) for time, who, s, text in events],
    )


def record(reading: Reading, finding: str) -> FindingRecord | None:
    """None: there is none with this id."""
    row = reading.connection.execute(
        "SELECT n, state, endpoint, body FROM findings WHERE id = ?", (finding,)
    ).fetchone()
    return None if row is None else _record(reading, *row)


def transactions(reading: Reading, finding: str) -> list[TransactionRow]:
    """Those that are kept for it, in the order in which it names them."""
    found = record(reading, finding)
    rows = []
    for transaction in () if found is None else found.finding.transactions:
        row = reading.connection.execute(
            "SELECT body, endpoint FROM evidence WHERE id = ?", (pack(transaction),)
        ).fetchone()
        if row is not None:
            rows.append(row_of(reading, *row))
    return rows
