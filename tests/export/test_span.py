"""Spans field by field, and every transaction hypothesis finds against the reference encoder."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ScopeSpans, Span, Status

from apisensor.events.model import Address
from apisensor.export.span import ENDS, NAMES, SHAPES, SpanEncoder
from apisensor.protocols.counted import Passed
from apisensor.transactions.model import Auth, Messages, Operation, Sensitive, Tls, Transaction
from tests.export import reference
from tests.export.records import PLAIN, WALL_OFFSET_NS, call, transactions

ENCODER = SpanEncoder()
CAPTURE = ("x-tenant", "accept")
CAPTURING = SpanEncoder(
    server_request_headers=CAPTURE,
    server_response_headers=CAPTURE,
    client_request_headers=CAPTURE,
    client_response_headers=CAPTURE,
)


def decode(t: Transaction, encoder: SpanEncoder = ENCODER) -> Span:
    (decoded,) = ScopeSpans.FromString(encoder.encode(t)).spans
    return decoded


def python_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    if kind == "array_value":
        return [python_value(item) for item in value.array_value.values]
    return getattr(value, kind)


def attributes(t: Transaction, encoder: SpanEncoder = ENCODER) -> dict[str, Any]:
    pairs = [(pair.key, python_value(pair.value)) for pair in decode(t, encoder).attributes]
    assert len(dict(pairs)) == len(pairs), "an attribute twice"
    return dict(pairs)


@given(transactions, st.booleans())
@settings(max_examples=400, deadline=None)
def test_every_transaction_equals_the_reference_encoding(t: Transaction, capturing: bool) -> None:
    # One encoder for all examples: what its caches answer must not depend on what came before.
    found = decode(t, CAPTURING if capturing else ENCODER)
    found.attributes.sort(key=lambda pair: pair.key)
    assert found == reference.span(t, CAPTURE if capturing else ())


def test_a_server_span_field_by_field() -> None:
    found = decode(PLAIN)
    assert found.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert found.span_id.hex() == "00f067aa0ba902b7"
    assert found.parent_span_id.hex() == "53995c3f42cd8ad8"
    assert found.trace_state == ""
    assert found.flags == 0x301
    assert found.name == "GET"
    assert found.kind == Span.SPAN_KIND_SERVER
    assert found.start_time_unix_nano == WALL_OFFSET_NS + 5_000_000_000
    assert found.end_time_unix_nano == WALL_OFFSET_NS + 5_002_500_000
    assert found.status == Status()
    assert not found.events
    assert not found.links
    assert attributes(PLAIN) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.request.body.size": 0,
        "http.response.body.size": 1234,
        "url.scheme": "https",
        "url.path": "/users/17",
        "url.query": "page=2",
        "server.address": "api.example.com",
        "server.port": 8443,
        "client.address": "10.0.0.1",
        "client.port": 40001,
        "network.peer.address": "10.0.0.1",
        "network.peer.port": 40001,
        "network.local.address": "10.0.0.2",
        "network.local.port": 8443,
        "network.protocol.name": "http",
        "network.protocol.version": "1.1",
        "user_agent.original": "curl/8.5.0",
        "tls.established": True,
        "apisensor.side": "server",
        "apisensor.complete": True,
        "apisensor.binding": "nested",
        "apisensor.transaction.id": "00f067aa0ba902b7",
        "apisensor.connection.id": "2a",
        "apisensor.ttfb_ms": 1.5,
    }


def test_a_client_span_has_the_whole_url_and_the_server_as_its_peer() -> None:
    t = call(side="client", route="/users/{id}")
    found = attributes(t)
    assert decode(t).kind == Span.SPAN_KIND_CLIENT
    assert decode(t).name == "GET /users/{id}"
    assert found["url.full"] == "https://api.example.com:8443/users/17?page=2"
    assert found["url.template"] == "/users/{id}"
    assert (found["network.peer.address"], found["network.peer.port"]) == ("10.0.0.2", 8443)
    assert (found["network.local.address"], found["network.local.port"]) == ("10.0.0.1", 40001)
    assert not {"client.address", "client.port", "http.route"} & found.keys()


def test_a_network_observation_is_a_server_span_that_says_so() -> None:
    t = call(side="network", process=None, binding="packet", status=404)
    assert decode(t).kind == Span.SPAN_KIND_SERVER
    assert decode(t).status == Status()
    assert attributes(t)["apisensor.side"] == "network"


def test_a_response_that_was_not_seen_is_no_error_and_has_no_duration() -> None:
    t = call(
        status=None, response_body_size=None, duration_ns=None, ttfb_ns=None, incomplete_reason="response_not_seen"
    )
    found = attributes(t)
    assert decode(t).status == Status()
    assert decode(t).start_time_unix_nano == decode(t).end_time_unix_nano
    assert found["apisensor.complete"] is False
    assert found["apisensor.incomplete_reason"] == "response_not_seen"
    absent = {"http.response.status_code", "http.response.body.size", "error.type", "apisensor.ttfb_ms"}
    assert not absent & found.keys()


@pytest.mark.parametrize(
    ("side", "status", "error"),
    [
        ("server", 399, False),
        ("server", 404, False),
        ("server", 499, False),
        ("server", 500, True),
        ("network", 404, False),
        ("network", 503, True),
        ("client", 304, False),
        ("client", 400, True),
        ("client", 599, True),
    ],
)
def test_status_by_side(side: str, status: int, error: bool) -> None:
    t = call(side=side, status=status)
    assert decode(t).status.code == (Status.STATUS_CODE_ERROR if error else Status.STATUS_CODE_UNSET)
    assert attributes(t).get("error.type") == (str(status) if error else None)


@pytest.mark.parametrize(
    ("side", "code", "error_type"),
    [
        ("server", 0, None),
        ("server", 5, None),
        ("server", 14, "UNAVAILABLE"),
        ("client", 5, "NOT_FOUND"),
        ("client", 99, "99"),
        ("client", None, None),
    ],
)
def test_grpc(side: str, code: int | None, error_type: str | None) -> None:
    t = call(side=side, protocol="grpc", method="POST", path="/shop.v1.Cart/Add", grpc_status=code)
    found = attributes(t)
    assert (found["rpc.system"], found["rpc.service"], found["rpc.method"]) == ("grpc", "shop.v1.Cart", "Add")
    assert found.get("rpc.grpc.status_code") == code
    assert found.get("error.type") == error_type
    assert (decode(t).status.code == Status.STATUS_CODE_ERROR) == (error_type is not None)
    assert (found["network.protocol.name"], found["network.protocol.version"]) == ("http", "2")


@pytest.mark.parametrize(
    ("side", "code", "message", "described"),
    [
        ("client", 7, "not%20yours", "not yours"),
        ("server", 13, "broken", "broken"),
        ("server", 7, "not%20yours", ""),  # no error of the server's
        ("client", 0, "fine", ""),
        ("client", 7, None, ""),
    ],
)
def test_grpc_says_why_in_the_description(side: str, code: int, message: str | None, described: str) -> None:
    t = call(side=side, protocol="grpc", path="/a.B/C", grpc_status=code)
    t.response_trailers = [("grpc-status", str(code)), ("grpc-message", message)]
    assert decode(t).status.message == reference.span(t).status.message == described


@pytest.mark.parametrize(
    ("path", "code", "name"),
    [
        ("/shop.v1.Cart/Add", 0, "shop.v1.Cart/Add"),
        ("/shop.v1.Cart/Add", 5, "shop.v1.Cart/Add"),
        ("/made.up/" + "x" * 50, 12, "grpc"),
        ("/shop.v1.Cart/Add", None, "grpc"),
        ("/a/b/c", 0, "grpc"),
        (None, 0, "grpc"),
    ],
)
def test_grpc_names_are_those_the_server_knows(path: str | None, code: int | None, name: str) -> None:
    assert decode(call(protocol="grpc", method="POST", path=path, grpc_status=code)).name == name


@pytest.mark.parametrize(
    ("method", "name", "reported", "original"),
    [
        ("DELETE", "DELETE", "DELETE", None),
        ("delete", "HTTP", "_OTHER", "delete"),
        ("PROPFIND", "HTTP", "_OTHER", "PROPFIND"),
        ("", "HTTP", "_OTHER", ""),
        (None, "HTTP", None, None),
    ],
)
def test_methods(method: str | None, name: str, reported: str | None, original: str | None) -> None:
    t = call(method=method)
    assert decode(t).name == name
    assert attributes(t).get("http.request.method") == reported
    assert attributes(t).get("http.request.method_original") == original


def test_known_methods_can_be_replaced() -> None:
    encoder = SpanEncoder(known_methods=frozenset({"PROPFIND"}))
    assert decode(call(method="PROPFIND"), encoder).name == "PROPFIND"
    assert decode(call(method="GET"), encoder).name == "HTTP"


@pytest.mark.parametrize(
    ("authority", "server", "scheme", "expected"),
    [
        ("example.com:8080", Address("10.0.0.2", 80), "http", ("example.com", 8080)),
        ("example.com", Address("10.0.0.2", 8080), "http", ("example.com", 8080)),
        ("example.com", None, "http", ("example.com", 80)),
        ("example.com", None, "https", ("example.com", 443)),
        ("[2001:db8::1]:81", None, "http", ("2001:db8::1", 81)),
        ("[2001:db8::1]", None, "http", ("2001:db8::1", 80)),
        ("user:password@example.com:81", None, "http", ("example.com", 81)),
        ("example.com:99999", Address("10.0.0.2", 8080), "http", ("example.com", 8080)),
        ("example.com:\uff18\uff10", Address("10.0.0.2", 8080), "http", ("example.com", 8080)),
        (None, Address("10.0.0.2", 8080), "http", ("10.0.0.2", 8080)),
        ("", Address("10.0.0.2", 8080), "http", ("10.0.0.2", 8080)),
        (None, None, "http", (None, None)),
    ],
)
def test_server_address(
    authority: str | None, server: Address | None, scheme: str, expected: tuple[str | None, int | None]
) -> None:
    found = attributes(call(authority=authority, server=server, scheme=scheme))
    assert (found.get("server.address"), found.get("server.port")) == expected


@pytest.mark.parametrize(
    ("authority", "path", "url"),
    [
        ("example.com", "/a?b=c", "https://example.com/a?b=c"),
        ("user:password@example.com", "/", "https://REDACTED:REDACTED@example.com/"),
        ("user@example.com", "/", "https://REDACTED@example.com/"),
        ("example.com", "*", "https://example.com"),
        ("example.com:443", "example.com:443", None),
        (None, "/a", None),
        ("example.com", None, None),
    ],
)
def test_url_full(authority: str | None, path: str | None, url: str | None) -> None:
    assert attributes(call(side="client", authority=authority, path=path)).get("url.full") == url


def test_what_the_sensor_found_out() -> None:
    found = attributes(
        call(
            auth=Auth("bearer", "ab" * 16),
            anomalies=["obsolete-line-folding", "invalid-utf8"],
            sensitive=[
                Sensitive("email", "request.body", 2),
                Sensitive("email", "response.body", 1),
                Sensitive("jwt", "request.header", 1),
            ],
            tls=Tls("openssl", "3.0.15"),
            stream_id=5,
        )
    )
    assert found["apisensor.auth.scheme"] == "bearer"
    assert found["enduser.pseudo.id"] == "ab" * 16
    assert found["apisensor.anomalies"] == ["obsolete-line-folding", "invalid-utf8"]
    assert found["apisensor.sensitive"] == ["email", "jwt"]
    assert (found["apisensor.tls.library"], found["apisensor.tls.library_version"]) == ("openssl", "3.0.15")
    assert found["apisensor.stream.id"] == 5


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        (
            [Operation("graphql", "query", "Cart", fields=["cart", "user"], error="UNAUTHENTICATED")],
            {
                "apisensor.operations": ["graphql query Cart"],
                "apisensor.operation.fields": ["cart", "user"],
                "apisensor.operation.error": "UNAUTHENTICATED",
                "graphql.operation.type": "query",
                "graphql.operation.name": "Cart",
            },
        ),
        (
            [Operation("graphql", "persisted", "Cart")],
            {"apisensor.operations": ["graphql persisted Cart"], "graphql.operation.name": "Cart"},
        ),
        (
            [Operation("json-rpc", "call", "eth_call", error="-32601")],
            {
                "apisensor.operations": ["json-rpc call eth_call"],
                "apisensor.operation.error": "-32601",
                "rpc.system": "jsonrpc",
                "rpc.method": "eth_call",
                "rpc.jsonrpc.version": "2.0",
                "rpc.jsonrpc.error_code": -32601,
            },
        ),
        (
            [Operation("mcp", "call", "tools/call", "search"), Operation("sse", "stream")],
            {
                "apisensor.operations": ["mcp call tools/call search", "sse stream"],
                "mcp.method.name": "tools/call",
                "gen_ai.tool.name": "search",
            },
        ),
        (
            [Operation("mcp", "call", "resources/read", "file")],
            {"apisensor.operations": ["mcp call resources/read file"], "mcp.method.name": "resources/read"},
        ),
        (
            [Operation("grpc-web", "unary", "api/shop.v1.Cart/Add", fields=["item"])],
            {
                "apisensor.operations": ["grpc-web unary api/shop.v1.Cart/Add"],
                "apisensor.operation.fields": ["item"],
                "rpc.system": "grpc",
                "rpc.service": "shop.v1.Cart",
                "rpc.method": "Add",
                "rpc.grpc.status_code": 5,
            },
        ),
        (
            [Operation("soap", "1.1", "urn:Add", fields=["Add"], error="soap:Server")],
            {
                "apisensor.operations": ["soap 1.1 urn:Add"],
                "apisensor.operation.fields": ["Add"],
                "apisensor.operation.error": "soap:Server",
            },
        ),
        (
            [Operation("json-rpc", "call", "a", error="1"), Operation("json-rpc", "notification", "b")],
            {"apisensor.operations": ["json-rpc call a", "json-rpc notification b"]},
        ),
    ],
)
def test_operations(operations: list[Operation], expected: dict[str, Any]) -> None:
    plain = attributes(call(grpc_status=5))
    found = attributes(call(grpc_status=5, operations=operations))
    assert {key: value for key, value in found.items() if key not in plain} == expected
    assert {key: value for key, value in found.items() if key in plain} == plain


def test_messages_are_counted() -> None:
    messages = Messages(Passed("grpc", 3, 300, 200, 0), Passed("grpc", reason="ring_full"))
    found = attributes(call(messages=messages))
    assert {key: value for key, value in found.items() if ".messages." in key} == {
        "apisensor.messages.request.count": 3,
        "apisensor.messages.request.bytes": 300,
        "apisensor.messages.request.largest": 200,
        "apisensor.messages.response.reason": "ring_full",
    }
    assert not decode(call(messages=messages)).events


def test_what_an_operation_adds_is_bounded() -> None:
    most = [Operation("soap", "1.1", "n" * 256, "t" * 128, fields=["f" * 128] * 32, error="e" * 256)] * 16
    plain = len(ENCODER.encode(PLAIN))
    assert len(ENCODER.encode(call(operations=most))) - plain < 8_000
    assert len(ENCODER.encode(call(operations=most[:1]))) - plain < 6_000


def test_headers_are_exported_only_when_asked_for() -> None:
    headers = [("Accept", "a"), ("accept", "b"), (None, "c"), ("Accept", None), ("Cookie", "secret")]
    t = call(request_headers=headers, response_headers=None)
    assert not any(".header." in key for key in attributes(t))
    found = attributes(t, CAPTURING)
    assert {key: value for key, value in found.items() if ".header." in key} == {
        "http.request.header.accept": ["a", "b"]
    }


def test_a_root_span_has_no_parent_and_no_remote_flag() -> None:
    found = decode(call(parent_span_id=None, trace_state="a=1,b=2", trace_flags=0))
    assert (found.parent_span_id, found.flags, found.trace_state) == (b"", 0, "a=1,b=2")


@pytest.mark.parametrize(
    "changes",
    [
        {"trace_id": "12"},
        {"span_id": "0" * 18, "trace_id": "0" * 30},
        {"trace_id": "x" * 32},
        {"parent_span_id": ""},
        {"start_ns": -(2**62), "wall_offset_ns": 0},
        {"duration_ns": 2**64},
    ],
)
def test_what_cannot_be_a_span_raises(changes: dict[str, Any]) -> None:
    with pytest.raises((ValueError, struct.error)):
        ENCODER.encode(call(**changes))


def test_caches_are_bounded() -> None:
    encoder = SpanEncoder()
    for n in range(SHAPES + 100):
        encoder.encode(call(method=f"M{n}", authority=f"h{n}", client=Address("10.0.0.1", n)))
    caches = (encoder._shape, encoder._ends, encoder._authority)
    assert [cache.cache_info().currsize for cache in caches] == [SHAPES, ENDS, NAMES]
