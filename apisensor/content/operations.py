"""`operations`: what a call asked for in terms of the protocol that it speaks over HTTP, by the type of its bodies.

Nothing is parsed of an exchange whose types name no such protocol. Each protocol reads within its own limits, and only
what was captured. Names are searched for secrets here, like all text that leaves the worker.
"""

from __future__ import annotations

from collections.abc import Callable

from apisensor.content import forms, json_calls, soap
from apisensor.content.bodies import Body, Speaks
from apisensor.content.grpc_calls import from_grpc
from apisensor.content.grpc_messages import Messages
from apisensor.content.identifiers import identifier
from apisensor.content.model import Operations, Spans, Spoken
from apisensor.content.shapes import HEAD, Zone
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange

_Reader = Callable[[Exchange, Body, Body | None], list[Spoken]]

_READERS: dict[str, _Reader] = {
    Speaks.JSON: json_calls.from_json,
    Speaks.GRAPHQL: json_calls.from_document,
    Speaks.XML: soap.from_xml,
    Speaks.FORM: forms.from_form,
    Speaks.MULTIPART: forms.from_multipart,
}
"""What the request's type says: how its operations are found."""

_COUNTED = frozenset(("grpc", "grpc-web"))
_ORDERLY = frozenset((None, 1000, 1001, 1005))
"""Close codes that report no error (RFC 6455 section 7.4.1)."""


def websocket(exchange: Exchange) -> Spoken:
    """The WebSocket that an exchange opened: its subprotocol, and how it failed."""
    response = exchange.response
    passed = (None if response is None else response.messages, exchange.request.messages)
    codes = [one.close_code or 0 for one in passed if one is not None and one.close_code not in _ORDERLY]
    return Spoken(
        "websocket",
        name=None if response is None else identifier(value_of(response.headers, b"sec-websocket-protocol")),
        error=b"%d" % codes[0] if codes else None,
    )


def asks_by_target(target: bytes) -> bool:
    """Whether a request target may hold an operation in its query."""
    return b"query=" in target or b"extensions=" in target


def operations(
    exchange: Exchange, asked: Body | None, answered: Body | None, asked_in: Messages | None
) -> Operations | None:
    """The operations of an exchange; None: it has none.

    Args:
        exchange: the exchange.
        asked: the request's body, where it has one whose type may name operations.
        answered: the same of the response.
        asked_in: the messages in the request's body, where it is gRPC's.
    """
    found: list[Spoken] = []
    if asked is not None:
        reader = _READERS.get(asked.speaks or "")
        if reader is not None:
            found = reader(exchange, asked, answered)
    else:
        target = exchange.request.target
        if target is not None and asks_by_target(target):
            found = json_calls.from_target(target, answered)
    counted = exchange.request.messages
    if counted is None and exchange.response is not None:
        counted = exchange.response.messages
    if counted is not None and counted.protocol in _COUNTED:
        found = [from_grpc(exchange, counted.protocol, asked_in)]
    elif counted is not None and counted.protocol == "websocket":
        found = [websocket(exchange)]
    if answered is not None and answered.speaks == Speaks.EVENTS:
        found = [*found, Spoken("sse", "stream")]
    return Operations(found, _marks(found)) if found else None


def _marks(found: list[Spoken]) -> dict[bytes, Spans]:
    names = {name for one in found for name in (one.name, one.target, one.error, *one.fields) if name is not None}
    joined = b"\n".join(names)
    if not HEAD.may_match(joined) and b"%" not in joined:
        return {}
    marks = {name: HEAD.find(name, Zone.FIELD) for name in names}
    return {name: spans for name, spans in marks.items() if spans}
