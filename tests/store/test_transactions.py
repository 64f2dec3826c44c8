"""Stored transactions: what comes back, by every filter and page by page, is what a look at all of them would give."""

# ruff: noqa: ARG005  (all filters have one shape)
from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.store import documents, read_transactions
from apisensor.store.errors import StoreError
from apisensor.store.model import TransactionQuery, TransactionRow
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Operation
from tests.store.conftest import Write
from tests.store.rows import NOW_S, call, number, stored

COUNT = 1_200
"""Beyond the first training of a dictionary."""


def every(n: int) -> dict[str, Any]:
    return {
        "status": (200, 404, 500, 503, None)[n % 5],
        "method": ("GET", "GET", "POST", "DELETE")[n % 4],
        "login_identity": f"{n % 50:032x}" if n % 11 == 0 else None,
        "path": f"/Clients/{n}/100%_done" if n % 13 == 0 else f"/orders/{n}",
    }


@pytest.fixture
def calls(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, str, bool]]:
    """In segments of 64, so that there are many; of the older half some are not indexed, of the newer half the last."""
    for module in ("transactions", "read_transactions", "segments"):
        monkeypatch.setattr(f"apisensor.store.{module}.SEGMENT_BITS", 6)
    rows = [(call(n, **every(n)), number(n % 4), n % 3 != 0) for n in range(COUNT)]
    for first in range(0, COUNT, 100):
        write([stored(n, rows[n][1], rows[n][2], **every(n)) for n in range(first, first + 100)])
        writer.index()
    unindexed = writer.connection.execute("SELECT count(*) FROM segments WHERE indexed = 0").fetchone()[0]
    assert 2 <= unindexed < COUNT >> 7
    return rows


def all_rows(reader: StoreReader, query: TransactionQuery) -> list[TransactionRow]:
    rows: list[TransactionRow] = []
    for _ in range(1_000):
        page = reader.transactions(query)
        rows += page.rows
        if page.next is None:
            return rows
        query = msgspec.structs.replace(query, cursor=page.next)
    raise AssertionError("pages without end")


def test_a_document_comes_back_as_it_was_printed(
    calls: list[tuple[Any, str, bool]], reader: StoreReader, writer: Writer
) -> None:
    assert writer.connection.execute("SELECT count(*) FROM dictionaries").fetchone() == (1,)
    for t, _, _ in (calls[0], calls[13], calls[-1]):
        assert reader.transaction(t.id) == msgspec.json.decode(msgspec.json.encode(public(t)))
    assert reader.transaction("f" * 16) is None
    assert reader.transaction("no id at all") is None


@pytest.mark.usefixtures("calls")
def test_a_dictionary_learns_nothing_of_who_called_or_what_for(writer: Writer) -> None:
    body = writer.connection.execute("SELECT body FROM dictionaries").fetchone()[0]
    assert b"x-request-id" in body
    for private in (b"192.0.2.", b"/orders/", b"/Clients/", b"00000000000000000", b'api.example.com","path'):
        assert private not in body


