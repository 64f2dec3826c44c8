"""The inventory in the store: merged, moved, found, plotted."""

# ruff: noqa: ARG005  (all filters have one shape)
from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apisensor.inventory.model import Alias, Caller, EndpointKey, Unmatched
from apisensor.sections import Store
from apisensor.store import endpoints, pending, read_endpoints
from apisensor.store.errors import StoreError
from apisensor.store.model import EndpointQuery, EndpointRow, OwnerRow, TransactionQuery
from apisensor.store.pending import Pending
from apisensor.store.reader import StoreReader
from apisensor.store.writer import Writer
from tests.store.conftest import Write
from tests.store.rows import NOW_S, delta, finding, inventory, number, profile, stored


def test_deltas_add_up_in_the_database_as_in_memory(write: Write, reader: StoreReader) -> None:
    first = profile(3, ms=10, errors=1, statuses={"200": 2, "500": 1}, auth={"bearer": 3}, sensitive_in={"email": 1})
    second = profile(2, first=NOW_S + 5, ms=1000, auth={"none": 2}, open_successes=1, sensitive_out={"iban": 2})
    second.callers = {"x": Caller("ab" * 16, None, "192.0.2.1", "bearer", 2, 1, 2)}
    write(inventory=inventory(delta(1, first)))
    write(inventory=inventory(delta(1, second), delta(1, profile(1, ms=1000))))
    detail = reader.endpoint(number(1))
    assert detail is not None
    assert detail.row.p50_ms == pytest.approx(10, rel=0.03)
    assert detail.row.p95_ms == pytest.approx(1000, rel=0.03)
    assert msgspec.structs.replace(detail.row, p50_ms=None, p95_ms=None) == EndpointRow(
        id=number(1), side="server", owner="shop", method="GET", route="/things/1", count=6, errors=1,
        error_rate=1 / 6, p50_ms=None, p95_ms=None,
        auth=["bearer", "none"], unauthenticated=True, sensitive=["email", "iban"], callers=1,
        first_seen="2027-01-15T08:00:00.000000000Z", last_seen="2027-01-15T08:00:05.000000000Z",
    )  # fmt: skip
    assert detail.profile.statuses == {"200": 2, "500": 1}
    assert detail.quantiles["latency_ms"]["max"] == 1000
    assert detail.quantiles["response_bytes"] == dict.fromkeys(("p50", "p90", "p95", "p99", "max"))
    assert reader.endpoint("f" * 16) is None
    assert reader.endpoints(EndpointQuery()).rows == [detail.row]


def test_the_start_gives_back_what_was_told(path: str, write: Write, writer: Writer) -> None:
    walled, rpc = delta(1), delta(2)
    walled.walled = rpc.rpc = True
    write(inventory=inventory(walled, rpc, delta(3), aliases=[Alias(number(9), number(3))]))
    assert writer.told("walled") == {number(1)}
    write(inventory=inventory(delta(1)))
    writer.close()
    again = Writer(path, Store())
    assert sorted(again.endpoints()) == [
        (number(n), EndpointKey("server", "shop", "GET", f"/things/{n}")) for n in (1, 2, 3)
    ]
    assert again.told("walled") == frozenset()
    assert again.told("rpc") == {number(2)}
    assert again.aliases() == [Alias(number(9), number(3))]
    again.close()


def test_old_ids_resolve_through_chains_and_rows_move(write: Write, writer: Writer, reader: StoreReader) -> None:
    write([stored(n, number(n)) for n in (1, 2, 3)], inventory(*(delta(n, profile(n)) for n in (1, 2, 3))))
    write(
        inventory=inventory(delta(4, profile(10)), aliases=[Alias(number(1), number(2)), Alias(number(2), number(4))])
    )
    write([stored(5, number(1))], inventory(delta(1, profile(100))))
    for moved in (False, True):
        for old in (1, 2, 4):
            detail = reader.endpoint(number(old))
            assert detail is not None
            assert (detail.row.id, detail.row.count) == (number(4), 113)
            assert detail.old_ids == [number(1), number(2)]
            rows = reader.transactions(TransactionQuery(endpoint=number(old))).rows
            assert [(row.id, row.endpoint, row.route) for row in rows] == [
                (number(n), number(4), "/things/4") for n in (5, 2, 1)
            ]
            points = reader.traffic(number(old), NOW_S - 3_600, NOW_S + 3_600, 300)
            assert [point.count for point in points] == [113]
        if not moved:
            while writer.move_transactions():
                pass
    stored_under = writer.connection.execute("SELECT lower(hex(endpoint)), count(*) FROM transactions GROUP BY 1")
    assert dict(stored_under.fetchall()) == {number(3): 1, number(4): 3}
    assert reader.owners() == [OwnerRow(side="server", owner="shop", endpoints=2, calls=116, errors=0, unmatched=0)]


