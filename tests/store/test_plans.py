"""How SQLite answers each kind of query: by an index, in order, without going through a large table or sorting it."""

from __future__ import annotations

import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from apisensor.store import read_endpoints
from apisensor.store.model import EndpointQuery, FindingQuery, TransactionQuery
from apisensor.store.reader import StoreReader
from apisensor.store.segments import FIELDS
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_S, delta, finding, inventory, number, profile, stored

MAY_BE_SCANNED = {
    "segments": "a row for 8,192 transactions",
    "owners": "bounded by the inventory",
    "notes": "twenty",
    "sqlite_master": "the tables",
    "json_each": "the points of a plot",
    "t VIRTUAL TABLE INDEX 1:": "the same",
    "j VIRTUAL TABLE INDEX 1:": "rows that postings leave",
    "CONSTANT ROW": "a subquery's result",
    "s": "segments",
}
"""Names in a plan's SCAN: why that is no matter. Nor is an index in the order of the page: it ends with the page."""
ORDERED = re.compile(r"SCAN (endpoints|findings) USING (COVERING )?INDEX (endpoints|findings)_\w+")
OLDEST = re.compile(r"SCAN transactions$")
"""Allowed where LIMIT 1 ends it at once (facts)."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """All SQL that readers execute, with its values in it."""
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)
        connection.set_trace_callback(statements.append)
        return connection

    monkeypatch.setattr("apisensor.store.connections.sqlite3.connect", traced)
    return statements


@pytest.fixture
def filled(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some segments are indexed, the last is not."""
    for module in ("transactions", "read_transactions", "segments"):
        monkeypatch.setattr(f"apisensor.store.{module}.SEGMENT_BITS", 7)
    write(
        [stored(n, number(n % 4)) for n in range(300)],
        inventory(*(delta(n, profile(2), owner=f"o-{n % 3}") for n in range(50))),
        findings=tuple(finding(n) for n in range(20)),
    )
    while writer.index():
        pass
    assert writer.connection.execute("SELECT indexed FROM segments ORDER BY segment").fetchall() == [(1,), (1,), (0,)]


def plans(writer: Writer, statements: list[str]) -> Iterator[tuple[str, str]]:
    for sql in dict.fromkeys(statements):
        if sql.startswith("SELECT"):
            for row in writer.connection.execute("EXPLAIN QUERY PLAN " + sql):
                yield sql, row[3]


def wrong(writer: Writer, statements: list[str], sorts: bool = False) -> list[tuple[str, str]]:
    found = []
    for sql, step in plans(writer, statements):
        scanned = step.removeprefix("SCAN ") if step.startswith("SCAN ") else None
        if scanned is not None and not (scanned in MAY_BE_SCANNED or ORDERED.match(step)):
            if not (OLDEST.match(step) and sql.endswith("ORDER BY seq LIMIT 1")):
                found.append((sql, step))
        elif "TEMP B-TREE" in step and not (sorts and " n IN (SELECT n FROM endpoints" in sql):
            found.append((sql, step))
    return found


TRANSACTIONS: dict[str, Any] = {
    "endpoint": number(1),
    "service": "service-1",
    "status": "404",
    "method": "GET",
    "search": "users",
    "identity": f"{7:032x}",
    "client": "192.0.2.7",
    "trace_id": f"{7:032x}",
    "since": NOW_S,
    "until": NOW_S + 100,
}


@pytest.mark.usefixtures("filled")
def test_transactions_by_any_two_filters(asked: list[str], writer: Writer, reader: StoreReader) -> None:
    for names in itertools.chain([()], itertools.combinations_with_replacement(TRANSACTIONS, 2), [TRANSACTIONS]):
        fields = {name: TRANSACTIONS[name] for name in names}
        for all_views in (False, True):
            page = reader.transactions(TransactionQuery(**fields, all_views=all_views, limit=3))
            if page.next is not None:
                reader.transactions(TransactionQuery(**fields, all_views=all_views, limit=3, cursor=page.next))
    assert wrong(writer, asked) == []
    used = {match for sql in asked for match in re.findall(r"FROM postings .* field = '(\w+)'", sql)}
    assert used == set(FIELDS) - {"id"}


