"""The filters of a query for transactions: which postings leave their rows, and how a row is asked."""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor.store import cursor
from apisensor.store.connections import Reading
from apisensor.store.documents import pack
from apisensor.store.errors import StoreError
from apisensor.store.model import TransactionQuery
from apisensor.store.postings import Value


class Term(msgspec.Struct, frozen=True):
    """One filter. Rows are asked in any case: postings are not exact, and a segment may have none."""

    by_field: list[tuple[str, list[Value]]]
    """Fields with postings and their values: its rows are among those of all together. Empty: no postings help."""
    condition: str
    values: list[Any]
    exact: bool = True
    """The postings leave its rows and hardly any other."""


def terms_of(reading: Reading, query: TransactionQuery) -> list[Term]:
    terms = []
    for name, value in (
        ("service", query.service),
        ("method", query.method),
        ("client", query.client),
        ("trace", pack(query.trace_id)),
    ):
        if value is not None:
            terms.append(_equal([name], [value]))
    if query.identity is not None:
        terms.append(_equal(["identity", "login"], [pack(query.identity)]))
    if query.endpoint is not None:
        terms.append(_equal(["endpoint"], [pack(i) for i in endpoint_ids(reading, query.endpoint)]))
    if query.status is not None:
        terms.append(_status(query.status))
    if query.search:
        terms.append(Term([], "t.path LIKE ? ESCAPE '\\'", [cursor.like(query.search)], exact=False))
    return terms


def _equal(fields: list[str], values: list[Value]) -> Term:
    """One of the fields has one of the values."""
    among = f"({','.join('?' * len(values))})"
    condition = "(" + " OR ".join(f"t.{field} IN {among}" for field in fields) + ")"
    return Term([(field, values) for field in fields], condition, values * len(fields))


def _status(status: str) -> Term:
    if status == "none":
        return _equal(["class"], [0])
    if len(status) == 3 and status[0].isdecimal() and status[0].isascii():
        kind = int(status[0])
        if status[1:].lower() == "xx":
            return _equal(["class"], [kind])
        if status.isascii() and status.isdecimal():
            return Term([("class", [kind])], "t.status = ?", [int(status)], exact=False)
    raise StoreError(f'a status is "404", "5xx" or "none", not {status!r}')


def endpoint_ids(reading: Reading, endpoint: str) -> list[str]:
    """The id that the endpoint has today, and those under which transactions may still lie."""
    execute = reading.connection.execute
    row = execute("SELECT new FROM aliases WHERE old = ?", (endpoint,)).fetchone()
    today = endpoint if row is None else row[0]
    moving = execute("SELECT old FROM aliases WHERE new = ? AND moved = 0", (today,))
    return [today, *(old for (old,) in moving)]
