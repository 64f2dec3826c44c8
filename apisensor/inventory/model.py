"""What the inventory says of an endpoint, as it travels from core's memory to the store and back.

Core keeps no endpoint's history in memory: it gathers what is new since the last flush (`EndpointDelta`), and the store
adds that to what it has (`profile.merge`). So a million calls cost one merge per endpoint and second.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Side = Literal["server", "client"]
"""server: calls served on this node, keyed by service. client: calls that leave it, keyed by destination."""


OTHER = "OTHER"
"""Where what does not fit is counted: a dictionary's further keys, methods that are not known."""


class EndpointKey(msgspec.Struct, frozen=True, gc=False):
    """What makes an endpoint one (docs/inventory.md): a Host header does not."""

    side: Side
    owner: str
    """side server: service.name of the process that served. side client: destination of a call that leaves the node,
    "host:port" of its authority (bounded), else "address:port"."""
    method: str
    """As sent, where it is a known method (RFC 9110, RFC 5789); else "OTHER"."""
    route: str
    """Template of the path: "/users/{id}". gRPC: "/package.Service/Method"."""


class Histogram(msgspec.Struct, gc=False):
    """Counts by magnitude: quantiles within a stated relative error, mergeable in any order.

    Its buckets are those of inventory/histogram.py."""

    counts: dict[int, int] = {}
    """Index of the bucket: count."""
    zero: int = 0
    total: int = 0
    sum: float = 0.0
    largest: float = 0.0


class Caller(msgspec.Struct, gc=False):
    """Who called: as much of it as is known."""

    identity: str | None
    """Keyed hash of the credential's subject."""
    service: str | None
    """service.name of the calling process, where it runs on this node."""
    address: str | None
    """Of the client; without its port."""
    scheme: str | None
    """How it authenticated: Auth.scheme."""
    count: int
    first_ns: int
    """Unix time, ns."""
    last_ns: int


class Profile(msgspec.Struct, gc=False):
    """Everything counted of one endpoint. All dictionaries are bounded (inventory/profile.py); what does not fit is
    counted under OTHER."""

    count: int = 0
    errors: int = 0
    """Calls that failed by the server's fault: status >= 500, or a gRPC status that says so."""
    incomplete: int = 0
    unanswered: int = 0
    """Calls of which no response was seen."""
    encrypted: int = 0
    """Calls that came over TLS; the others were plaintext on the wire."""
    first_ns: int = 0
    """Unix time, ns."""
    last_ns: int = 0
    statuses: dict[str, int] = {}
    """"200", "404", ..., "none" where no response was seen."""
    grpc_statuses: dict[str, int] = {}
    protocols: dict[str, int] = {}
    auth: dict[str, int] = {}
    """Auth.scheme, "none" where the request carried no credential, "unknown" where part of its head was not seen."""
    open_successes: int = 0
    """Calls without any credential that were answered with 2xx."""
    sensitive_in: dict[str, int] = {}
    """Kind: calls whose request carried it in a place where it is not meant to authenticate (query, path, body)."""
    sensitive_out: dict[str, int] = {}
    """Kind: calls whose response carried it."""
    hosts: dict[str, int] = {}
    """Authority: calls."""
    content_types: dict[str, int] = {}
    """Of the response, without parameters."""
    response_types: dict[str, int] = {}
    """"200 application/json": which status came with which content type."""
    query_names: dict[str, int] = {}
    """Names of query parameters: calls."""
    anomalies: dict[str, int] = {}
    callers: dict[str, Caller] = {}
    """By a key that profile.py makes."""
    latency_ms: Histogram = msgspec.field(default_factory=Histogram)
    request_bytes: Histogram = msgspec.field(default_factory=Histogram)
    response_bytes: Histogram = msgspec.field(default_factory=Histogram)


class EndpointDelta(msgspec.Struct, gc=False):
    """What is new of one endpoint since the last flush."""

    id: str
    key: EndpointKey
    profile: Profile
    """Of the calls since the last flush only."""
    walled: bool = False
    """Nothing but what a wall before the API says to everybody was seen of its route (401, a redirect): such routes
    teach the templates nothing. To be given back at the start, as it was told last."""
    rpc: bool = False
    """Its route is a path as it is (gRPC), no template. To be given back at the start, too."""


class EndpointRecord(msgspec.Struct, frozen=True, gc=False):
    """An endpoint with everything that was counted of it: what the exports are made of."""

    id: str
    key: EndpointKey
    profile: Profile


class Alias(msgspec.Struct, frozen=True, gc=False):
    """An endpoint was merged into another when a template was learnt; its id goes on resolving."""

    old: str
    new: str


class Unmatched(msgspec.Struct, gc=False):
    """Calls of one owner that belong to no endpoint (404 of a scan): counted, never stored path by path."""

    side: Side
    owner: str
    count: int
    statuses: dict[str, int]


class InventoryDelta(msgspec.Struct, gc=False):
    """What the store has to write; in this order: endpoints, then aliases (which move what the old id had)."""

    endpoints: list[EndpointDelta] = []
    aliases: list[Alias] = []
    unmatched: list[Unmatched] = []
