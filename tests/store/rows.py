"""Transactions, deltas and findings for tests of the store."""

from __future__ import annotations

from typing import Any

from apisensor.detect.model import Finding
from apisensor.events.model import Address
from apisensor.inventory import histogram
from apisensor.inventory.model import EndpointDelta, EndpointKey, InventoryDelta, Profile
from apisensor.store.transactions import Stored
from apisensor.transactions.model import Auth, Process, Transaction
from tests.live.transactions import transaction

NOW_S = 1_800_000_000
NOW_NS = NOW_S * 1_000_000_000
SECOND = 1_000_000_000


def number(n: int) -> str:
    """An id."""
    return f"{n:016x}"


def call(n: int, **changes: Any) -> Transaction:
    """Transaction number n, in the nth second after NOW; each differs from the others in what makes calls differ."""
    fields: dict[str, Any] = {
        "id": number(n),
        "span_id": number(n),
        "trace_id": f"{n:032x}",
        "side": "server",
        "path": f"/users/{n}?limit=5",
        "client": Address(f"192.0.2.{n % 200}", 40000),
        "auth": Auth("bearer", f"{n % 50:032x}"),
        "process": Process(pid=1, service=f"service-{n % 3}"),
        "request_headers": [
            ("host", "api.example.com"),
            ("x-request-id", f"{n * 0x9E3779B97F4A7C15 % (1 << 64):016x}"),
        ],
        "start_ns": n * SECOND,
        "wall_offset_ns": NOW_NS,
    }
    return transaction(**{**fields, **changes})


def stored(n: int, endpoint: str | None = None, counted: bool = True, **changes: Any) -> Stored:
    return Stored(call(n, **changes), endpoint, counted)


def profile(
    count: int = 1, *, first: int = NOW_S, last: int | None = None, ms: float = 10.0, **changes: Any
) -> Profile:
    """Of `count` calls between two Unix times, s, each answered after `ms`."""
    made = Profile(count=count, first_ns=first * SECOND, last_ns=(first if last is None else last) * SECOND, **changes)
    histogram.add(made.latency_ms, [ms] * count)
    return made


def delta(
    n: int, p: Profile | None = None, *, owner: str = "shop", method: str = "GET", route: str = ""
) -> EndpointDelta:
    key = EndpointKey("server", owner, method, route or f"/things/{n}")
    return EndpointDelta(number(n), key, profile() if p is None else p)


def inventory(*endpoints: EndpointDelta, **others: Any) -> InventoryDelta:
    return InventoryDelta(list(endpoints), **others)


def finding(n: int = 1, **changes: Any) -> Finding:
    fields: dict[str, Any] = {
        "id": number(0xF000 + n),
        "rule": "auth-failures-identity",
        "severity": "medium",
        "title": "12 authentication failures of one identity",
        "category": "API2:2023",
        "key": f"key-{n}",
        "evidence": {"failures": 12},
        "transactions": [],
        "trace_ids": [],
        "first_ns": NOW_NS,
        "last_ns": NOW_NS,
        "time_ns": NOW_NS,
        "count": 12,
    }
    return Finding(**{**fields, **changes})