def test_an_alias_may_come_before_what_it_leads_to(write: Write, reader: StoreReader) -> None:
    write(inventory=inventory(delta(1, profile(3)), aliases=[Alias(number(1), number(2))]))
    write(inventory=inventory(delta(2, profile(4))))
    detail = reader.endpoint(number(1))
    assert detail is not None
    assert (detail.row.id, detail.row.count) == (number(2), 7)
    assert reader.endpoints(EndpointQuery()).total == 1


def test_aliases_in_a_circle_change_nothing(write: Write, reader: StoreReader) -> None:
    write(inventory=inventory(delta(1), delta(2), aliases=[Alias(number(1), number(2)), Alias(number(2), number(1))]))
    assert [row.id for row in reader.endpoints(EndpointQuery()).rows] == [number(2)]


def test_aliases_have_a_bound(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "MAX_ALIASES", 5)
    write(inventory=inventory(delta(1), aliases=[Alias(number(n), number(1)) for n in range(2, 30)]))
    assert [alias.old for alias in writer.aliases()] == [number(n) for n in range(25, 30)]


def test_moving_goes_step_by_step(write: Write, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("transactions", "segments"):
        monkeypatch.setattr(f"apisensor.store.{module}.SEGMENT_BITS", 4)
    monkeypatch.setattr(endpoints, "MOVE_ROWS", 20)
    write([stored(n, number(1)) for n in range(200)], inventory(delta(1), delta(2)))
    for _ in range(6):
        writer.index()
    write(inventory=inventory(aliases=[Alias(number(1), number(2))]))
    steps = []
    while writer.move_transactions():
        under = "SELECT count(*) FROM transactions WHERE lower(hex(endpoint)) = ?"
        steps.append(writer.connection.execute(under, (number(1),)).fetchone()[0])
    assert steps[-1] == 0
    assert max(before - after for before, after in zip([200, *steps], steps, strict=False)) <= 20 + 16


EVERY = [
    delta(
        n,
        profile(
            1 + n % 9, first=NOW_S + n % 50, last=NOW_S + n % 70, ms=float(1 + n % 13), errors=n % 4 // 3,
            open_successes=n % 5 // 4, sensitive_in={"email": 1} if n % 6 == 0 else {},
        ),
        owner=f"owner-{n % 7}", method=("GET", "POST")[n % 2], route=f"/a{n % 10}/b_{n}/100%",
    )
    for n in range(150)
]  # fmt: skip


def copies() -> list[Any]:
    return [msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=type(one)) for one in EVERY]


FILTERS: dict[str, tuple[dict[str, Any], Any]] = {
    "all": ({}, lambda row: True),
    "owner": ({"owner": "owner-3"}, lambda row: row.owner == "owner-3"),
    "nobody": ({"owner": "nobody"}, lambda row: False),
    "method": ({"method": "POST"}, lambda row: row.method == "POST"),
    "side": ({"side": "client"}, lambda row: False),
    "search": ({"search": "B_1"}, lambda row: "/b_1" in row.route),
    "search of the owner": ({"search": "NER-2"}, lambda row: row.owner == "owner-2"),
    "flags": ({"errors": True, "sensitive": True}, lambda row: row.errors and row.sensitive),
    "open": ({"unauthenticated": True, "side": "server"}, lambda row: row.unauthenticated),
}
KEYS: dict[str, Any] = {
    "owner": lambda row: (row.owner, row.route, row.method),
    "last_seen": lambda row: row.last_seen,
    "first_seen": lambda row: row.first_seen,
    "count": lambda row: row.count,
    "errors": lambda row: row.errors,
    "latency": lambda row: row.p95_ms,
}


@pytest.mark.parametrize("sort", KEYS)
@pytest.mark.parametrize("name", FILTERS)
def test_filters_orders_and_pages(write: Write, reader: StoreReader, name: str, sort: Any) -> None:
    write(inventory=inventory(*copies()))
    fields, holds = FILTERS[name]
    everything = reader.endpoints(EndpointQuery(limit=500)).rows
    assert len(everything) == len(EVERY)
    expected = {row.id for row in everything if holds(row)}
    rows: list[EndpointRow] = []
    query = EndpointQuery(**fields, sort=sort, limit=11)
    while True:
        page = reader.endpoints(query)
        assert page.total == len(expected)
        rows += page.rows
        if page.next is None:
            break
        query = msgspec.structs.replace(query, cursor=page.next)
    assert len(rows) == len(expected)
    assert {row.id for row in rows} == expected
    keys = [KEYS[sort](row) for row in rows]
    assert keys == sorted(keys, reverse=sort != "owner")


