"""The filters of a query for transactions: which index leaves their rows, and how a row is asked."""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor.store import cursor
from apisensor.store.connections import Reading
from apisensor.store.documents import pack
from apisensor.store.errors import StoreError
from apisensor.store.model import TransactionQuery


class Term(msgspec.Struct, frozen=True):
    """One filter: by index, or row by row."""

    by_index: list[tuple[str, str, Any]]
    """Index, condition, value: the rows of all together are its rows. Empty: no index helps."""
    condition: str
    values: list[Any]
    exact: bool = True
    """The index leaves exactly its rows."""


def terms_of(reading: Reading, query: TransactionQuery) -> list[Term]:
    terms = []
    for name, value in (
        ("service", query.service),
        ("method", query.method),
        ("client", query.client),
        ("trace", pack(query.trace_id)),
    ):
        if value is not None:
            terms.append(_equal([(name, value)]))
    if query.identity is not None:
        identity = pack(query.identity)
        terms.append(_equal([("identity", identity), ("login", identity)]))
    if query.endpoint is not None:
        ids = endpoint_ids(reading, query.endpoint)
        terms.append(_equal([("endpoint", pack(i)) for i in ids]))
    if query.status is not None:
        terms.append(_status(query.status))
    if query.search:
        terms.append(Term([], "path LIKE ? ESCAPE '\\'", [cursor.like(query.search)]))
    return terms


def _equal(columns: list[tuple[str, Any]]) -> Term:
    return Term(
        [(f"transactions_{column}", f"{column} = ?", value) for column, value in columns],
        "(" + " OR ".join(f"{column} = ?" for column, _ in columns) + ")",
        [value for _, value in columns],
    )


def _status(status: str) -> Term:
    if status == "none":
        return Term([("transactions_class", "class = ?", 0)], "class = ?", [0])
    if len(status) == 3 and status[0].isdecimal() and status[0].isascii():
        kind = int(status[0])
        if status[1:].lower() == "xx":
            return Term([("transactions_class", "class = ?", kind)], "class = ?", [kind])
        if status.isascii() and status.isdecimal():
            return Term([("transactions_class", "class = ?", kind)], "status = ?", [int(status)], exact=False)
    raise StoreError(f'a status is "404", "5xx" or "none", not {status!r}')


def endpoint_ids(reading: Reading, endpoint: str) -> list[str]:
    """The id that the endpoint has today, and those under which transactions may still lie."""
    execute = reading.connection.execute
    row = execute("SELECT new FROM aliases WHERE old = ?", (endpoint,)).fetchone()
    today = endpoint if row is None else row[0]
    moving = execute("SELECT old FROM aliases WHERE new = ? AND moved = 0", (today,))
    return [today, *(old for (old,) in moving)]
