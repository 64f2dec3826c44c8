"""A second encoder, written from docs/export.md with opentelemetry-proto's classes: slow, plain and without caches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from apisensor.transactions.model import Transaction

METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
GRPC_NAMES = [
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
]


def any_value(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def key_values(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items() if value is not None]


def host_and_port(authority: str) -> tuple[str, str]:
    host = authority.rsplit("@", maxsplit=1)[-1]
    if host.startswith("["):
        inside, _, rest = host[1:].partition("]")
        return inside, rest[1:] if rest[:1] == ":" else ""
    if host.count(":") == 1:
        name, _, port = host.partition(":")
        return name, port
    return host, ""


def server_of(t: Transaction) -> tuple[str | None, int | None]:
    if not t.authority:
        return (t.server.address or None, t.server.port) if t.server else (None, None)
    host, digits = host_and_port(t.authority)
    if digits and all("0" <= c <= "9" for c in digits) and len(digits) < 6 and int(digits) < 65536:
        return host, int(digits)
    return host, t.server.port if t.server else {"http": 80, "https": 443}[t.scheme]


def failure(t: Transaction, client: bool) -> str | None:
    if t.status is not None and t.status >= (400 if client else 500):
        return str(t.status)
    if t.grpc_status and (client or t.grpc_status in {2, 4, 12, 13, 14, 15}):
        return GRPC_NAMES[t.grpc_status] if t.grpc_status < 17 else str(t.grpc_status)
    return None


def url_full(t: Transaction, path: str) -> str | None:
    if t.side != "client" or not t.authority or not (path.startswith("/") or path == "*"):
        return None
    user, at, host = t.authority.rpartition("@")
    if at:
        host = ("REDACTED:REDACTED@" if ":" in user else "REDACTED@") + host
    return f"{t.scheme}://{host}" + ("" if path == "*" else t.path or "")


def attributes(t: Transaction, capture: Sequence[str] = ()) -> dict[str, Any]:
    client = t.side == "client"
    path, _, query = (t.path or "").partition("?")
    address, port = server_of(t)
    peer, local = (t.server, t.client) if client else (t.client, t.server)
    versions = {"http/1.0": "1.0", "http/1.1": "1.1", "h2": "2", "grpc": "2"}
    agents = [v for n, v in t.request_headers or [] if n and n.lower() == "user-agent" and v is not None]
    found: dict[str, Any] = {
        "http.request.method": None if t.method is None else t.method if t.method in METHODS else "_OTHER",
        "http.request.method_original": t.method if t.method not in METHODS else None,
        "http.response.status_code": t.status,
        "http.request.body.size": t.request_body_size,
        "http.response.body.size": t.response_body_size,
        "url.template" if client else "http.route": t.route,
        "url.scheme": t.scheme,
        "url.path": None if t.path is None else path,
        "url.query": query if t.path is not None and "?" in t.path else None,
        "url.full": None if t.path is None else url_full(t, path),
        "server.address": address,
        "server.port": port,
        "client.address": None if client or not peer else peer.address or None,
        "client.port": None if client or not peer else peer.port,
        "network.transport": "unix" if peer and peer.port is None else None,
        "network.peer.address": (peer and peer.address) or None,
        "network.peer.port": peer and peer.port,
        "network.local.address": (local and local.address) or None,
        "network.local.port": local and local.port,
        "network.protocol.name": "http" if t.protocol in versions else t.protocol,
        "network.protocol.version": versions.get(t.protocol),
        "error.type": failure(t, client),
        "user_agent.original": agents[0] if agents else None,
        "tls.established": True if t.encrypted else None,
        "enduser.pseudo.id": t.auth.identity if t.auth else None,
        "apisensor.side": t.side,
        "apisensor.complete": t.incomplete_reason is None,
        "apisensor.incomplete_reason": t.incomplete_reason,
        "apisensor.binding": t.binding,
        "apisensor.transaction.id": t.id,
        "apisensor.connection.id": t.conn_id,
        "apisensor.stream.id": t.stream_id,
        "apisensor.anomalies": t.anomalies or None,
        "apisensor.sensitive": list(dict.fromkeys(s.kind for s in t.sensitive)) or None,
        "apisensor.auth.scheme": t.auth.scheme if t.auth else None,
        "apisensor.tls.library": t.tls.library if t.tls else None,
        "apisensor.tls.library_version": t.tls.library_version if t.tls else None,
        "apisensor.ttfb_ms": None if t.ttfb_ns is None else t.ttfb_ns / 1e6,
    }
    if t.protocol == "grpc":
        service, method = rpc(t)
        found |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        found["rpc.grpc.status_code"] = t.grpc_status
    found |= operations(t) | messages(t)
    for direction, headers in (("request", t.request_headers), ("response", t.response_headers)):
        for wanted in capture:
            values = [v for n, v in headers or [] if n is not None and n.lower() == wanted and v is not None]
            found[f"http.{direction}.header.{wanted}"] = values or None
    return {key: value for key, value in found.items() if value is not None}


def operations(t: Transaction) -> dict[str, Any]:
    if not t.operations:
        return {}
    words = [[one.protocol, one.kind, one.name, one.target] for one in t.operations]
    found: dict[str, Any] = {"apisensor.operations": [" ".join(filter(None, each)) for each in words]}
    asked = [one for one in t.operations if one.protocol != "sse"]
    if len(asked) != 1:
        return found
    (one,) = asked
    found |= {"apisensor.operation.fields": one.fields or None, "apisensor.operation.error": one.error}
    if t.protocol == "grpc":
        return found
    if one.protocol == "graphql":
        known = one.kind in {"query", "mutation", "subscription"}
        found |= {"graphql.operation.name": one.name, "graphql.operation.type": one.kind if known else None}
    if one.protocol == "json-rpc":
        found |= {"rpc.system": "jsonrpc", "rpc.jsonrpc.version": "2.0", "rpc.method": one.name}
    if one.protocol == "mcp":
        found["mcp.method.name"] = one.name
        found["gen_ai.tool.name"] = one.target if one.name == "tools/call" else None
        found["gen_ai.prompt.name"] = one.target if one.name == "prompts/get" else None
    if one.protocol in {"json-rpc", "mcp"} and re.fullmatch("-?[0-9]+", one.error or ""):
        code = int(one.error or "")
        found["rpc.jsonrpc.error_code"] = code if -(2**31) <= code < 2**31 else None
    if one.protocol == "grpc-web":
        found |= {"rpc.system": "grpc", "rpc.grpc.status_code": t.grpc_status}
        match = re.search(r"(?:^|/)([^/]+)/([^/]+)$", one.name or "", re.ASCII)
        if match and one.name and one.name.endswith(match[0]):
            found |= {"rpc.service": match[1], "rpc.method": match[2]}
    return found


def messages(t: Transaction) -> dict[str, Any]:
    if t.messages is None:
        return {}
    return {
        f"apisensor.messages.{way}.{key}": getattr(one, key)
        for way, one in (("request", t.messages.request), ("response", t.messages.response))
        if one is not None
        for key in ("count", "bytes", "largest", "reason")
    }


def rpc(t: Transaction) -> tuple[str | None, str | None]:
    pieces = (t.path or "").split("/")
    if len(pieces) == 3 and not pieces[0] and pieces[1] and pieces[2]:
        return pieces[1], pieces[2]
    return None, None


def name(t: Transaction) -> str:
    if t.protocol == "grpc":
        service, method = rpc(t)
        return "grpc" if service is None or t.grpc_status in {None, 12} else f"{service}/{method}"
    first = t.method if t.method in METHODS else "HTTP"
    return f"{first} {t.route}" if t.route else str(first)


def described(t: Transaction) -> str:
    """gRPC's own words for its status."""
    if t.grpc_status is None:
        return ""
    lines = [*t.response_trailers, *(t.response_headers or [])]
    named = [value for name, value in lines if (name or "").lower() == "grpc-message" and value is not None]
    return unquote(named[0]) if named else ""


def span(t: Transaction, capture: Sequence[str] = ()) -> Span:
    client = t.side == "client"
    start = t.start_ns + t.wall_offset_ns
    made = Span(
        trace_id=bytes.fromhex(t.trace_id),
        span_id=bytes.fromhex(t.span_id),
        parent_span_id=bytes.fromhex(t.parent_span_id or ""),
        trace_state=t.trace_state,
        name=name(t),
        kind=Span.SPAN_KIND_CLIENT if client else Span.SPAN_KIND_SERVER,
        start_time_unix_nano=start,
        end_time_unix_nano=start + (t.duration_ns or 0),
        attributes=sorted(key_values(attributes(t, capture)), key=lambda pair: pair.key),
        flags=t.trace_flags | (0x300 if t.parent_span_id else 0),
    )
    if failure(t, client) is not None:
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=described(t)))
    return made
