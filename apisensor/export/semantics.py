"""What a span says beyond its attributes: name, kind, status; after OpenTelemetry's semantic conventions.

HTTP conventions (stable since 1.23.0) and RPC conventions (still in development) as of SCHEMA_URL. 1.37.0 is taken
because it is the last that has rpc.system, rpc.service and rpc.grpc.status_code, which back ends and dashboards know;
the HTTP part has not changed since.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from apisensor.events.model import Address

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"

KIND_SERVER, KIND_CLIENT = 2, 3
"""Span.SpanKind."""

KIND: Final = {"server": KIND_SERVER, "client": KIND_CLIENT, "network": KIND_SERVER}
"""By side. A packet capture belongs to neither process; INTERNAL would deny that a call crossed the network. SERVER:
like the server's view it descends from the context that the request carried, and a 4xx is not yet an error."""

KNOWN_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""RFC 9110 section 9 and RFC 5789. OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS replaces them."""

PROTOCOL: Final = {
    "http/1.0": ("http", "1.0"),
    "http/1.1": ("http", "1.1"),
    "h2": ("http", "2"),
    "grpc": ("http", "2"),
    "websocket": ("websocket", None),
}
"""Transaction.protocol: network.protocol.name, network.protocol.version."""

GRPC_STATUS: Final = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""Names by number (grpc.io, "Status codes")."""

DEFAULT_PORT: Final = {"http": 80, "https": 443}
"""RFC 9110 section 4.2: the port of an authority that names none."""

GRPC_UNIMPLEMENTED: Final = 12
GRPC_SERVER_ERRORS: Final = frozenset({2, 4, GRPC_UNIMPLEMENTED, 13, 14, 15})
"""The codes that are an error of the server; of a client's span every code but OK is one."""


class Verdict(NamedTuple):
    error: bool
    error_type: str | None


def verdict(kind: int, status: int | None, grpc_status: int | None) -> Verdict:
    """Whether the call failed. A response that was not seen is no failure: nothing is known about it."""
    if status is not None and (status >= 500 or (status >= 400 and kind == KIND_CLIENT)):
        return Verdict(True, str(status))
    if grpc_status and (kind == KIND_CLIENT or grpc_status in GRPC_SERVER_ERRORS):
        known = 0 < grpc_status < len(GRPC_STATUS)
        return Verdict(True, GRPC_STATUS[grpc_status] if known else str(grpc_status))
    return Verdict(False, None)


def rpc_method(path: str | None) -> tuple[str, str] | None:
    """Service and method of a gRPC request path, "/package.Service/Method"; None for any other path."""
    if path is None or not path.startswith("/"):
        return None
    service, slash, method = path[1:].partition("/")
    return (service, method) if slash and service and method and "/" not in method else None


def span_name(method: str | None, known: frozenset[str], route: str | None) -> str:
    """ "{method} {route}" or "{method}"; never the path, which has no bounded number of values."""
    name = method if method in known else "HTTP"
    return f"{name} {route}" if route else str(name)


def rpc_span_name(rpc: tuple[str, str] | None, grpc_status: int | None) -> str:
    """ "package.Service/Method" where the server knew the method. Else "grpc": anybody can send any path."""
    return f"{rpc[0]}/{rpc[1]}" if rpc is not None and server_knew_method(grpc_status) else "grpc"


def server_knew_method(grpc_status: int | None) -> bool:
    """Whether the answer shows that a gRPC path names a method, of which there are few, and not just any text."""
    return grpc_status is not None and grpc_status != GRPC_UNIMPLEMENTED


def split_authority(authority: str) -> tuple[str, int | None]:
    """Host (IPv6 without brackets, no user) and port; the port is None where there is none, or none that is valid."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        host, _, rest = host[1:].partition("]")
        digits = rest[1:] if rest.startswith(":") else ""
    elif host.count(":") == 1:
        host, _, digits = host.partition(":")
    else:
        digits = ""
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) <= 65535:
        return host, int(digits)
    return host, None


def server(authority: str | None, scheme: str, peer: Address | None) -> tuple[str | None, int | None]:
    """server.address and server.port.

    The address is what the client asked for, by name where it used one; the socket's where it did not say. A port that
    was not named is the socket's where that is known (a unix socket has none), else the scheme's.
    """
    if not authority:
        return (peer.address or None, peer.port) if peer is not None else (None, None)
    host, port = split_authority(authority)
    if port is None:
        port = peer.port if peer is not None else DEFAULT_PORT.get(scheme)
    return host, port


def without_user(authority: str) -> str:
    """The authority for url.full, which must not carry credentials."""
    user, at, host = authority.rpartition("@")
    if not at:
        return authority
    return f"REDACTED:REDACTED@{host}" if ":" in user else f"REDACTED@{host}"
