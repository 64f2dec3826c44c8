"""Which calls make endpoints, whose they are, and what is bounded."""

from __future__ import annotations

import itertools
import random
import tracemalloc

import pytest

from apisensor.events.model import Address
from apisensor.inventory import inventory as module
from apisensor.inventory.evidence import NOTHING, WALL
from apisensor.inventory.inventory import ENDPOINTS_PER_OWNER, PATHS_KEPT, UNMATCHED_OWNERS, WALLED_PER_OWNER, Inventory
from apisensor.inventory.model import OTHER
from apisensor.inventory.owners import ADDRESSES, DESTINATIONS_PER_PROCESS
from apisensor.transactions.model import Process, Transaction
from tests.export.records import call
from tests.inventory.calls import MAX_ENDPOINTS, fed, leaving, routes, served

chance = random.Random(7)


def word() -> str:
    """Looks like a word to every shape."""
    return "".join(chance.choices("ghijklmnop", k=9))


def routes_in_order(inventory: Inventory) -> list[str]:
    return [f"{d.key.owner} {d.key.method} {d.key.route}" for d in inventory.flush().endpoints]


def test_a_call_is_counted_and_its_template_known_from_then_on() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 30)
    t = served("/users/17?page=2")
    inventory.route(t)
    assert t.route is None
    id = inventory.observe(t)
    inventory.route(t)
    assert t.route == "/users/{id}"
    assert inventory.observe(served("/users/18/")) == id
    (delta,) = inventory.flush().endpoints
    assert (delta.id, delta.key.owner, delta.key.side, delta.key.method) == (id, "shop", "server", "GET")
    assert delta.profile.count == 2
    assert not inventory.flush().endpoints
    inventory.observe(served("/users/19"))
    assert [d.profile.count for d in inventory.flush().endpoints] == [1]


def test_ids_are_stable() -> None:
    assert Inventory(MAX_ENDPOINTS, 30).observe(served("/users/17")) == "7540f50859381947"


def test_what_is_learnt_has_its_route_before_it_is_counted() -> None:
    inventory = Inventory(100, 30)
    t = served("/users/17")
    inventory.learn([t])
    assert t.route == "/users/{id}"
    assert inventory.flush().endpoints == []
    counted = inventory.observe(t)
    assert [(delta.id, delta.profile.count) for delta in inventory.flush().endpoints] == [(counted, 1)]
    inventory.learn([scanned := served("/nothing/here", 404)])
    assert scanned.route is None


def test_a_place_learnt_within_a_batch_holds_for_all_of_it() -> None:
    inventory = Inventory(100, 2)
    batch = [served(f"/{name}") for name in "ghijk"]
    inventory.learn(batch)
    (id,) = {inventory.observe(t) for t in batch}
    (delta,) = [delta for delta in inventory.flush().endpoints if delta.profile.count]
    assert (delta.id, delta.key.route, delta.profile.count) == (id, "/{value}", 5)
    assert {inventory.owner(t) for t in batch} == {"shop"}


def test_what_is_gathered_before_a_place_is_learnt_goes_with_it() -> None:
    inventory = Inventory(100, 2)
    for name in "ghghg":
        inventory.observe(served(f"/{name}", status=201))
    inventory.observe(served("/i"))
    (delta,) = inventory.flush().endpoints
    assert (delta.profile.count, delta.profile.statuses) == (6, {"201": 5, "200": 1})


def test_route_never_mints() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 30)
    for side in (served, leaving):
        inventory.route(side("/a"))
    assert inventory.counters()["inventory.endpoints"] == 0


