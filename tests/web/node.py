"""A node with a little of everything, made of arithmetic: the same on each run but for the time it ends at."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from apisensor.detect.model import Finding, Severity, State
from apisensor.events.model import Address
from apisensor.inventory import histogram
from apisensor.inventory.model import (
    Alias,
    Caller,
    EndpointDelta,
    EndpointKey,
    Histogram,
    InventoryDelta,
    Profile,
    Side,
    Unmatched,
)
from apisensor.live.status import LibraryStatus, Part, ProcessStatus, Status
from apisensor.protocols.counted import Passed
from apisensor.transactions.model import Auth, Messages, Operation, Process, Sensitive, Tls, Transaction
from tests.live.transactions import transaction

HOSTILE = (
    "/<script>document.title='owned'</script>",
    '/"><img src=x onerror=document.title="owned">',
    "/pay\u202egnp.exe\u200b\x1b[2J\x07",
    "/'-confirm`1`-{{7*7}}${7*7}",
)
"""What attackers write where they may choose: as markup, as an attribute, bidirectional and control characters."""

ENDPOINTS: tuple[tuple[Side, str, str, str, str, tuple[str, ...], int], ...] = (
    ("server", "checkout", "POST", "/api/v2/orders", "bearer", ("credit_card", "email"), 18_204),
    ("server", "checkout", "GET", "/api/v2/orders/{id}", "bearer", ("email",), 96_310),
    ("server", "checkout", "DELETE", "/api/v2/orders/{id}", "bearer", (), 812),
    ("server", "checkout", "GET", "/api/v2/orders/{id}/items/{item}", "bearer", (), 41_022),
    ("server", "checkout", "GET", "/healthz", "none", (), 201_600),
    ("server", "accounts", "POST", "/login", "none", ("password",), 7_311),
    ("server", "accounts", "GET", "/users/me", "cookie", ("email", "phone"), 33_871),
    ("server", "accounts", "GET", "/users/{id}", "cookie", ("email", "phone", "date_of_birth"), 58_119),
    ("server", "accounts", "PATCH", "/users/{id}", "cookie", ("email",), 1_204),
    ("server", "accounts", "GET", "/internal/export/users.csv", "none", ("email", "iban"), 42),
    ("server", "accounts", "POST", "/password/reset", "none", ("email",), 318),
    ("server", "catalog", "GET", "/products", "none", (), 412_889),
    ("server", "catalog", "GET", "/products/{id}", "none", (), 871_204),
    ("server", "catalog", "GET", "/search", "none", (), 120_381),
    ("server", "catalog", "POST", "/graphql", "bearer", (), 64_023),
    ("server", "payments", "POST", "/payments.v1.Charges/Create", "bearer", ("credit_card",), 17_988),
    ("server", "payments", "POST", "/payments.v1.Charges/Refund", "bearer", (), 411),
    ("server", "admin", "GET", "/admin/debug/vars", "basic", (), 96),
    ("server", "admin", "POST", "/admin/flags/{name}", "basic", (), 31),
    ("client", "api.stripe.com:443", "POST", "/v1/charges", "bearer", (), 17_904),
    ("client", "api.stripe.com:443", "GET", "/v1/charges/{id}", "bearer", (), 2_201),
    ("client", "hooks.example.net:80", "POST", "/notify/{id}", "basic", ("email",), 1_877),
    *(("server", "catalog", "GET", path, "none", (), 1) for path in HOSTILE),
)

FINDINGS: tuple[tuple[str, Severity, str, str | None, State, int, int], ...] = (
    ("auth-failures-identity", "high", "Repeated authentication failures of one identity", "API2:2023", "open", 5, 46),
    ("login-after-failures", "critical", "A login succeeded after repeated failures", "API2:2023", "open", 5, 1),
    ("response-volume", "high", "Far more data sent to one client than before", "API6:2023", "open", 9, 1_284),
    ("credentials-over-plaintext", "medium", "Credentials over plaintext HTTP", "API8:2023", "acknowledged", 21, 1_877),
    ("credentials-over-plaintext", "medium", "Credentials over plaintext HTTP", "API8:2023", "open", 17, 127),
    ("auth-failures-client", "medium", "Many authentication failures from one client", "API2:2023", "closed", 5, 203),
    ("response-volume", "low", "More data from one endpoint than before", None, "false_positive", 11, 77),
)
"""rule, severity, title, category, state, index of its endpoint, count."""


def hashed(text: str, digits: int = 16) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def endpoint_id(index: int) -> str:
    return hashed(f"endpoint {index}")


def old_id(index: int) -> str:
    """Of an endpoint from before its template was learnt."""
    return hashed(f"old {index}")


def inventory(now: int) -> InventoryDelta:
    """Everything that is known of the endpoints."""
    found = [_endpoint(index, now) for index in range(len(ENDPOINTS))]
    learnt = [index for index, entry in enumerate(ENDPOINTS) if "{id}" in entry[3]]
    return InventoryDelta(
        endpoints=[*(EndpointDelta(old_id(index), _key(index, "/old"), Profile()) for index in learnt), *found],
        aliases=[Alias(old_id(index), endpoint_id(index)) for index in learnt],
        unmatched=[Unmatched("server", "catalog", 3_122, {"404": 3_122})],
    )


SLOT_S = 180
"""Divides the steps of the charts of a day (720 s, 900 s)."""
SLOTS = 86_400 // SLOT_S


def lately(now: int) -> list[InventoryDelta]:
    """What the last day added, in its steps: calls rise and fall twice, and one hour has errors."""
    return [
        InventoryDelta(endpoints=[delta for index in range(len(ENDPOINTS)) if (delta := _slot(index, slot, now))])
        for slot in range(SLOTS)
    ]


def _slot(index: int, slot: int, now: int) -> EndpointDelta | None:
    wave = 1 + 0.55 * math.sin(slot / SLOTS * 4 * math.pi) + (slot * 31 % 17) / 120
    count = int(ENDPOINTS[index][6] * wave / SLOTS * 0.3)
    if not count:
        return None
    errors = count // 9 if slot // 12 == 24 and index % 3 == 0 else count // 300
    time_ns = (now - 86_400 + (slot + 1) * SLOT_S - 60) * 10**9
    profile = Profile(
        count=count, errors=errors, encrypted=count, first_ns=time_ns, last_ns=time_ns,
        statuses={"200": count - errors}, protocols={"http/1.1": count}, auth={ENDPOINTS[index][4]: count},
        latency_ms=_histogram((3.2 + (index * 37 % 29) * 2.1) * (1.8 - 0.5 * wave + errors / count * 9)),
    )  # fmt: skip
    return EndpointDelta(endpoint_id(index), _key(index), profile)


def _key(index: int, suffix: str = "") -> EndpointKey:
    side, owner, method, route, *_ = ENDPOINTS[index]
    return EndpointKey(side, owner, method, route + suffix)


def _histogram(middle: float) -> Histogram:
    made = Histogram()
    histogram.add(made, [middle * (0.4 + number / 27) * (9 if number == 33 else 1) for number in range(34)])
    return made


def _endpoint(index: int, now: int) -> EndpointDelta:
    _, owner, method, route, auth, sensitive, count = ENDPOINTS[index]
    errors = count // (40 + 17 * index) if index % 3 == 0 else 0
    first = now - 86_400 * (1 + index % 9) - 3_600 + 77 * index
    if index % 7 == 6:
        first, count, errors = now - 3600 * (index % 5 + 1), 1, 0
    last = first
    callers = {
        str(n): Caller(
            hashed(f"identity {index} {n}", 32) if auth != "none" else None,
            ("frontend", "mobile-gateway", None)[n % 3], f"10.0.{index}.{n + 4}", auth, max(1, count // (n + 2)),
            first * 10**9, last * 10**9,
        )
        for n in range(1 + index % 6)
    }  # fmt: skip
    profile = Profile(
        count=count, errors=errors, incomplete=count // 9_000, unanswered=count // 20_000,
        encrypted=0 if ":80" in owner else count, first_ns=first * 10**9, last_ns=last * 10**9,
        statuses={
            name: n
            for name, n in {"200": count - errors - count // 50, "404": count // 70, "401": count // 180, "500": errors}
            .items() if n
        },
        grpc_statuses={"0": count - 3, "16": 3} if route.startswith("/payments.") else {},
        protocols={"h2": count} if route.startswith("/payments.") else {"http/1.1": count},
        auth={auth: count}, open_successes=count if auth == "none" else 0,
        sensitive_in=dict.fromkeys(sensitive[:1], count // 3), sensitive_out=dict.fromkeys(sensitive, count // 2),
        hosts={f"{owner}.example.com": count} if index != 12 else {"shop.example.com": count - 2, '"><b>evil': 2},
        content_types={"application/json": count}, query_names={"page": count // 4} if method == "GET" else {},
        anomalies={"body-not-captured": 3} if index % 4 == 0 else {}, callers=callers,
        latency_ms=_histogram(3.2 + (index * 37 % 29) * 2.1), request_bytes=_histogram(312.0),
        response_bytes=_histogram(1820.0 + 100 * index),
    )  # fmt: skip
    return EndpointDelta(endpoint_id(index), _key(index), profile)


CALLS = 4_000
"""Of the last day."""


def endpoint_of(index: int) -> int:
    """Which endpoint the `index`-th call was of."""
    return index * 7 % len(ENDPOINTS)


def _age(index: int) -> float:
    """Seconds since the call: two waves a day."""
    share = index / CALLS
    return 86_000 * (share + 0.06 * math.sin(4 * math.pi * share))


def call(index: int, now: int) -> Transaction:
    """The `index`-th newest call of the node."""
    number = endpoint_of(index)
    side, owner, method, route, auth, sensitive, _ = ENDPOINTS[number]
    status = (200, 200, 201, 200, 404, 200, 500, 200, 401, None)[index % 10]
    path = route.replace("{id}", str(1000 + index)).replace("{item}", "7").replace("{name}", "beta")
    complete = status is not None
    grpc = route.startswith("/payments.")
    changes: dict[str, Any] = {
        "id": hashed(f"transaction {index}"),
        "span_id": hashed(f"transaction {index}"),
        "trace_id": hashed(f"trace {index // 2}", 32),
        "protocol": "grpc" if grpc else "http/1.1",
        "grpc_status": (0, 7, 14)[index % 3] if grpc and status == 200 else None,
        "operations": _operations(route),
        "messages": _messages(route),
        "response_trailers": [("grpc-status", "7"), ("grpc-message", route)] if route in HOSTILE else [],
        "side": side,
        "method": method,
        "authority": owner if side == "client" else f"{owner}.example.com",
        "path": path + ("?page=2&token=[redacted]" if index % 4 == 1 else ""),
        "route": route,
        "status": status,
        "response_body_size": 1820 + index if complete else None,
        "duration_ns": 4_000_000 + index * 1_234_567 % 90_000_000 if complete else None,
        "ttfb_ns": 3_000_000 + index * 1_234_567 % 60_000_000 if complete else None,
        "response_headers": [("content-type", "application/json"), ("server", "nginx")] if complete else None,
        "request_headers": [
            ("host", f"{owner}.example.com"),
            ("user-agent", "curl/7.88.1"),
            ("authorization", "Bearer [redacted]"),
            ("x-note", HOSTILE[index % len(HOSTILE)]),
        ],
        "auth": None if auth == "none" else Auth(auth, hashed(f"identity {number} 0", 32)),
        "sensitive": [Sensitive(kind, "response.body", 1) for kind in sensitive],
        "client": Address(f"10.0.{number}.4", 40_000 + index),
        "server": Address("10.0.0.7", 443),
        "incomplete_reason": None if complete else "response_not_seen",
        "anomalies": ["bare-lf"] if index % 9 == 0 else [],
        "encrypted": ":80" not in owner,
        "scheme": "http" if ":80" in owner else "https",
        "tls": None if ":80" in owner else Tls("openssl", "3.0.11"),
        "process": Process(
            pid=4242 + number, executable="/usr/sbin/nginx", command_line="nginx: worker process " + HOSTILE[1],
            user="www-data", container=hashed(owner, 64), service=owner if side == "server" else "checkout",
            runtime="podman",
        ),
        "pid": 4242 + number,
        "start_ns": 1_000_000_000,
        "wall_offset_ns": int((now - 1 - _age(index)) * 10**9) - 1_000_000_000,
    }  # fmt: skip
    return transaction(**changes)


def _operations(route: str) -> list[Operation]:
    if route == "/graphql":
        fields = ["product", "reviews"]
        return [Operation("graphql", kind="query", name="ProductPage", fields=fields, error="FORBIDDEN")]
    if route.startswith("/payments."):
        return [Operation("grpc", kind="server_streaming", name=route[1:], fields=["amount", "card"])]
    if route in HOSTILE:
        return [Operation("graphql", kind="query", name=route, fields=[route], error=route)]
    return []


def _messages(route: str) -> Messages | None:
    if route.startswith("/payments."):
        return Messages(Passed("grpc", 1, 240, 240, 0), Passed("grpc", 12, 5_310, 900, 0))
    if route in HOSTILE:
        return Messages(Passed("grpc", 3, 210, 90), Passed("grpc", None, reason="ring_full"))
    return None


def findings(now: int) -> list[Finding]:
    return [_finding(index, now) for index in range(len(FINDINGS))]


def finding_id(index: int) -> str:
    return hashed(f"finding {index}")


def _finding(index: int, now: int) -> Finding:
    rule, severity, title, category, _, endpoint, count = FINDINGS[index]
    _, owner, method, route, auth, *_ = ENDPOINTS[endpoint]
    first, last = now - 3_000 * (index + 1), now - 400 * (index + 1)
    shown = [n for n in range(200) if endpoint_of(n) == endpoint][:3]
    return Finding(
        id=finding_id(index), rule=rule, severity=severity, title=title, category=category, key=f"{index}",
        evidence={
            "failures": count, "window_seconds": 300, "rate": 0.731, "statuses": ["401", "403"],
            "path": HOSTILE[index % len(HOSTILE)],
        },
        transactions=[hashed(f"transaction {n}") for n in shown],
        trace_ids=[hashed(f"trace {n // 2}", 32) for n in shown], client=f"10.0.{endpoint}.4", server="10.0.0.7:443",
        service=owner, endpoint=endpoint_id(endpoint), route=f"{method} {route}",
        identity=hashed(f"identity {endpoint} 0", 32) if auth != "none" else None,
        first_ns=first * 10**9, last_ns=last * 10**9, time_ns=(first + 60) * 10**9, count=count,
    )  # fmt: skip


def status(now: int) -> Status:
    """Of a sensor that lost a little and does not see everything."""
    return Status(
        version="1.2.3",
        started=float(now - 260_000),
        parts=[
            Part(name="run", pid=100, user="root", uptime_seconds=260_000.0, memory_bytes=30_000_000),
            Part(name="capture", pid=101, user="apisensor", uptime_seconds=260_000.0, memory_bytes=41_000_000),
            Part(name="worker-0", pid=102, user="nobody", uptime_seconds=3_700.0, restarts=1, last_exit="signal 9",
                 memory_bytes=88_000_000),
            Part(name="core", pid=103, user="apisensor", uptime_seconds=260_000.0, memory_bytes=120_000_000),
            Part(name="web", pid=None, user="apisensor", restarts=2, last_exit="exit status 1"),
        ],
        maps={"ring:0": 33_558_528, "connections": 1_048_896},
        counters={
            "kernel.lost.ring_full": 17, "kernel.lost.copy_fault": 0, "worker.lost.limit": 2,
            "kernel.events": 81_233_112, "worker.transactions": 2_123_456, "live.sent": 91_233, "live.dropped": 12,
        },
        libraries=[
            LibraryStatus(path="/usr/lib/x86_64-linux-gnu/libssl.so.3", library="openssl", version="3.0.11", probes=12,
                          processes=3),
            LibraryStatus(path="/usr/lib/x86_64-linux-gnu/libgnutls.so.30", library="gnutls", reason="not hooked yet"),
        ],
        processes=[
            ProcessStatus(pid=7, executable="/usr/sbin/nginx", service="checkout", container=hashed("checkout", 64),
                          libraries=["/usr/lib/x86_64-linux-gnu/libssl.so.3"], attached=True, transactions=912_233,
                          plaintext_bytes=81_233_122_000, encrypted_bytes=82_000_120_133),
            ProcessStatus(pid=8, executable="/usr/bin/python3", service="accounts", attached=True, transactions=81_002,
                          plaintext_bytes=912_331_222, encrypted_bytes=931_222_111),
            ProcessStatus(pid=9, executable="/opt/<b>caddy</b>\x1b[2J", encrypted_bytes=5_000_000, blind=True,
                          note="blind spot: no known TLS library is mapped, its HTTPS is not seen"),
        ],
        export={"endpoint": "grpc http://127.0.0.1:4317", "state": "sending", "offered": 91_000, "sent": 90_988,
                "queued": 12, "last_error": None},
        notes=["sockets: sock tracepoints", "slowest attachment to a library: 4.2 ms after it was first seen"],
    )  # fmt: skip
