"""The two records of this stage: `Exchange` (raw bytes, never leaves the worker) and `Transaction` (redacted, public).

`transactions` pairs messages into an `Exchange`; `content` reads it; `redact` turns it into a `Transaction`, which is
all that a process outside the sandbox ever sees. The types keep the promise: nothing but `redact` makes the one from
the other.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from apisensor.events.model import Address, Binding
from apisensor.protocols.counted import Passed
from apisensor.transactions.lines import Line, listed

SCHEMA = 1
"""Version of the public JSON form of a transaction. Raised when a field changes its meaning or goes."""

Header = tuple[bytes | None, bytes | None]
"""A field line as sent. None: an HPACK entry inserted before the sensor saw the connection (name, value or both)."""


class Request(msgspec.Struct, gc=False):
    """A request as it was observed; raw."""

    start_ns: int
    """Event clock of the first byte."""
    end_ns: int
    """Event clock of the last byte seen so far."""
    method: bytes | None = None
    scheme: bytes | None = None
    """HTTP/2's :scheme or an absolute-form target's; None where the message does not say."""
    authority: bytes | None = None
    """HTTP/2's :authority; else the target's, where it names one; else Host (RFC 9112 sections 3.2.2 and 3.3)."""
    target: bytes | None = None
    """Path with query as sent (origin-form); the path part of an absolute-form target."""
    headers: list[Header] | None = None
    """Without HTTP/2's pseudo-headers; None where the head was not seen."""
    trailers: list[Header] = []
    body_size: int = 0
    """Bytes of content after transfer coding is removed, before content coding is (RFC 9110 section 6.4)."""
    body: bytes = b""
    """The first bytes of the content, up to the capture limit. Shorter than body_size where it is cut or has a hole."""
    messages: Passed | None = None
    """What the body holds of messages; None: its type says of none."""


class Response(msgspec.Struct, gc=False):
    """A final response as it was observed; raw."""

    start_ns: int
    end_ns: int
    status: int | None = None
    headers: list[Header] | None = None
    trailers: list[Header] = []
    body_size: int = 0
    body: bytes = b""
    messages: Passed | None = None


class Exchange(msgspec.Struct, gc=False):
    """A request with its response, raw, and the flow they passed through."""

    flow: int
    connection: int | None
    """Socket that carried the flow; None while unbound."""
    pid: int
    protocol: str
    """"http/1.0", "http/1.1", "h2", "grpc", "websocket"."""
    side: Literal["client", "server", "network"]
    """Whose process was observed: the one that received the request is the server."""
    tls: bool
    local: Address | None
    remote: Address | None
    binding: Binding | None
    request: Request
    response: Response | None = None
    """None: not seen. That is not an error of the application."""
    stream_id: int | None = None
    """HTTP/2 stream identifier."""
    anomalies: list[str] = []
    """Names from docs/anomalies.md, e.g. "content-length-with-transfer-encoding"."""
    incomplete_reason: str | None = None
    """None: everything of both messages was seen, or counted exactly ("body-not-captured"). Else one of
    INCOMPLETE_REASONS."""


INCOMPLETE_REASONS = {
    "unknown": "bytes are missing and nothing says why",
    "ring_full": "the ring buffer had no room",
    "copy_fault": "the kernel could not read the application's memory",
    "call_limit": "one call carried more than capture.call_limit bytes, and not only of a body whose end is known",
    "not_in_user_memory": "bytes passed outside of user memory (sendfile, splice), or it is not known where they lie "
    "in it (io_uring), and not only of a body whose end is known",
    "detached": "probes were off for a while, or capture was paused",
    "segment_missing": "the packet capture lacks segments",
    "map_full": "a kernel map had no room",
    "unseen_path": "bytes passed by a path that the back end does not see (docs/sockets.md)",
    "shed": "the governor gave the connection up in the middle of the exchange (governor.cpu_share)",
    "response_not_seen": "the flow ended, or was given up, before a response was seen",
    "request_not_finished": "the flow ended, or was given up, before the request's last byte",
    "response_not_finished": "the flow ended, or was given up, before the response's last byte",
    "stream_reset": "HTTP/2 RST_STREAM ended the exchange before the content of both messages was whole",
    "joined_late": "the flow was joined in the middle and part of this exchange had passed",
    "hpack_unknown": "fields refer to HPACK entries inserted before the flow was joined, or after a loss",
    "limit": "a message exceeded a limit of the sensor; the limit is named in the anomalies",
    "parse_error": "the bytes are not what the protocol allows; parsing of this flow stopped",
    "unbound": "the TLS session could not be bound to a socket",
}
"""incomplete_reason: its meaning. Documented in docs/transaction.md, which is tested against this table."""


class Auth(msgspec.Struct, frozen=True, gc=False, omit_defaults=False):
    """How a request authenticated."""

    scheme: str
    """"basic", "bearer", "api_key", "cookie", "digest", ... lower case."""
    identity: str | None
    """Keyed hash of who it was (HMAC-SHA-256, hex, 32 digits); None where the scheme names nobody."""


class Sensitive(msgspec.Struct, frozen=True, gc=False):
    """Sensitive data found in a transaction, by kind; never its value."""

    kind: str
    """"credit_card", "email", "jwt", "api_key", "password", ..."""
    place: str
    """"request.header", "request.query", "request.path", "request.body", "response.header", "response.body"."""
    count: int