@pytest.mark.parametrize("status", [*NOTHING, None])
def test_a_scan_adds_no_endpoints(status: int | None) -> None:
    inventory = fed([served("/users/17"), served("/health")])
    inventory.flush()
    for _ in range(1000):
        assert inventory.observe(served(f"/{word()}/{word()}", status)) is None
    known = inventory.observe(served("/users/18", status))
    delta = inventory.flush()
    assert [(d.id, d.key.route, d.profile.count) for d in delta.endpoints] == [(known, "/users/{id}", 1)]
    (unmatched,) = delta.unmatched
    assert (unmatched.side, unmatched.owner, unmatched.count) == ("server", "shop", 1000)
    assert unmatched.statuses == {"none" if status is None else str(status): 1000}
    assert inventory.counters()["inventory.unmatched"] == 1000


@pytest.mark.parametrize("status", sorted(WALL))
def test_a_scan_behind_a_wall_teaches_nothing(status: int) -> None:
    real = [served(f"/api/{name}") for name in ("alpha", "beta", "gamma")]
    inventory = fed([*real, *(served(f"/api/{word()}", status) for _ in range(1000))], 5)
    found = routes(inventory)
    assert {"GET /api/alpha", "GET /api/beta", "GET /api/gamma"} <= found
    assert len(found) == 3 + WALLED_PER_OWNER
    assert "GET /api/{value}" not in found
    assert inventory.counters()["inventory.refused"] == 1000 - WALLED_PER_OWNER


def test_an_answer_makes_room_behind_the_wall() -> None:
    walls = [f"/api/{word()}" for _ in range(WALLED_PER_OWNER)]
    inventory = fed([served(path, 401) for path in walls])
    assert all(d.walled for d in inventory.flush().endpoints)
    assert inventory.observe(served("/late", 401)) is None
    inventory.observe(served(walls[0]))
    assert [d.walled for d in inventory.flush().endpoints] == [False]
    assert inventory.observe(served("/late", 401)) is not None
    # a further method of a route that exists takes no room
    assert inventory.observe(served(walls[0], 403, method="DELETE")) is not None


def test_preflights_are_no_evidence() -> None:
    inventory = fed([served(f"/{word()}", 204, method="OPTIONS") for _ in range(500)], 5)
    assert len(routes(inventory)) == WALLED_PER_OWNER


def test_a_server_that_answers_everything_stays_bounded() -> None:
    inventory = fed([served("/" + "/".join(word() for _ in range(chance.randrange(1, 6)))) for _ in range(5000)], 30)
    assert inventory.counters()["inventory.endpoints"] <= 6
    found = routes(inventory)
    assert found <= {"GET /" + "/".join(["{value}"] * depth) for depth in range(1, 6)}


def test_one_owner_has_no_more_than_its_share() -> None:
    words = ["login", "search", "new", "me", "health", "admin", "users", "orders", "api", "files"]
    paths = itertools.islice(itertools.product(words, repeat=4), ENDPOINTS_PER_OWNER + 100)
    inventory = fed([served("/" + "/".join(path)) for path in paths])
    inventory.observe(served("/", service="other"))
    assert inventory.counters()["inventory.endpoints"] == ENDPOINTS_PER_OWNER + 1
    assert inventory.counters()["inventory.refused"] == 100


def test_the_number_of_endpoints_is_limited() -> None:
    inventory = Inventory(3, 30)
    ids = [inventory.observe(served(f"/{name}")) for name in "ghijk"]
    assert [id is None for id in ids] == [False] * 3 + [True] * 2
    assert inventory.observe(served("/g")) == ids[0]
    assert inventory.counters() == {
        "inventory.endpoints": 3,
        "inventory.merged": 0,
        "inventory.refused": 2,
        "inventory.unmatched": 2,
        "inventory.destinations_refused": 0,
    }


def test_learning_keeps_counts_and_old_ids() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 3)
    ids = [inventory.observe(served(f"/teams/{name}")) for name in ("red", "green", "blue", "me")]
    inventory.flush()
    inventory.observe(served("/teams/red"))
    learnt = inventory.observe(served("/teams/black"))
    assert learnt not in ids
    delta = inventory.flush()
    assert [(d.id, d.key.route, d.profile.count) for d in delta.endpoints] == [(learnt, "/teams/{value}", 2)]
    assert {alias.old: alias.new for alias in delta.aliases} == dict.fromkeys(filter(None, ids[:3]), learnt)
    assert inventory.observe(served("/teams/me")) == ids[3]
    assert inventory.observe(served("/teams/17")) == learnt
    assert inventory.counters()["inventory.merged"] == 3


