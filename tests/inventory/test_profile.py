"""What is counted of calls, and that counts add up in any order."""

from __future__ import annotations

from functools import reduce
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.model import KINDS
from apisensor.events.model import Address
from apisensor.export import semantics
from apisensor.inventory.callers import LATEST, MAX_CALLERS, UNPRUNED
from apisensor.inventory.evidence import METHODS
from apisensor.inventory.gathered import CALLS, SHAPES, Gathered
from apisensor.inventory.model import OTHER, Profile
from apisensor.inventory.profile import CREDENTIALS, GRPC_SERVER_ERRORS, LIMITS, merge
from apisensor.transactions.model import Auth, Sensitive, Transaction
from tests.export.records import WALL_OFFSET_NS, call, transactions
from tests.inventory.calls import leaving


def of(*calls: Transaction) -> Profile:
    news = Gathered()
    for t in calls:
        news.add(t)
    return news.profile()


def test_one_call() -> None:
    seen = of(call(path="/a?page=2&limit=&x&page=3", anomalies=["invalid-utf8"]))
    assert (seen.count, seen.errors, seen.incomplete, seen.unanswered, seen.encrypted) == (1, 0, 0, 0, 1)
    assert seen.first_ns == seen.last_ns == 5_000_000_000 + WALL_OFFSET_NS
    assert seen.statuses == {"200": 1}
    assert seen.hosts == {"api.example.com:8443": 1}
    assert seen.content_types == {"application/json": 1}
    assert seen.response_types == {"200 application/json": 1}
    assert seen.query_names == {"page": 1, "limit": 1}
    assert seen.anomalies == {"invalid-utf8": 1}
    assert seen.latency_ms.sum == 2.5
    assert seen.response_bytes.sum == 1234


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"status": 500}, 1),
        ({"status": 499}, 0),
        ({"status": None}, 0),
        ({"protocol": "grpc", "grpc_status": 13}, 1),
        ({"protocol": "grpc", "grpc_status": 5}, 0),
        ({"status": 503, "grpc_status": 14}, 1),
    ],
)
def test_errors_are_the_servers(changes: dict[str, Any], errors: int) -> None:
    assert of(call(**changes)).errors == errors


def test_a_response_that_was_not_seen() -> None:
    seen = of(call(status=None, response_headers=None, response_body_size=None, duration_ns=None,
                   incomplete_reason="response_not_seen"))  # fmt: skip
    assert (seen.unanswered, seen.incomplete, seen.statuses) == (1, 1, {"none": 1})
    assert seen.latency_ms.total == seen.response_bytes.total == 0


@pytest.mark.parametrize(
    ("changes", "auth", "open_successes"),
    [
        ({}, "none", 1),
        ({"status": 404}, "none", 0),
        ({"auth": Auth("bearer", "ab")}, "bearer", 0),
        ({"request_headers": None}, "unknown", 0),
        ({"anomalies": ["hpack-unknown-field"]}, "unknown", 0),
        ({"protocol": "grpc", "grpc_status": 0}, "none", 1),
        ({"protocol": "grpc", "grpc_status": 7}, "none", 0),
        ({"protocol": "grpc", "grpc_status": None}, "none", 0),
    ],
)
def test_calls_without_credentials(changes: dict[str, Any], auth: str, open_successes: int) -> None:
    seen = of(call(**changes))
    assert (seen.auth, seen.open_successes) == ({auth: 1}, open_successes)


@pytest.mark.parametrize(
    ("kind", "place", "received", "sent"),
    [
        ("token", "request.header", 0, 0),
        ("session", "request.header", 0, 0),
        ("session", "response.header", 0, 0),
        ("token", "request.query", 1, 0),
        ("jwt", "request.path", 1, 0),
        ("password", "request.body", 1, 0),
        ("token", "response.body", 0, 1),
        ("email", "request.header", 1, 0),
        ("credit_card", "response.header", 0, 1),
    ],
)
def test_credentials_where_they_belong_are_no_sensitive_data(kind: str, place: str, received: int, sent: int) -> None:
    seen = of(call(sensitive=[Sensitive(kind, place, 3)]))
    assert seen.sensitive_in == ({kind: 1} if received else {})
    assert seen.sensitive_out == ({kind: 1} if sent else {})


def test_a_kind_counts_once_a_call() -> None:
    seen = of(call(sensitive=[Sensitive("jwt", "request.query", 1), Sensitive("jwt", "request.body", 9)]))
    assert seen.sensitive_in == {"jwt": 1}


def test_names_agree_with_their_origins() -> None:
    assert set(KINDS) >= CREDENTIALS
    assert GRPC_SERVER_ERRORS == semantics.GRPC_SERVER_ERRORS
    assert METHODS == semantics.KNOWN_METHODS


def test_content_types_that_are_none_are_not_kept() -> None:
    types = ["text/HTML; charset=x", "no type", "a/b/c", "\x1b[31m/x", "ü/x", None]
    seen = of(*(call(response_headers=[("Content-Type", value)]) for value in types))
    assert seen.content_types == {"text/html": 1, OTHER: 5}