class Operation(msgspec.Struct, frozen=True, gc=False):
    """What a call asked for in the terms of the protocol that is spoken over HTTP; names, never values."""

    protocol: str
    """"graphql", "json-rpc", "mcp", "soap", "form", "multipart", "grpc", "grpc-web", "sse" or "websocket"."""
    kind: str | None = None
    """"query", "call", "unary", ... (docs/transaction.md); None: the protocol has no kinds, or see `reason`."""
    name: str | None = None
    """Of the operation, method, action or subprotocol; None: it has none, or what stands there is no name."""
    target: str | None = None
    """MCP: the tool or prompt that is called, or the scheme of the resource's URI."""
    fields: list[str] = []
    """Top-level fields (GraphQL), the body's element (SOAP), field names (forms), field numbers (gRPC)."""
    error: str | None = None
    """The code with which it failed, in the protocol's terms; None: it did not, or the answer does not say."""
    reason: str | None = None
    """Why something here is not known: one of OPERATION_REASONS. None: all that there is was read."""

    def words(self) -> str:
        """Protocol, kind, name and target, as much as is known: "mcp call tools/call search"."""
        return " ".join(word for word in (self.protocol, self.kind, self.name, self.target) if word)


OPERATION_REASONS = {
    "body-cut": "the body was not captured to its end, and nothing is guessed from a part of it",
    "not-parsed": "the body is not what its type says",
    "limit": "there are more names, messages or operations than the sensor lists",
}
"""reason of an operation: its meaning. docs/transaction.md is tested against this table."""


class Messages(msgspec.Struct, frozen=True, gc=False):
    """The messages inside both bodies of a call, counted while they passed."""

    request: Passed | None
    """None: the body's type says of none."""
    response: Passed | None


class Process(msgspec.Struct, frozen=True, gc=False, cache_hash=True):
    """The observed process, as attribution found it. None: could not be known."""

    pid: int
    executable: str | None = None
    command_line: str | None = None
    """Redacted, arguments joined by spaces."""
    user: str | None = None
    container: str | None = None
    """Container id, full length."""
    pod: str | None = None
    """Kubernetes pod UID."""
    service: str | None = None
    """service.name; docs/attribution.md has the order of sources."""
    runtime: str | None = None
    """Container runtime: "docker", "containerd", "cri-o", "podman", ..."""


class Tls(msgspec.Struct, frozen=True, gc=False):
    """The TLS library the plaintext was read from."""

    library: str
    """"openssl", "gnutls"..."""
    library_version: str | None = None


class Transaction(msgspec.Struct, gc=False, array_like=True):
    """A request with its response: text, redacted, ready to leave the worker. json_form.py has its public JSON.

    The store keeps it in this form (store/documents.py): a new field goes to the end and has a default.
    """

    id: str
    """16 hexadecimal digits, unique on the node; equals span_id."""
    protocol: str
    side: Literal["client", "server", "network"]
    method: str | None
    scheme: str
    authority: str | None
    path: str | None
    request_lines: bytes | None
    """Field lines of the request's head as JSON (transactions.lines); None where it was not seen."""
    response_lines: bytes | None
    request_trailers: list[Line]
    response_trailers: list[Line]
    status: int | None
    grpc_status: int | None
    request_body_size: int
    response_body_size: int | None
    """None where no response was seen."""
    client: Address | None
    server: Address | None
    auth: Auth | None
    sensitive: list[Sensitive]
    binding: str | None
    pid: int
    """0 for packets."""
    start_ns: int
    """Event clock, ns, of the first request byte."""
    duration_ns: int | None
    """First request byte to last response byte; None where no response was seen."""
    ttfb_ns: int | None
    """First request byte to first response byte."""
    trace_id: str
    """32 hexadecimal digits: of the request's traceparent, else made by the sensor."""
    span_id: str
    parent_span_id: str | None
    """Of the request's traceparent (W3C Trace Context), else None."""
    anomalies: list[str]
    incomplete_reason: str | None
    """None: complete."""
    stream_id: int | None
    conn_id: str | None
    """Hexadecimal connection id; None while unbound."""
    flow_id: str
    """Hexadecimal flow id: the socket or TLS session the bytes were read from."""
    encrypted: bool
    """The bytes came from a TLS library."""
    tls: Tls | None = None
    """Filled by enrich, which knows what the process has mapped."""
    process: Process | None = None
    """Filled by enrich."""
    route: str | None = None
    trace_flags: int = 1
    """Of the traceparent; 1 (sampled) where the sensor made the ids."""
    trace_state: str = ""
    """The request's tracestate, as sent."""
    login_identity: str | None = None
    """Keyed hash of the user that a login body names (JSON or form); None: the request is no login."""
    wall_offset_ns: int = 0
    """Unix time minus event clock when the transaction ended; start_ns + wall_offset_ns is Unix time."""
    operations: list[Operation] = []
    """What was asked for in terms of the protocol inside HTTP; several where requests are batched."""
    messages: Messages | None = None
    """Of gRPC, WebSocket and server-sent events; None: neither body is of such a type."""

    @property
    def request_headers(self) -> list[Line] | None:
        """`request_lines` taken apart, each time."""
        return None if self.request_lines is None else listed(self.request_lines)

    @property
    def response_headers(self) -> list[Line] | None:
        """`response_lines` taken apart, each time."""
        return None if self.response_lines is None else listed(self.response_lines)