def test_methods() -> None:
    inventory = fed([served("/a", method=m) for m in ("GET", "POST", "PROPFIND", "get", "x" * 999)])
    assert routes(inventory) == {"GET /a", "POST /a", f"{OTHER} /a"}
    assert inventory.observe(served("/a", method=None)) is None


def test_what_has_no_path_is_unmatched() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 30)
    for t in (call(path=None), served("*", method="OPTIONS"), served("example.com:443", method="CONNECT")):
        assert inventory.observe(t) is None
        inventory.route(t)
        assert t.route is None


def rpc(method: str, grpc_status: int | None = 0, protocol: str = "grpc") -> Transaction:
    return served(f"/Greeter/{method}", method="POST", protocol=protocol, grpc_status=grpc_status)


def test_grpc_routes_are_as_they_are() -> None:
    names = [f"say{word()}" for _ in range(100)] + ["Get17", "V1StGXR8Z5jdHi6BmyT4"]
    inventory = fed([rpc(name) for name in names], 5)
    delta = inventory.flush()
    assert {d.key.route for d in delta.endpoints} == {f"/Greeter/{name}" for name in names}
    assert all(d.rpc for d in delta.endpoints)
    t = rpc("Get17")
    inventory.route(t)
    assert t.route == "/Greeter/Get17"


def test_grpc_status_is_evidence() -> None:
    inventory = fed([rpc("A", 12), rpc("B", 16), rpc("C", None), rpc("D", 5)])
    delta = inventory.flush()
    assert {d.key.route: d.walled for d in delta.endpoints} == {
        "/Greeter/B": True,
        "/Greeter/C": True,
        "/Greeter/D": False,
    }
    assert delta.unmatched[0].count == 1


def test_one_route_through_http_and_grpc_is_one_endpoint() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 3)
    ids = {inventory.observe(t) for t in (rpc("A", None, "http/1.1"), rpc("A"), rpc("A", None, "h2"))}
    assert len(ids) == 1
    assert inventory.counters()["inventory.endpoints"] == 1


def test_owners() -> None:
    server = Address("2001:db8::1", 8080)
    inventory = fed(
        [
            served("/a"),
            served("/a", service="", server=server),
            call(path="/a", side="network", process=None),
            call(path="/a", side="network", process=None, server=None),
            leaving("/a", "user:pw@API.Example.com."),
            leaving("/a", "api.example.com:443"),
            leaving("/a", "[2001:DB8::1]", scheme="http"),
            leaving("/a", "bad host"),
            leaving("/a", "[redacted]"),
            leaving("/a", "api.example.com:x"),
            leaving("/a", None, server=server),
        ]
    )
    assert routes_in_order(inventory) == [
        "shop GET /a",
        "[2001:db8::1]:8080 GET /a",
        "10.0.0.2:8443 GET /a",
        "unknown GET /a",
        "api.example.com:443 GET /a",
        "[2001:db8::1]:80 GET /a",
        "10.0.0.2:8443 GET /a",
        "[2001:db8::1]:8080 GET /a",
    ]
    inventory.observe(served("/a", authority="evil.example"))
    (delta,) = inventory.flush().endpoints
    assert delta.key.owner == "shop"
    assert delta.profile.hosts == {"evil.example": 1}


