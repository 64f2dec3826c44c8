"""Transaction -> the bytes of one OTLP Span, as an element of ScopeSpans.spans.

This is the export's hot path. What few values can be combined from (method, status, route, protocol, ...) is encoded
once and kept in bounded caches; what differs from span to span (ids, times, path, sizes) is written directly.

    Span { trace_id = 1; span_id = 2; trace_state = 3; parent_span_id = 4; name = 5; kind = 6;
           fixed64 start = 7; fixed64 end = 8; attributes = 9; Status status = 15 { message = 2; code = 3 };
           fixed32 flags = 16 }
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from apisensor.events.model import Address
from apisensor.export import semantics
from apisensor.export.operation import (
    RPC_GRPC_STATUS,
    RPC_METHOD,
    RPC_SERVICE,
    RPC_SYSTEM,
    encode_messages,
    encode_operations,
)
from apisensor.export.wire import (
    FIXED32,
    BoolAttribute,
    DoubleAttribute,
    IntAttribute,
    StringAttribute,
    StringsAttribute,
    length_delimited,
    tag,
    utf8,
    varint,
)
from apisensor.transactions.grpc_message import grpc_message
from apisensor.transactions.lines import NULL, Line, beginning, first, text_of
from apisensor.transactions.model import Tls, Transaction

SHAPES: Final = 4096
"""Combinations of method, status, route and the like that stay encoded; some 1 KB each."""
ENDS: Final = 4096
"""Pairs of addresses that stay encoded: about the connections that are busy at a time."""
NAMES: Final = 1024
"""Authorities, user agents, and combinations of what was found in a call, that stay encoded."""

HAS_IS_REMOTE: Final = 0x100
IS_REMOTE: Final = 0x200
"""Span.flags: whether the parent is remote is known; it is. Set with a parent, which always came with the request."""

_FLAGS_TAG: Final = tag(16, FIXED32)
_pack_times: Final = struct.Struct("<BQBQ").pack
_pack_flags: Final = struct.Struct("<I").pack
_ERROR_CODE: Final = b"\x18\x02"
_ERROR_STATUS: Final = length_delimited(15, _ERROR_CODE)
"""Status { code = STATUS_CODE_ERROR }; without description, which of HTTP says nothing that error.type does not."""

_USER_AGENT: Final = beginning("user-agent")

METHOD: Final = StringAttribute("http.request.method")
METHOD_ORIGINAL: Final = StringAttribute("http.request.method_original")
STATUS_CODE: Final = IntAttribute("http.response.status_code")
ROUTE: Final = StringAttribute("http.route")
URL_TEMPLATE: Final = StringAttribute("url.template")
URL_SCHEME: Final = StringAttribute("url.scheme")
URL_PATH: Final = StringAttribute("url.path")
URL_QUERY: Final = StringAttribute("url.query")
URL_FULL: Final = StringAttribute("url.full")
SERVER_ADDRESS: Final = StringAttribute("server.address")
SERVER_PORT: Final = IntAttribute("server.port")
CLIENT_ADDRESS: Final = StringAttribute("client.address")
CLIENT_PORT: Final = IntAttribute("client.port")
PEER_ADDRESS: Final = StringAttribute("network.peer.address")
PEER_PORT: Final = IntAttribute("network.peer.port")
LOCAL_ADDRESS: Final = StringAttribute("network.local.address")
LOCAL_PORT: Final = IntAttribute("network.local.port")
TRANSPORT: Final = StringAttribute("network.transport")
_UNIX: Final = TRANSPORT.of("unix")
PROTOCOL_NAME: Final = StringAttribute("network.protocol.name")
PROTOCOL_VERSION: Final = StringAttribute("network.protocol.version")
ERROR_TYPE: Final = StringAttribute("error.type")
USER_AGENT: Final = StringAttribute("user_agent.original")
REQUEST_SIZE: Final = IntAttribute("http.request.body.size")
RESPONSE_SIZE: Final = IntAttribute("http.response.body.size")
TLS_ESTABLISHED: Final = BoolAttribute("tls.established")
PSEUDO_ID: Final = StringAttribute("enduser.pseudo.id")
# What the conventions have no name for.
SIDE: Final = StringAttribute("apisensor.side")
COMPLETE: Final = BoolAttribute("apisensor.complete")
INCOMPLETE_REASON: Final = StringAttribute("apisensor.incomplete_reason")
BINDING: Final = StringAttribute("apisensor.binding")
TRANSACTION_ID: Final = StringAttribute("apisensor.transaction.id")
CONNECTION_ID: Final = StringAttribute("apisensor.connection.id")
STREAM_ID: Final = IntAttribute("apisensor.stream.id")
ANOMALIES: Final = StringsAttribute("apisensor.anomalies", 9)
SENSITIVE: Final = StringsAttribute("apisensor.sensitive", 9)
AUTH_SCHEME: Final = StringAttribute("apisensor.auth.scheme")
TLS_LIBRARY: Final = StringAttribute("apisensor.tls.library")
TLS_LIBRARY_VERSION: Final = StringAttribute("apisensor.tls.library_version")
TTFB: Final = DoubleAttribute("apisensor.ttfb_ms")


class HeaderCapture:
    """The header fields that become attributes, `prefix` + "." + lower-case name, each an array of its values."""

    def __init__(self, prefix: str, names: Sequence[str]) -> None:
        self._attributes = {name.lower(): StringsAttribute(f"{prefix}.{name.lower()}", 9) for name in names}

    def __bool__(self) -> bool:
        return bool(self._attributes)

    def encode(self, headers: list[Line] | None) -> bytes:
        values: dict[str, list[str]] = {}
        for name, value in headers or ():
            if name is not None and value is not None and (key := name.lower()) in self._attributes:
                values.setdefault(key, []).append(value)
        return b"".join(self._attributes[key].of(texts) for key, texts in values.items())


class SpanEncoder:
    """Encodes transactions; holds the caches. One thread uses it."""

    def __init__(
        self,
        *,
        known_methods: frozenset[str] = semantics.KNOWN_METHODS,
        server_request_headers: Sequence[str] = (),
        server_response_headers: Sequence[str] = (),
        client_request_headers: Sequence[str] = (),
        client_response_headers: Sequence[str] = (),
    ) -> None:
        self._known_methods = known_methods
        capture = {
            "server": (
                HeaderCapture("http.request.header", server_request_headers),
                HeaderCapture("http.response.header", server_response_headers),
            ),
            "client": (
                HeaderCapture("http.request.header", client_request_headers),
                HeaderCapture("http.response.header", client_response_headers),
            ),
        }
        capture["network"] = capture["server"]
        self._header_capture = {side: pair for side, pair in capture.items() if any(pair)}
        self._shape = lru_cache(SHAPES)(self._encode_shape)
        self._ends = lru_cache(ENDS)(_encode_ends)
        self._authority = lru_cache(NAMES)(_encode_authority)
        self._user_agent = lru_cache(NAMES)(_encode_user_agent)
        self._found = lru_cache(NAMES)(_encode_found)

    def encode(self, t: Transaction) -> bytes:
        """One element of ScopeSpans.spans, tag and length included.

        Raises:
            ValueError, struct.error: ids that are not 32 and 16 hexadecimal digits, or a time outside 64 bits.
        """
        if len(t.trace_id) != 32 or len(t.span_id) != 16:
            raise ValueError("trace_id needs 32 digits, span_id 16")
        flags = t.trace_flags & 0xFF
        if t.parent_span_id is None:
            ids = bytes.fromhex(f"0a10{t.trace_id}1208{t.span_id}")
        else:
            if len(t.parent_span_id) != 16:
                raise ValueError("parent_span_id needs 16 digits")
            ids = bytes.fromhex(f"0a10{t.trace_id}1208{t.span_id}2208{t.parent_span_id}")
            flags |= HAS_IS_REMOTE | IS_REMOTE
        start = t.start_ns + t.wall_offset_ns
        end = start if t.duration_ns is None else start + t.duration_ns
        named, described, status = self._shape(
            t.side,
            t.method,
            t.scheme,
            t.protocol,
            t.status,
            t.grpc_status,
            t.route,
            t.encrypted,
            t.binding,
            t.incomplete_reason,
            t.path if t.protocol == "grpc" else None,
        )
        client = t.side == "client"
        parts = [ids, named, _pack_times(0x39, start, 0x41, end), described]
        add = parts.append
        if t.trace_state:
            add(length_delimited(3, utf8(t.trace_state)))
        prefix = None
        if t.authority is not None or t.server is not None:
            addressed, prefix = self._authority(t.authority, t.scheme, t.server)
            add(addressed)
        if t.path is not None:
            path, mark, query = t.path.partition("?")
            add(URL_PATH.of(path))
            if mark:
                add(URL_QUERY.of(query))
            if client and prefix is not None and (path.startswith("/") or path == "*"):
                add(URL_FULL.of(prefix if path == "*" else prefix + t.path))
        if t.client is not None or t.server is not None:
            add(self._ends(t.client, t.server, client))
        if t.request_lines is not None:
            agent = first(t.request_lines, _USER_AGENT)
            if agent is not None and agent != NULL:
                add(self._user_agent(agent))
        add(REQUEST_SIZE.of(t.request_body_size))
        if t.response_body_size is not None:
            add(RESPONSE_SIZE.of(t.response_body_size))
        if t.ttfb_ns is not None:
            add(TTFB.of(t.ttfb_ns / 1_000_000))
        add(TRANSACTION_ID.of(t.id))
        if t.conn_id is not None:
            add(CONNECTION_ID.of(t.conn_id))
        if t.stream_id is not None:
            add(STREAM_ID.of(t.stream_id))
        auth = t.auth
        if auth is not None and auth.identity is not None:
            add(PSEUDO_ID.of(auth.identity))
        if t.anomalies:
            add(ANOMALIES.of(t.anomalies))
        kinds = tuple([found.kind for found in t.sensitive])
        if kinds or auth is not None or t.tls is not None:
            add(self._found(None if auth is None else auth.scheme, t.tls, kinds))
        if t.operations:
            add(encode_operations(t.operations, t.protocol, t.grpc_status))
        if t.messages is not None:
            add(encode_messages(t.messages))
        if t.side in self._header_capture:
            request, response = self._header_capture[t.side]
            add(request.encode(t.request_headers))
            add(response.encode(t.response_headers))
        if status and t.grpc_status is not None and (message := grpc_message(t)) is not None:
            status = length_delimited(15, length_delimited(2, utf8(message)) + _ERROR_CODE)
        add(status)
        add(_FLAGS_TAG)
        add(_pack_flags(flags))
        span = b"".join(parts)
        return b"\x12" + varint(len(span)) + span

    def _encode_shape(
        self,
        side: str,
        method: str | None,
        scheme: str,
        protocol: str,
        status: int | None,
        grpc_status: int | None,
        route: str | None,
        encrypted: bool,
        binding: str | None,
        incomplete_reason: str | None,
        rpc_path: str | None,
    ) -> tuple[bytes, bytes, bytes]:
        """Name and kind; the attributes that follow from the arguments; status."""
        kind = semantics.KIND[side]
        known = method in self._known_methods
        error, error_type = semantics.verdict(kind, status, grpc_status)
        protocol_name, protocol_version = semantics.PROTOCOL.get(protocol, (protocol, None))
        attributes = [URL_SCHEME.of(scheme), PROTOCOL_NAME.of(protocol_name), SIDE.of(side)]
        add = attributes.append
        if method is not None:
            add(METHOD.of(method if known else "_OTHER"))
            if not known:
                add(METHOD_ORIGINAL.of(method))
        if status is not None:
            add(STATUS_CODE.of(status))
        if route is not None:
            add(URL_TEMPLATE.of(route) if side == "client" else ROUTE.of(route))
        if protocol_version is not None:
            add(PROTOCOL_VERSION.of(protocol_version))
        if error_type is not None:
            add(ERROR_TYPE.of(error_type))
        if encrypted:
            add(TLS_ESTABLISHED.of(True))
        if binding is not None:
            add(BINDING.of(binding))
        add(COMPLETE.of(incomplete_reason is None))
        if incomplete_reason is not None:
            add(INCOMPLETE_REASON.of(incomplete_reason))
        if protocol == "grpc":
            add(RPC_SYSTEM.of("grpc"))
            rpc = semantics.rpc_method(rpc_path)
            if rpc is not None:
                add(RPC_SERVICE.of(rpc[0]))
                add(RPC_METHOD.of(rpc[1]))
            if grpc_status is not None:
                add(RPC_GRPC_STATUS.of(grpc_status))
            name = semantics.rpc_span_name(rpc, grpc_status)
        else:
            name = semantics.span_name(method, self._known_methods, route)
        named = length_delimited(5, utf8(name)) + b"\x30" + varint(kind)
        return named, b"".join(attributes), _ERROR_STATUS if error else b""


def _encode_user_agent(value: bytes) -> bytes:
    return USER_AGENT.of(text_of(value))


def _encode_authority(authority: str | None, scheme: str, server: Address | None) -> tuple[bytes, str | None]:
    """server.address and server.port, and url.full up to the path (None without an authority)."""
    host, port = semantics.server(authority, scheme, server)
    encoded = b"" if host is None else SERVER_ADDRESS.of(host)
    if port is not None:
        encoded += SERVER_PORT.of(port)
    return encoded, f"{scheme}://{semantics.without_user(authority)}" if authority else None


def _encode_found(auth_scheme: str | None, tls: Tls | None, kinds: tuple[str, ...]) -> bytes:
    """How the call authenticated, the library it was read from, and which kinds of sensitive data it held."""
    encoded = b""
    if auth_scheme is not None:
        encoded += AUTH_SCHEME.of(auth_scheme)
    if tls is not None:
        encoded += TLS_LIBRARY.of(tls.library)
        if tls.library_version is not None:
            encoded += TLS_LIBRARY_VERSION.of(tls.library_version)
    return encoded + SENSITIVE.of(dict.fromkeys(kinds)) if kinds else encoded


def _encode_ends(client: Address | None, server: Address | None, client_side: bool) -> bytes:
    """network.peer.*, network.local.*, and client.* of a server's span: the ends of the connection itself.
    network.transport where it is not the one that HTTP has by default (TCP, and UDP for HTTP/3)."""
    peer, local = (server, client) if client_side else (client, server)
    encoded = b""
    if peer is not None:
        encoded += _encode_end(peer, PEER_ADDRESS, PEER_PORT)
        if not client_side:
            encoded += _encode_end(peer, CLIENT_ADDRESS, CLIENT_PORT)
        if peer.port is None:
            encoded += _UNIX
    if local is not None:
        encoded += _encode_end(local, LOCAL_ADDRESS, LOCAL_PORT)
    return encoded


def _encode_end(end: Address, address: StringAttribute, port: IntAttribute) -> bytes:
    """A unix socket has no port, and mostly a name at one end only."""
    if end.port is None:
        return address.of(end.address) if end.address else b""
    return address.of(end.address) + port.of(end.port)