FILTERS: dict[str, tuple[dict[str, Any], Any]] = {
    "endpoint": ({"endpoint": number(1)}, lambda t, e: e == number(1)),
    "service": ({"service": "service-2"}, lambda t, e: t.process.service == "service-2"),
    "nobody": ({"service": "nobody"}, lambda t, e: False),
    "status": ({"status": "503"}, lambda t, e: t.status == 503),
    "class": ({"status": "5xx"}, lambda t, e: t.status in (500, 503)),
    "none": ({"status": "none"}, lambda t, e: t.status is None),
    "method": ({"method": "DELETE"}, lambda t, e: t.method == "DELETE"),
    "search": ({"search": "cLIENTS/1"}, lambda t, e: "/clients/1" in t.path.lower()),
    "wildcards": ({"search": "0%_D"}, lambda t, e: "100%_done" in t.path),
    "identity": ({"identity": f"{7:032x}"}, lambda t, e: f"{7:032x}" in (t.auth.identity, t.login_identity)),
    "client": ({"client": "192.0.2.7"}, lambda t, e: t.client.address == "192.0.2.7"),
    "trace": ({"trace_id": f"{77:032x}"}, lambda t, e: t.trace_id == f"{77:032x}"),
    "since": ({"since": NOW_S + 300}, lambda t, e: t.start_ns >= 300 * 10**9),
    "until": ({"until": NOW_S + 300}, lambda t, e: t.start_ns < 300 * 10**9),
    "service and class": (
        {"service": "service-1", "status": "5xx", "method": "POST"},
        lambda t, e: t.process.service == "service-1" and t.status in (500, 503) and t.method == "POST",
    ),
    "all at once": (
        {"endpoint": number(2), "status": "2xx", "search": "orders", "since": NOW_S + 50, "until": NOW_S + 900},
        lambda t, e: e == number(2) and t.status == 200 and "orders" in t.path and 50 <= t.start_ns // 10**9 < 900,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("all_views", [False, True])
@pytest.mark.parametrize("budget", [1_000_000, 100])
def test_filters_and_pages(
    calls: list[tuple[Any, str, bool]],
    reader: StoreReader,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    all_views: bool,
    budget: int,
) -> None:
    monkeypatch.setattr(read_transactions, "BUDGET", budget)
    fields, holds = FILTERS[name]
    expected = [t.id for t, e, shown in calls if holds(t, e) and (shown or all_views)][::-1]
    for limit in (7, 500):
        rows = all_rows(reader, TransactionQuery(**fields, all_views=all_views, limit=limit))
        assert [row.id for row in rows] == expected


@pytest.mark.usefixtures("calls")
def test_a_short_page_says_how_far_it_looked(reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_transactions, "BUDGET", 200)
    page = reader.transactions(TransactionQuery(search="nowhere"))
    assert page.rows == []
    assert page.next is not None
    reached = page.searched_to
    assert reached is not None
    assert reader.transactions(TransactionQuery()).rows[0].time > reached


def test_a_row_says_what_a_list_needs(write: Write, reader: StoreReader) -> None:
    operations = [Operation("graphql", kind="query", name="GetUser", fields=["user"])]
    write([stored(1, number(9), grpc_status=7, operations=operations)])
    (row,) = reader.transactions(TransactionQuery()).rows
    assert row == TransactionRow(
        id=number(1), time="2027-01-15T08:00:01.000000000Z", side="server", service="service-1", method="GET",
        host="api.example.com", path="/users/1?limit=5", route=None, status=200, grpc_status=7, operations=operations,
        duration_ms=12.345678, client="192.0.2.1",
        identity=f"{1:032x}", endpoint=number(9), complete=True, sensitive=["email"], anomalies=[],
    )  # fmt: skip


def test_nothing_known_is_stored_too(write: Write, reader: StoreReader) -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "method",
            "authority",
            "path",
            "request_headers",
            "status",
            "client",
            "server",
            "auth",
            "process",
            "duration_ns",
        )
    )
    write([stored(1, None, True, **nothing)])
    (row,) = reader.transactions(TransactionQuery(status="none")).rows
    assert (row.method, row.path, row.client, row.identity, row.service, row.endpoint) == (None,) * 6


def test_one_that_cannot_be_encoded_costs_itself_alone(writer: Writer, reader: StoreReader) -> None:
    assert writer.write([stored(1), stored(2, path="/\ud800"), stored(3)], None, []) == 1
    assert [row.id for row in reader.transactions(TransactionQuery()).rows] == [number(3), number(1)]


def test_numbers_go_on_after_everything_was_deleted(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n) for n in range(10)])
    old = reader.transactions(TransactionQuery(limit=5)).next
    writer.connection.execute("DELETE FROM transactions WHERE seq <= 3")
    writer.reload()
    write([stored(99)])
    assert [row.id for row in reader.transactions(TransactionQuery(cursor=old)).rows] == [number(4), number(3)]


@pytest.mark.parametrize("status", ["6666", "abc", "", "5x", "²xx", "0x5"])
def test_an_odd_status_is_refused(write: Write, reader: StoreReader, status: str) -> None:
    write([stored(1)])
    with pytest.raises(StoreError, match="a status is"):
        reader.transactions(TransactionQuery(status=status))


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_page_has_its_bounds(write: Write, reader: StoreReader, limit: int) -> None:
    write([stored(1)])
    with pytest.raises(StoreError, match="1 to 500 rows"):
        reader.transactions(TransactionQuery(limit=limit))


@given(st.one_of(st.text(), st.binary(max_size=40).map(bytes.hex), st.none()))
def test_packed_text_comes_back(text: str | None) -> None:
    assert documents.unpack(documents.pack(text)) == text
