"""A transaction as its public JSON line says it, read back: what a client of the live socket has."""

from __future__ import annotations

import msgspec

from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Auth, Messages, Operation, Process, Sensitive, Tls, Transaction


class Peer(msgspec.Struct, frozen=True):
    """One end of a connection."""

    address: str
    port: int | None


class PublicTransaction(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="transaction"):
    """The documented object (docs/transaction.md). Fields that a newer sensor adds are ignored."""

    schema: int
    id: str
    protocol: str
    side: str
    method: str | None
    scheme: str
    authority: str | None
    path: str | None
    route: str | None
    request_headers: list[tuple[str | None, str | None]] | None
    response_headers: list[tuple[str | None, str | None]] | None
    request_trailers: list[tuple[str | None, str | None]]
    response_trailers: list[tuple[str | None, str | None]]
    status: int | None
    grpc_status: int | None
    grpc_message: str | None = None
    request_body_size: int
    response_body_size: int | None
    client: Peer | None
    server: Peer | None
    auth: Auth | None
    login_identity: str | None
    sensitive: list[Sensitive]
    operations: list[Operation] = []
    messages: Messages | None = None
    binding: str | None
    process: Process | None
    tls: Tls | None
    start_time: str
    duration_ms: float | None
    ttfb_ms: float | None
    trace_id: str
    span_id: str
    parent_span_id: str | None
    anomalies: list[str]
    complete: bool
    incomplete_reason: str | None
    stream_id: int | None
    conn_id: str | None


class Dropped(msgspec.Struct, frozen=True, tag_field="kind", tag="dropped"):
    """So many transactions were not sent, because this client read too slowly."""

    count: int


class Subscribed(msgspec.Struct, frozen=True, tag_field="kind", tag="subscribed"):
    """The subscription holds; transactions follow."""

    schema: int


class Refusal(msgspec.Struct, frozen=True, tag_field="kind", tag="error"):
    """The server does not do what was asked, and closes."""

    message: str


class PublicFinding(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="finding"):
    """The documented object (docs/detection.md). Fields that a newer sensor adds are ignored."""

    id: str
    rule: str
    severity: str
    title: str
    category: str | None
    time: str
    last_time: str | None = None
    service: str | None = None
    route: str | None = None
    client: str | None = None
    identity: str | None = None
    count: int = 1


Line = PublicTransaction | PublicFinding | Dropped | Subscribed | Refusal
"""What a subscriber is sent."""

decode_line = msgspec.json.Decoder(Line).decode
"""One line as one of these. Raises msgspec.MsgspecError where it is none."""


_decode = msgspec.json.Decoder(PublicTransaction).decode


def view(t: Transaction) -> PublicTransaction:
    """The transaction as others will see it."""
    return _decode(json_line(t))
