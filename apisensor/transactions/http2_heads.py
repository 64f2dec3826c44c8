"""HTTP/2 header blocks as the heads of messages (RFC 9113 section 8.3), where some fields may not be known."""

from __future__ import annotations

from typing import Final

from apisensor.protocols import anomalies
from apisensor.protocols.counters import PLAIN, counter_of
from apisensor.protocols.message import Field, Message

_REQUEST_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))

_PROTOCOLS: Final = frozenset(("grpc", "websocket"))
"""Protocols with a name of their own; gRPC-Web and server-sent events are content like any other."""

_BODILESS: Final = frozenset((204, 304))
_LENGTH_DIGITS: Final = 20
"""2^64 has so many; int() raises at thousands of them."""


def fill_request(message: Message, fields: list[Field] | None, reason: str | None, limit: int) -> None:
    """A request's header block is over; fields None: it could not be read, for this reason. `limit`: of the fields."""
    if fields is None:
        _unread(message, reason)
        return
    regular = [field for field in fields if field[0] not in _REQUEST_PSEUDO]
    pseudo = dict(fields[: len(fields) - len(regular)])
    if regular and not _REQUEST_PSEUDO.issuperset(pseudo):  # not in front (RFC 9113 section 8.3), or not known
        pseudo = dict([field for field in fields if field[0] in _REQUEST_PSEUDO])
    said = pseudo.get
    message.method, message.target, message.scheme = said(b":method"), said(b":path"), said(b":scheme")
    message.authority, message.tunnel = said(b":authority"), said(b":protocol")
    unknown = 0
    while unknown < len(regular) and regular[unknown][0] is None:
        unknown += 1
    if unknown:
        del regular[:unknown]
    if message.authority is None:
        message.authority = next((value for name, value in regular if name == b"host"), None)
    needed = message.method is not None and (message.target is not None or message.method == b"CONNECT")
    if unknown:
        # Pseudo-headers come first (RFC 9113 section 8.3), so these are the missing ones before they are others.
        hidden = sum(part is None for part in (message.method, message.scheme, message.target, message.authority))
        regular[:0] = [(None, None)] * (unknown - hidden)
    if not needed:
        unresolved = unknown or any(name is None or value is None for name, value in fields)
        message.reason = message.reason or ("hpack_unknown" if unresolved else "parse_error")
    _set_fields(message, regular, limit)


def fill_response(
    message: Message, status: int | None, fields: list[Field] | None, reason: str | None, limit: int
) -> None:
    """The same of a response, whose status is known already."""
    if fields is None:
        _unread(message, reason)
        return
    message.status = status
    regular = [field for field in fields if field[0] is None or field[0][:1] != b":"]
    if status is None:
        unresolved = any(name is None or value is None for name, value in fields)
        message.reason = message.reason or ("hpack_unknown" if unresolved else "parse_error")
        if regular and regular[0][0] is None:
            del regular[0]  # the status
    _set_fields(message, regular, limit)


def _set_fields(message: Message, regular: list[Field], limit: int) -> None:
    if len(regular) > limit:
        del regular[limit:]
        _limited(message, anomalies.HEADER_COUNT)
    message.fields = regular
    _note_unknown(message, regular)
    for name, value in regular:
        if name == b"content-type":
            if value is not None and value not in PLAIN:
                message.counter = counter_of(value)
            break


def fill_trailers(message: Message, fields: list[Field] | None, reason: str | None, limit: int) -> None:
    """The same of a second header block, the trailers."""
    if fields is None:
        _unread(message, reason)
        return
    regular = [field for field in fields if field[0] is None or field[0][:1] != b":"]
    if len(regular) > limit:
        del regular[limit:]
        _limited(message, anomalies.HEADER_COUNT)
    message.trailers = regular
    _note_unknown(message, regular)


def _unread(message: Message, reason: str | None) -> None:
    """There are no fields, for this reason."""
    message.reason = message.reason or reason
    if reason == "limit":
        _limited(message, anomalies.HEADER_BYTES)


def _limited(message: Message, anomaly: str) -> None:
    if anomaly not in message.anomalies:
        message.anomalies.append(anomaly)
    message.reason = message.reason or "limit"


def role(fields: list[Field] | None) -> bool | None:
    """Whether these are a request's fields; None where they do not say."""
    for name, _ in fields or ():
        if name in _REQUEST_PSEUDO:
            return True
        if name == b":status":
            return False
    return None


def status_of(fields: list[Field] | None) -> int | None:
    """The status; None where it is not known, or there is none."""
    for name, value in fields or ():
        if name == b":status":
            return int(value) if value is not None and len(value) == 3 and value.isdigit() else None
    return None


def is_whole(method: bytes | None, response: Message) -> bool:
    """Whether all content of this response has passed, though END_STREAM has not: its head says how much there is.

    gRPC and others that send trailers do not say.
    """
    if response.fields is None:
        return False
    if method == b"HEAD" or response.status in _BODILESS:
        return not response.body_size  # RFC 9110 section 6.4.1: no content, whatever Content-Length says
    lengths = {value for name, value in response.fields if name == b"content-length"}
    if len(lengths) != 1:
        return False
    (length,) = lengths
    if length is None or not length.isdigit() or len(length) > _LENGTH_DIGITS:
        return False
    return int(length) == response.body_size


def protocol_of(request: Message, response: Message | None) -> str:
    """What the stream spoke, as a transaction names it."""
    for message in (request, response):
        if message is not None and message.counter is not None and message.counter.protocol in _PROTOCOLS:
            return message.counter.protocol
    return "h2"


def _note_unknown(message: Message, fields: list[Field]) -> None:
    for name, value in fields:
        if name is None or value is None:
            if anomalies.UNKNOWN_FIELD not in message.anomalies:
                message.anomalies.append(anomalies.UNKNOWN_FIELD)
            return