def test_whatever_comes_stays_within_the_bounds() -> None:
    news = Gathered()
    for n in range(500):
        news.add(call(
            path="/a?" + "&".join(f"{n}-{m}=1" for m in range(50)), authority=f"h{n}", status=100 + n, grpc_status=n,
            protocol=f"p{n}", anomalies=[f"a{n}"], auth=Auth(f"s{n}", f"i{n}"), client=Address(f"10.0.{n}.1", 1),
            response_headers=[("content-type", f"a/{n}")], sensitive=[Sensitive(f"k{n}", "request.body", 1)],
        ))  # fmt: skip
    seen = news.profile()
    for name, limit in LIMITS.items():
        counts = getattr(seen, name)
        assert len(counts) <= limit + 1, name
        if name != "sensitive_out":
            assert len(counts) == limit + 1, name
    assert seen.statuses[OTHER] == 500 - LIMITS["statuses"]
    assert sum(c.count for c in seen.callers.values()) == 500
    assert len(seen.callers) <= UNPRUNED + 1
    merged = merge(Profile(), seen)
    assert len(merged.callers) == MAX_CALLERS + 1
    assert sum(c.count for c in merged.callers.values()) == 500


@given(st.lists(transactions, max_size=20))
def test_what_is_gathered_is_what_each_call_adds(calls: list[Transaction]) -> None:
    at_once = Gathered()
    for t in calls:
        at_once.add(t)
        at_once.profile()  # expands what it was given
    seen = of(*calls)
    assert msgspec.to_builtins(seen) == msgspec.to_builtins(at_once.profile())
    assert seen.count == len(calls)


@pytest.mark.parametrize(
    ("differing", "most"), [([], CALLS), ([{"authority": f"h{n}"} for n in range(SHAPES)], SHAPES)]
)
def test_what_is_gathered_is_bounded(differing: list[dict[str, Any]], most: int) -> None:
    news = Gathered()
    for n in range(most - 1):
        news.add(call(**(differing[n] if differing else {})))
    assert (len(news._starts), news._profile.count) == (most - 1, 0)
    news.add(call(**(differing[-1] if differing else {})))
    assert (len(news._starts), news._profile.count) == (0, most)


def test_long_and_empty_keys_are_not_kept() -> None:
    seen = of(call(authority="h" * 300), call(anomalies=[""]))
    assert seen.hosts == {OTHER: 1, "api.example.com:8443": 1}
    assert seen.anomalies == {OTHER: 1}


def test_heavy_and_recent_callers_stay() -> None:
    heavy = [call(auth=Auth("bearer", f"heavy{n}"), start_ns=n) for n in range(30) for _ in range(5)]
    light = [call(auth=Auth("bearer", f"light{n}"), start_ns=1000 + n) for n in range(1000)]
    seen = merge(Profile(), of(*heavy, *light))
    assert {f"heavy{n}" for n in range(30)} <= set(seen.callers)
    assert {f"light{n}" for n in range(1000 - LATEST, 1000)} <= set(seen.callers)
    assert sum(c.count for c in seen.callers.values()) == 1150
    assert seen.callers[OTHER].first_ns == 1000 + WALL_OFFSET_NS


def test_who_called() -> None:
    news = Gathered()
    news.add(call(auth=Auth("bearer", "alice"), start_ns=2, client=Address("10.0.0.2", 1)))
    news.add(call(auth=Auth("basic", "alice"), start_ns=1, client=Address("10.0.0.1", 1)))
    news.add(call(), caller_service="cart")
    news.add(call(client=None))
    news.add(leaving("/", service="pay"))
    seen = news.profile()
    alice = seen.callers["alice"]
    assert (alice.count, alice.address, alice.scheme) == (2, "10.0.0.2", "bearer")
    assert (alice.first_ns, alice.last_ns) == (1 + WALL_OFFSET_NS, 2 + WALL_OFFSET_NS)
    assert set(seen.callers) == {"alice", "cart", "unknown", "pay"}
    assert seen.callers["cart"].service == "cart"
    assert seen.callers["pay"].service == "pay"


def exact(seen: Profile) -> dict[str, Any]:
    """Everything but the sums of floats, whose last digits depend on the order."""
    fields: dict[str, Any] = msgspec.to_builtins(seen)
    for name in ("latency_ms", "request_bytes", "response_bytes"):
        del fields[name]["sum"]
    return fields


varied = st.builds(
    call,
    path=st.sampled_from(["/a", "/a?b=1&c=2", None]),
    status=st.sampled_from([None, 200, 404, 500]),
    start_ns=st.integers(0, 2),
    duration_ns=st.sampled_from([None, 1, 10**6, 10**12]),
    auth=st.sampled_from([None, Auth("basic", "x"), Auth("bearer", "x"), Auth("bearer", None)]),
    client=st.sampled_from([None, Address("10.0.0.1", 1), Address("10.0.0.2", 1)]),
    sensitive=st.sampled_from([[], [Sensitive("email", "request.body", 1)]]),
)


@given(st.lists(st.lists(varied, max_size=6), max_size=4), st.randoms())
def test_merging_equals_adding_in_any_order(parts: list[list[Transaction]], chance: Any) -> None:
    whole = exact(of(*(t for part in parts for t in part)))
    ordered = [of(*part) for part in parts]
    nested = reduce(lambda done, part: merge(part, done), [of(*part) for part in parts], Profile())
    chance.shuffle(ordered)
    for merged in (reduce(merge, ordered, Profile()), nested):
        assert exact(merged) == whole


@settings(max_examples=30)
@given(st.lists(transactions, max_size=3))
def test_merging_leaves_what_it_adds(calls: list[Transaction]) -> None:
    more = of(*calls)
    before = msgspec.json.encode(more)
    into = merge(Profile(), more)
    merge(into, more)
    assert msgspec.json.encode(more) == before
    assert msgspec.json.decode(before, type=Profile) == more