def test_a_cursor_of_another_order_is_refused(write: Write, reader: StoreReader) -> None:
    write(inventory=inventory(*copies()))
    made = reader.endpoints(EndpointQuery(sort="count", limit=5)).next
    with pytest.raises(StoreError, match="does not belong to this query"):
        reader.endpoints(EndpointQuery(sort="errors", cursor=made))


def test_traffic_adds_up_at_every_step(write: Write, reader: StoreReader) -> None:
    for minute in range(0, 180, 3):
        time = NOW_S + minute * 60
        write(inventory=inventory(delta(1, profile(2, first=time, ms=5, errors=1)), delta(2, profile(1, first=time))))
    until = NOW_S + 180 * 60
    for step in (1, 60, 100, 300, 900, 3_600, 7_200):
        for endpoint, calls in ((None, 180), (number(1), 120), (number(2), 60)):
            points = reader.traffic(endpoint, NOW_S, until, step)
            assert sum(point.count for point in points) == calls
            assert [point.time for point in points] == sorted({point.time for point in points})
            assert all(point.time % max(step // 300 * 300, 60) == 0 for point in points)
    (hour, *_) = reader.traffic(number(1), NOW_S, until, 3_600)
    assert (hour.count, hour.errors) == (40, 20)
    assert hour.p50_ms == pytest.approx(5, rel=0.03)
    assert reader.traffic("f" * 16, NOW_S, until, 60) == []
    assert reader.traffic(None, 0, 1 << 40, 86_400) != []


@pytest.mark.parametrize(("since", "until", "step"), [(5, 5, 60), (NOW_S, NOW_S + 60, 0), (6, 5, 60)])
@pytest.mark.usefixtures("writer")
def test_traffic_of_no_time(reader: StoreReader, since: int, until: int, step: int) -> None:
    with pytest.raises(StoreError, match="from an earlier to a later time"):
        reader.traffic(None, since, until, step)


def test_a_plot_has_a_bound(write: Write, reader: StoreReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_endpoints, "MAX_POINTS", 10)
    write(inventory=inventory(delta(1)))
    with pytest.raises(StoreError, match="10 points at most"):
        reader.traffic(None, NOW_S, NOW_S + 86_400, 60)


def test_overview(write: Write, reader: StoreReader) -> None:
    old = profile(5, first=NOW_S - 30 * 3_600, errors=2)
    write(
        inventory=inventory(
            delta(1, old),
            delta(2, profile(7, errors=1, open_successes=1, sensitive_out={"email": 1}), owner="cart"),
            delta(3, profile(0, open_successes=1), owner="cart"),
            delta(4, profile(0, sensitive_in={"email": 1}), owner="cart"),
            unmatched=[Unmatched("server", "shop", 40, {"404": 40}), Unmatched("client", "example.com:443", 2, {})],
        ),
        findings=(finding(1), finding(2, severity="high"), finding(3, severity="high")),
    )
    seen = reader.overview(24, NOW_S)
    assert (seen.calls, seen.errors, seen.endpoints, seen.new_endpoints) == (7, 1, 4, 3)
    assert (seen.unauthenticated_endpoints, seen.sensitive_endpoints, seen.exposed_endpoints) == (2, 2, 1)
    assert seen.open_findings == {"medium": 1, "high": 2}
    assert seen.services == [("cart", 7)]
    assert seen.unmatched == {"shop": 40, "example.com:443": 2}
    assert reader.overview(48, NOW_S).services == [("cart", 7), ("shop", 5)]
    assert reader.overview(48, NOW_S).calls == 12
    with pytest.raises(StoreError, match="1 to 720 hours"):
        reader.overview(0, NOW_S)


def test_what_waits_has_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "MAX_ENDPOINTS", 3)
    monkeypatch.setattr(pending, "MAX_BUCKETS", 2)
    monkeypatch.setattr(pending, "MAX_ALIASES", 1)
    waiting = Pending()
    waiting.add(inventory(*(delta(n, profile(10)) for n in range(5))), NOW_S)
    waiting.add(inventory(aliases=[Alias("a", "b"), Alias("c", "d")]), NOW_S)
    waiting.add(inventory(aliases=[Alias("e", "f")]), NOW_S)
    assert len(waiting.endpoints) == 3
    assert len(waiting.buckets) == 2
    assert waiting.aliases == [Alias("a", "b")]
    # Two endpoints of ten calls each, and two that have no bucket of their own.
    assert waiting.lost_calls == 40
    assert waiting.lost_aliases == 2
    assert waiting.emptied().lost_calls == 40
    assert not waiting.emptied()
