"""Form bodies: the names of their fields, never a value.

A name stands before an equals sign or in a part's head; a body without them (JSON sent under the type that curl
presumes, for instance) names nothing.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from apisensor.content.bodies import Body
from apisensor.content.identifiers import FIELDS, identifier
from apisensor.content.model import Spoken
from apisensor.content.parameters import parameter
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange

PIECES = 256
"""Fields or parts of one body that are looked at: many of them may share a name."""
_HEAD_BYTES = 1024
"""Longest head of a part: two or three lines."""


def from_form(_exchange: Exchange, asked: Body, _answered: Body | None) -> list[Spoken]:
    """application/x-www-form-urlencoded (WHATWG URL section 5). What a cut body ends with may be half a name."""
    pieces = asked.text.split(b"&", PIECES)
    more = len(pieces) > PIECES
    names: dict[bytes, None] = {}
    for piece in pieces[:PIECES]:
        name, equals, _ = piece.partition(b"=")
        if equals:
            plain = identifier(unquote_to_bytes(name) if b"%" in name else name)
            if plain is not None:
                names[plain] = None
    return _spoken("form", names, more, asked.whole)


def from_multipart(exchange: Exchange, asked: Body, _answered: Body | None) -> list[Spoken]:
    """multipart/form-data (RFC 7578). Only what stands behind a delimiter is a head, whatever files contain."""
    boundary = parameter(value_of(exchange.request.headers, b"content-type") or b"", b"boundary")
    if not boundary:
        return [Spoken("multipart", reason="not-parsed")]
    parts = (b"\r\n" + asked.text).split(b"\r\n--" + boundary, PIECES + 1)[1:]
    more = len(parts) > PIECES
    names: dict[bytes, None] = {}
    for part in parts[:PIECES]:
        head, end, _ = part[:_HEAD_BYTES].partition(b"\r\n\r\n")
        if not end:
            continue
        for line in head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b":")
            if key.lower() == b"content-disposition":
                plain = identifier(parameter(value, b"name"))
                if plain is not None:
                    names[plain] = None
    return _spoken("multipart", names, more, asked.whole)


def _spoken(protocol: str, names: dict[bytes, None], more: bool, whole: bool) -> list[Spoken]:
    if not names:
        return []
    reason = "limit" if more or len(names) > FIELDS else None if whole else "body-cut"
    return [Spoken(protocol, fields=list(names)[:FIELDS], reason=reason)]
