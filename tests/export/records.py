"""Transactions for tests: one plain call to vary, and all that hypothesis can think of."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from apisensor.events.model import Address
from apisensor.protocols.counted import Passed
from apisensor.transactions.lines import written
from apisensor.transactions.model import (
    INCOMPLETE_REASONS,
    Auth,
    Messages,
    Operation,
    Process,
    Sensitive,
    Tls,
    Transaction,
)

CLIENT, SERVER = Address("10.0.0.1", 40001), Address("10.0.0.2", 8443)
WALL_OFFSET_NS = 1_700_000_000 * 10**9

NGINX = Process(
    pid=1234,
    executable="/usr/sbin/nginx",
    command_line="nginx: worker process",
    user="www-data",
    container="4f" * 32,
    pod="0a1b2c3d-0000-4000-8000-0123456789ab",
    service="frontend",
    runtime="containerd",
)

PLAIN = Transaction(
    id="00f067aa0ba902b7",
    protocol="http/1.1",
    side="server",
    method="GET",
    scheme="https",
    authority="api.example.com:8443",
    path="/users/17?page=2",
    request_lines=written([("Host", "api.example.com:8443"), ("User-Agent", "curl/8.5.0"), ("Accept", "*/*")]),
    response_lines=written([("Content-Type", "application/json")]),
    request_trailers=[],
    response_trailers=[],
    status=200,
    grpc_status=None,
    request_body_size=0,
    response_body_size=1234,
    client=CLIENT,
    server=SERVER,
    auth=None,
    sensitive=[],
    binding="nested",
    pid=1234,
    start_ns=5_000_000_000,
    duration_ns=2_500_000,
    ttfb_ns=1_500_000,
    trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    span_id="00f067aa0ba902b7",
    parent_span_id="53995c3f42cd8ad8",
    anomalies=[],
    incomplete_reason=None,
    stream_id=None,
    conn_id="2a",
    flow_id="2b",
    encrypted=True,
    process=NGINX,
    wall_offset_ns=WALL_OFFSET_NS,
)


def call(**changes: Any) -> Transaction:
    """PLAIN with changes; `id` follows span_id."""
    if "span_id" in changes:
        changes.setdefault("id", changes["span_id"])
    for message in ("request", "response"):
        if f"{message}_headers" in changes:
            headers = changes.pop(f"{message}_headers")
            changes[f"{message}_lines"] = None if headers is None else written(headers)
    return msgspec.structs.replace(PLAIN, **changes)


def numbered(n: int, **changes: Any) -> Transaction:
    """The n-th of many distinct calls, each the root of its own trace."""
    return call(trace_id=f"{n + 1:032x}", span_id=f"{n + 1:016x}", parent_span_id=None, path=f"/items/{n}", **changes)


_text = st.text(max_size=40)
_long_text = st.text(st.characters(min_codepoint=1, codec="utf-8"), max_size=300)
_size = st.integers(0, 2**40)
_name = st.one_of(st.none(), st.sampled_from(["User-Agent", "user-agent", "X-Tenant", "x-tenant", "Accept"]), _text)
_lines = st.one_of(st.none(), st.lists(st.tuples(_name, st.one_of(st.none(), _text)), max_size=6).map(written))
_addresses = st.one_of(
    st.none(),
    st.builds(Address, st.sampled_from(["10.0.0.1", "2001:db8::1", "::1"]), st.integers(0, 65535)),
    st.sampled_from([Address("/run/shop.socket", None), Address("", None, 1), Address("@abstract", None)]),
)
_authorities = st.one_of(
    st.none(),
    st.sampled_from(["example.com", "example.com:8080", "[::1]:443", "[::1]", "u:p@example.com", "a:b:c", ":80", ""]),
    _text,
)
_paths = st.one_of(
    st.none(), st.sampled_from(["/", "*", "/a?b=c", "/a?", "/pkg.Service/Method", "example.com:443"]), _long_text
)
_processes = st.one_of(
    st.none(),
    st.just(NGINX),
    st.builds(
        Process,
        pid=st.integers(1, 2**22),
        executable=st.one_of(st.none(), _text),
        service=st.one_of(st.none(), _text),
    ),
)
_nanoseconds = st.integers(0, 2**62)


def _hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


_optional_text = st.one_of(st.none(), _text)
_operations = st.builds(
    Operation,
    protocol=st.sampled_from(["graphql", "json-rpc", "mcp", "soap", "grpc", "grpc-web", "sse", "websocket"]),
    kind=st.sampled_from([None, "query", "persisted", "call", "unary"]),
    name=st.one_of(_optional_text, st.sampled_from(["tools/call", "prompts/get", "shop.v1.Cart/Add", "/a/b/C/D"])),
    target=_optional_text,
    fields=st.lists(_text, max_size=3),
    error=st.one_of(_optional_text, st.integers(-(2**33), 2**33).map(str)),
)
_count = st.one_of(st.none(), _size)
_passed = st.one_of(
    st.none(),
    st.builds(
        Passed,
        st.just("grpc"),
        count=_count,
        bytes=_count,
        largest=_count,
        reason=st.sampled_from([None, "message_cut"]),
    ),
)

transactions = st.builds(
    Transaction,
    id=_hexadecimal(16),
    protocol=st.sampled_from(["http/1.0", "http/1.1", "h2", "grpc", "websocket"]),
    side=st.sampled_from(["client", "server", "network"]),
    method=st.one_of(st.none(), st.sampled_from(["GET", "POST", "get", "PROPFIND"]), _text),
    scheme=st.sampled_from(["http", "https"]),
    authority=_authorities,
    path=_paths,
    request_lines=_lines,
    response_lines=_lines,
    request_trailers=st.just([]),
    response_trailers=st.just([]),
    status=st.one_of(st.none(), st.integers(100, 999)),
    grpc_status=st.one_of(st.none(), st.integers(0, 40)),
    request_body_size=_size,
    response_body_size=st.one_of(st.none(), _size),
    client=_addresses,
    server=_addresses,
    auth=st.one_of(st.none(), st.builds(Auth, _text, st.one_of(st.none(), _hexadecimal(32)))),
    sensitive=st.lists(
        st.builds(Sensitive, st.sampled_from(["email", "jwt"]), st.just("request.body"), st.just(1)), max_size=3
    ),
    binding=st.sampled_from([None, "socket", "set_fd", "nested", "ciphertext", "packet"]),
    pid=st.just(1),
    start_ns=_nanoseconds,
    duration_ns=st.one_of(st.none(), st.integers(0, 2**50)),
    ttfb_ns=st.one_of(st.none(), st.integers(0, 2**50)),
    trace_id=_hexadecimal(32),
    span_id=_hexadecimal(16),
    parent_span_id=st.one_of(st.none(), _hexadecimal(16)),
    anomalies=st.lists(_text, max_size=3),
    incomplete_reason=st.one_of(st.none(), st.sampled_from(sorted(INCOMPLETE_REASONS))),
    stream_id=st.one_of(st.none(), st.integers(1, 2**31 - 1)),
    conn_id=st.one_of(st.none(), _hexadecimal(8)),
    flow_id=_hexadecimal(8),
    encrypted=st.booleans(),
    tls=st.one_of(st.none(), st.builds(Tls, st.just("openssl"), st.one_of(st.none(), st.just("3.0.15")))),
    process=_processes,
    route=st.one_of(st.none(), st.just("/users/{id}")),
    trace_flags=st.integers(0, 255),
    trace_state=st.one_of(st.just(""), st.just("vendor=1"), _text),
    wall_offset_ns=st.integers(0, 2**60),
    operations=st.lists(_operations, max_size=2),
    messages=st.one_of(st.none(), st.builds(Messages, _passed, _passed)),
)
"""Any transaction, sensible or not, that the types allow."""