@pytest.mark.usefixtures("filled")
def test_rows_are_looked_up_where_few_are_left_and_gone_through_where_many_are(
    asked: list[str], reader: StoreReader
) -> None:
    def ways(**fields: Any) -> list[str]:
        asked.clear()
        reader.transactions(TransactionQuery(**fields, limit=500))
        pages = [sql for sql in asked if sql.startswith("SELECT t.seq")]
        return ["looked up" if "json_each" in sql else "all" for sql in pages]

    # The newest segment has no postings.
    assert ways(client="192.0.2.7") == ["all", "looked up", "looked up"]
    assert ways(method="GET") == ["all", "all", "all"]
    assert ways(method="GET", client="192.0.2.7") == ["all", "looked up", "looked up"]
    assert ways(trace_id=f"{7:032x}", search="users") == ["all", "looked up"]
    assert ways(client="192.0.2.199", trace_id=f"{7:032x}") == ["all"]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("few", [-1, 500])
def test_endpoints_by_any_filters_in_any_order(
    asked: list[str], writer: Writer, reader: StoreReader, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(read_endpoints, "FEW", few)
    values: dict[str, Any] = {
        "search": "thing", "side": "server", "owner": "o-1", "method": "GET", "sensitive": True,
        "unauthenticated": True, "errors": True,
    }  # fmt: skip
    sorts = get_args(EndpointQuery.__annotations__["sort"]) or (
        "last_seen", "count", "errors", "latency", "first_seen", "owner",
    )  # fmt: skip
    for sort in sorts:
        for names in itertools.chain([()], itertools.combinations_with_replacement(values, 2)):
            fields = {name: values[name] for name in names}
            page = reader.endpoints(EndpointQuery(**fields, sort=sort, limit=3))
            if page.next is not None:
                reader.endpoints(EndpointQuery(**fields, sort=sort, limit=3, cursor=page.next))
    # Sorted are FEW rows at most.
    assert wrong(writer, asked, sorts=few > 0) == []


@pytest.mark.usefixtures("filled")
def test_findings_by_any_filters(asked: list[str], writer: Writer, reader: StoreReader) -> None:
    values: dict[str, Any] = {
        "state": "open", "severity": "low", "rule": "r", "service": "s", "endpoint": number(1), "identity": "i",
        "client": "c", "search": "fail",
    }  # fmt: skip
    for names in itertools.chain([()], itertools.combinations_with_replacement(values, 2)):
        fields = {name: values[name] for name in names}
        page = reader.findings(FindingQuery(**fields, limit=3))
        if page.next is not None:
            reader.findings(FindingQuery(**fields, limit=3, cursor=page.next))
    assert wrong(writer, asked) == []


OTHERS: dict[str, Callable[[StoreReader], object]] = {
    "overview": lambda reader: reader.overview(24, NOW_S),
    "endpoint": lambda reader: reader.endpoint(number(1)),
    "traffic": lambda reader: reader.traffic(number(1), NOW_S, NOW_S + 600, 300),
    "transaction": lambda reader: reader.transaction("f" * 16),
    "finding": lambda reader: reader.finding(finding(1).id),
    "finding_transactions": lambda reader: reader.finding_transactions(finding(1).id),
    "owners": lambda reader: reader.owners(),
    "facts": lambda reader: reader.facts(),
}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", OTHERS)
def test_everything_else(asked: list[str], writer: Writer, reader: StoreReader, name: str) -> None:
    OTHERS[name](reader)
    assert any(sql.startswith("SELECT") for sql in asked)
    assert wrong(writer, asked) == []


def test_the_check_sees_what_it_is_for(writer: Writer) -> None:
    bad = [
        "SELECT seq FROM transactions WHERE path = 'x'",
        "SELECT n FROM endpoints ORDER BY callers",
        "SELECT * FROM evidence",
        "SELECT * FROM transactions ORDER BY seq LIMIT 5",
    ]
    assert {sql for sql, _ in wrong(writer, bad)} == set(bad)