def test_hosts_that_a_client_invents_mint_few_owners() -> None:
    for status in (200, 404):
        inventory = Inventory(MAX_ENDPOINTS, 30)
        for n in range(1000):
            t = leaving("/a", f"h{n}.example.com", status=status)
            inventory.observe(t)
            inventory.route(t)
        refused = 1000 - DESTINATIONS_PER_PROCESS if status == 200 else 0
        assert inventory.counters()["inventory.destinations_refused"] == refused
        expected = DESTINATIONS_PER_PROCESS + 1 if status == 200 else 0
        assert inventory.counters()["inventory.endpoints"] == expected
        owners = {d.key.owner for d in inventory.flush().endpoints}
        assert ("10.0.0.2:8443" in owners) == (status == 200)
        # another process has room of its own, and what is known is known to all
        assert inventory.observe(leaving("/a", "fresh.example.com", "mail")) is not None
        assert inventory.observe(leaving("/a", "fresh.example.com")) is not None
        assert inventory.counters()["inventory.destinations_refused"] == refused


def test_unmatched_owners_are_bounded() -> None:
    calls = [served("/a", 404, service=f"s{n}") for n in range(UNMATCHED_OWNERS + 50)]
    unmatched = fed(calls).flush().unmatched
    assert len(unmatched) == UNMATCHED_OWNERS + 1
    assert {u.owner: u.count for u in unmatched}[OTHER] == 50


def test_both_views_of_a_call_have_one_route() -> None:
    inventory = Inventory(MAX_ENDPOINTS, 30)
    server = served("/users/17", server=Address("10.0.0.2", 80))
    inventory.observe(server)
    client = leaving("/users/17", "shop.local", server=Address("10.0.0.2", 80))
    elsewhere = leaving("/users/17", "shop.local", server=Address("10.0.0.3", 80))
    for view in (server, client, elsewhere):
        inventory.route(view)
    assert (server.route, client.route, elsewhere.route) == ("/users/{id}", "/users/{id}", None)


@pytest.mark.parametrize("local", [Address("127.0.0.1", 80), Address("/run/shop.socket", None)])
def test_loopback_addresses_and_paths_are_each_containers_own(local: Address) -> None:
    inventory = Inventory(MAX_ENDPOINTS, 30)
    inventory.observe(
        call(path="/users/17", side="server", server=local, process=Process(1, service="a", container="c1"))
    )
    views = [
        call(path="/users/17", side="client", server=local, process=Process(2, service="b", container=container))
        for container in ("c1", "c2", None)
    ]
    for view in views:
        inventory.route(view)
    assert [view.route for view in views] == ["/users/{id}", None, None]


def test_memory_stays_bounded_whatever_comes() -> None:
    inventory = Inventory(1000, 30)

    def traffic(count: int) -> None:
        for n in range(count):
            t = served(f"/{word()}/{n}/{word()}", 200, server=Address(f"10.{n >> 8 & 255}.{n & 255}.1", n & 0xFFFF))
            inventory.observe(t)
            inventory.route(t)
            inventory.observe(leaving(f"/{word()}", f"{word()}.example"))
            if n % 1000 == 0:
                inventory.flush()
        inventory.flush()

    traffic(max(PATHS_KEPT, ADDRESSES) + 1000)
    tracemalloc.start()
    traffic(PATHS_KEPT)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert grown < 16_000_000
    assert len(inventory._paths) <= PATHS_KEPT
    assert len(inventory._served._ends) <= ADDRESSES


def test_long_paths_are_not_remembered() -> None:
    inventory = fed([served("/" + "z-" * 500) for _ in range(3)])
    assert not inventory._paths
    assert routes(inventory) == {"GET /{text}"}


def test_a_full_memory_of_paths_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATHS_KEPT", 4)
    inventory = fed([served(f"/users/abc{n:04}") for n in range(100)])
    assert 0 < len(inventory._paths) <= 4
    assert routes(inventory) == {"GET /users/{hash}"}


def test_paths_that_differ_in_integers_are_remembered_as_one() -> None:
    inventory = fed([served(f"/users/{n}/orders/{n * 7}?page={n}") for n in range(100)])
    assert len(inventory._paths) == 1
    assert routes(inventory) == {"GET /users/{id}/orders/{id}"}
