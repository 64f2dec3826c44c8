"""Which metric and which attributes, beside the tables of the semantic conventions."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from opentelemetry.semconv._incubating.metrics import rpc_metrics
from opentelemetry.semconv.metrics import http_metrics

from apisensor.events.model import Address
from apisensor.export.semantics import KNOWN_METHODS
from apisensor.metrics.conventions import (
    HTTP_CLIENT,
    HTTP_SERVER,
    MOST_CHARACTERS,
    RPC_CLIENT,
    RPC_SERVER,
    measured,
)
from apisensor.transactions.model import Transaction
from tests.export import reference
from tests.export.records import call, transactions


def attributes(t: Transaction) -> dict[str, Any]:
    return dict(measured(t, KNOWN_METHODS)[1])


def name(t: Transaction) -> str:
    return measured(t, KNOWN_METHODS)[0].name


def test_names_are_the_conventions() -> None:
    assert HTTP_SERVER.name == http_metrics.HTTP_SERVER_REQUEST_DURATION
    assert HTTP_CLIENT.name == http_metrics.HTTP_CLIENT_REQUEST_DURATION
    assert RPC_SERVER.name == rpc_metrics.RPC_SERVER_DURATION
    assert RPC_CLIENT.name == rpc_metrics.RPC_CLIENT_DURATION


@pytest.mark.parametrize("side", ["server", "network"])
def test_a_servers_view(side: str) -> None:
    t = call(side=side, route="/users/{id}", status=503)
    assert name(t) == "http.server.request.duration"
    assert attributes(t) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "http.response.status_code": 503,
        "error.type": "503",
        "http.route": "/users/{id}",
        "network.protocol.version": "1.1",
    }


def test_a_clients_view() -> None:
    t = call(side="client", route="/users/{id}", status=404, protocol="h2", authority="api.example.com")
    assert name(t) == "http.client.request.duration"
    assert attributes(t) == {
        "http.request.method": "GET",
        "url.scheme": "https",
        "http.response.status_code": 404,
        "error.type": "404",
        "network.protocol.version": "2",
        "server.address": "api.example.com",
        "server.port": 8443,
    }


def test_a_client_that_names_nobody_has_the_sockets_server() -> None:
    found = attributes(call(side="client", authority=None, server=Address("::1", 80)))
    assert (found["server.address"], found["server.port"]) == ("::1", 80)
    found = attributes(call(side="client", authority=None, server=None))
    assert not {"server.address", "server.port"} & set(found)


def test_what_is_not_known_is_absent_and_no_error() -> None:
    found = attributes(call(status=None, method=None, incomplete_reason="ring_full"))
    assert found == {"url.scheme": "https", "network.protocol.version": "1.1"}


def test_websocket_is_named() -> None:
    found = attributes(call(protocol="websocket", status=101))
    assert found["network.protocol.name"] == "websocket"
    assert "network.protocol.version" not in found


@pytest.mark.parametrize(("side", "error"), [("server", None), ("client", "NOT_FOUND")])
def test_grpc_is_measured_as_rpc_only(side: str, error: str | None) -> None:
    t = call(protocol="grpc", side=side, path="/shop.Cart/Add", grpc_status=5, method="POST")
    assert name(t) == f"rpc.{side}.duration"
    expected = {"rpc.system": "grpc", "rpc.service": "shop.Cart", "rpc.method": "Add", "rpc.grpc.status_code": 5}
    if side == "client":
        expected |= {"error.type": error, "server.address": "api.example.com", "server.port": 8443}
    assert attributes(t) == expected


@pytest.mark.parametrize("grpc_status", [None, 12])
def test_a_path_that_no_server_knew_is_no_attribute(grpc_status: int | None) -> None:
    found = attributes(call(protocol="grpc", path="/attack.Random/17", grpc_status=grpc_status))
    assert not {"rpc.service", "rpc.method"} & set(found)


def test_values_are_bounded_and_can_be_encoded() -> None:
    found = attributes(call(side="client", authority="\ud800" + "x" * 10_000))
    assert found["server.address"] == "?" + "x" * (MOST_CHARACTERS - 1)


@given(transactions)
def test_attributes_agree_with_the_span(t: Transaction) -> None:
    span = reference.attributes(t)
    for key, value in attributes(t).items():
        if key not in {"apisensor.incomplete_reason", "apisensor.side", "error.type"} and isinstance(value, int):
            assert span[key] == value
    if t.protocol != "grpc" and t.duration_ns is not None and t.grpc_status is None:
        assert attributes(t).get("error.type") == span.get("error.type")
