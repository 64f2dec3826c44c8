"""Which metric a transaction belongs to and with which attributes, by OpenTelemetry's semantic conventions.

HTTP metrics: stable since 1.23.0 ("Semantic conventions for HTTP metrics"). RPC metrics: as of 1.37.0, SCHEMA_URL of
the spans, in development: rpc.server.duration and rpc.client.duration, in milliseconds, with no advice on buckets, so
the SDK's default ones. A gRPC call is measured as an RPC only: in both it would be counted twice by whoever adds up.

Only attributes with few values are taken; those that a stranger can choose freely (an unknown method, the path of an
RPC that the server does not know, the Host of a request) are left out or are _OTHER. server.address of the client's
side is required by the convention and has as many values as the client has destinations: the limit on series is for
it.
"""

from __future__ import annotations

from typing import Final

from apisensor.export import semantics
from apisensor.metrics.model import Attributes, Metric
from apisensor.transactions.model import Transaction

HTTP_BOUNDS_NS: Final = tuple(
    milliseconds * 1_000_000
    for milliseconds in (5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000)
)
"""ExplicitBucketBoundaries that the HTTP convention advises, [0.005 ... 10] seconds."""
RPC_BOUNDS_NS: Final = tuple(
    milliseconds * 1_000_000
    for milliseconds in (0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000)
)
"""Default boundaries of the explicit bucket histogram (OpenTelemetry metrics SDK specification), as milliseconds."""

HTTP_SERVER: Final = Metric(
    "http.server.request.duration", "histogram", "s", "Duration of HTTP server requests.", HTTP_BOUNDS_NS
)
HTTP_CLIENT: Final = Metric(
    "http.client.request.duration", "histogram", "s", "Duration of HTTP client requests.", HTTP_BOUNDS_NS
)
RPC_SERVER: Final = Metric(
    "rpc.server.duration", "histogram", "ms", "Measures the duration of inbound RPC.", RPC_BOUNDS_NS
)
RPC_CLIENT: Final = Metric(
    "rpc.client.duration", "histogram", "ms", "Measures the duration of outbound RPC.", RPC_BOUNDS_NS
)
WITHOUT_DURATION: Final = Metric(
    "apisensor.calls.without_duration",
    "counter",
    "{call}",
    "Calls whose response was not seen; they are in no histogram, for their duration is not known.",
)
CALL_METRICS: Final = (HTTP_SERVER, HTTP_CLIENT, RPC_SERVER, RPC_CLIENT, WITHOUT_DURATION)

OVERFLOW: Final[Attributes] = (("otel.metric.overflow", True),)
"""Of the series that takes what no other has room for (metrics SDK specification, "Overflow attribute")."""

MOST_CHARACTERS = 1024
"""Of an attribute's value. DNS names end at 253; a longer value is an experiment, and would be kept for long."""


def text(value: str) -> str:
    """A value that every receiver takes: bounded, and without lone surrogates, which UTF-8 cannot hold."""
    return value[:MOST_CHARACTERS].encode(errors="replace").decode()


def measured(t: Transaction, known_methods: frozenset[str]) -> tuple[Metric, Attributes]:
    """The metric that counts the call, and its attributes. "network" counts like the server's side."""
    if t.duration_ns is None:
        side = "client" if t.side == "client" else "server"
        return WITHOUT_DURATION, (("apisensor.side", side), ("apisensor.incomplete_reason", t.incomplete_reason or ""))
    if t.protocol == "grpc":
        return _rpc(t)
    return _http(t, known_methods)


def _http(t: Transaction, known_methods: frozenset[str]) -> tuple[Metric, Attributes]:
    client = t.side == "client"
    protocol, version = semantics.PROTOCOL.get(t.protocol, (t.protocol, None))
    _, error_type = semantics.verdict(semantics.KIND[t.side], t.status, None)
    method = t.method if t.method is None or t.method in known_methods else "_OTHER"
    address, port = semantics.server(t.authority, t.scheme, t.server) if client else (None, None)
    values = {
        "http.request.method": method,
        "url.scheme": t.scheme,
        "http.response.status_code": t.status,
        "error.type": error_type,
        "http.route": None if client else t.route,
        # Required only where it is not "http".
        "network.protocol.name": None if protocol == "http" else protocol,
        "network.protocol.version": version,
        "server.address": address,
        "server.port": port,
    }
    return HTTP_CLIENT if client else HTTP_SERVER, _known(values)


def _rpc(t: Transaction) -> tuple[Metric, Attributes]:
    client = t.side == "client"
    _, error_type = semantics.verdict(semantics.KIND[t.side], t.status, t.grpc_status)
    named = semantics.rpc_method(t.path) if semantics.server_knew_method(t.grpc_status) else None
    service, method = named or (None, None)
    address, port = semantics.server(t.authority, t.scheme, t.server) if client else (None, None)
    values = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": t.grpc_status,
        "error.type": error_type,
        "server.address": address,
        "server.port": port,
    }
    return RPC_CLIENT if client else RPC_SERVER, _known(values)


def _known(values: dict[str, str | int | None]) -> Attributes:
    return tuple(
        (name, text(value) if isinstance(value, str) else value) for name, value in values.items() if value is not None
    )
