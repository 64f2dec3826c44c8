"""Sensitive spans of field lines (headers and trailers), by what the field's name says and by the value's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apisensor.content import credentials
from apisensor.content.matching import Pattern, compiled
from apisensor.content.model import UNCOUNTED, Spans
from apisensor.content.names import Rule, field_rule, kind_of_key
from apisensor.content.shapes import HEAD, Zone, merged

_MAX_AGE: Final = compiled(r"-?[0-9]{1,12}")
_DATE: Final = compiled(
    r"(?:[A-Za-z]{3,9},? )?[0-9]{1,2}[ -][A-Za-z]{3}[ -][0-9]{2,4}(?: [0-9:]{5,8}(?: [A-Z]{3})?)?|0|-1"
)
_DOMAIN: Final = compiled(r"\.?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_PATH: Final = compiled(r"/[A-Za-z0-9._~/-]*")
_SAME_SITE: Final = compiled(r"(?i:strict|lax|none)")
_PRIORITY: Final = compiled(r"(?i:low|medium|high)")
_FLAG: Final = compiled(r"")

_ATTRIBUTES: Final[dict[bytes, Pattern]] = {
    b"expires": _DATE,
    b"max-age": _MAX_AGE,
    b"domain": _DOMAIN,
    b"path": _PATH,
    b"samesite": _SAME_SITE,
    b"priority": _PRIORITY,
    b"secure": _FLAG,
    b"httponly": _FLAG,
    b"partitioned": _FLAG,
}
"""Cookie attributes (RFC 6265 section 4.1.1 and its successor's draft) and what their values look like. Anything else
behind a cookie may be a second cookie that somebody folded into the line, and is hidden."""


def value_spans(name: bytes | None, value: bytes) -> Spans:
    """Sensitive spans of a field's value. A value whose name is unknown (HPACK) is hidden: it may be a credential."""
    if name is None:
        return _whole(value, UNCOUNTED)
    rule, kind = field_rule(name)
    return BY_RULE[rule](value, kind)


def name_spans(name: bytes) -> Spans:
    """Sensitive spans of a field's name: somebody who mixes up name and value shows a key here."""
    return HEAD.find(name, Zone.FIELD)


def _whole(value: bytes, kind: str) -> Spans:
    return [(0, len(value), kind)] if value.strip() else []


def _text(value: bytes, _kind: str) -> Spans:
    return HEAD.find(value, Zone.FIELD)


def _number(value: bytes, kind: str) -> Spans:
    return [] if is_number(value) else _text(value, kind)


def is_number(value: bytes) -> bool:
    """Whether the value is a number too short for a card's (cards.SHORTEST): it has no other shape."""
    return len(value) <= _DIGITS and value.isdigit()


_DIGITS: Final = 12


def _secret(value: bytes, kind: str) -> Spans:
    plain = value.strip()
    return _whole(value, "jwt" if credentials.is_jwt(plain) else kind)


def _authorization(value: bytes, _kind: str) -> Spans:
    return authorization_spans(value, *credentials.authorization(value))


def authorization_spans(value: bytes, credential: credentials.Credential, start: int) -> Spans:
    """Sensitive spans of an Authorization value that `credentials.authorization` has read."""
    return [(start, len(value), credential.kind)] if value[start:].strip() else []


def _cookie(value: bytes, _kind: str) -> Spans:
    found: Spans = []
    start = 0
    for pair in value.split(b";"):
        found += _pair(pair, start)
        start += len(pair) + 1
    # Names are kept; one that is itself a secret is not.
    return merged(found + HEAD.find(value, Zone.FIELD)) if HEAD.may_match(value) or b"%" in value else found


def _set_cookie(value: bytes, _kind: str) -> Spans:
    first, *attributes = value.split(b";")
    found = _pair(first, 0)
    start = len(first) + 1
    for attribute in attributes:
        name, _, content = attribute.partition(b"=")
        form = _ATTRIBUTES.get(name.strip().lower())
        if form is None:
            found += _pair(attribute, start)
        elif form.fullmatch(content.strip()) is None:
            begin = start + len(name) + 1
            found.append((begin, begin + len(content), UNCOUNTED))
        start += len(attribute) + 1
    return merged(found + HEAD.find(value, Zone.FIELD)) if HEAD.may_match(value) or b"%" in value else found


def _pair(pair: bytes, start: int) -> Spans:
    """The value of name=value; all of what has no name."""
    name, equals, value = pair.partition(b"=")
    if not equals:
        return [] if not pair.strip() else [(start, start + len(pair), UNCOUNTED)]
    if not value.strip():
        return []
    begin = start + len(name) + 1
    return [(begin, begin + len(value), cookie_kind(name.strip(), value.strip()))]


def cookie_kind(name: bytes, value: bytes) -> str:
    """Kind of a cookie's value: what its name says, else UNCOUNTED."""
    if credentials.is_jwt(value):
        return "jwt"
    return "session" if credentials.session_cookie(name) else kind_of_key(name) or UNCOUNTED


def _traceparent(value: bytes, _kind: str) -> Spans:
    return [] if is_traceparent(value) else HEAD.find(value, Zone.FIELD)


def is_traceparent(value: bytes) -> bool:
    """Whether the value has the form of a version 00 traceparent (W3C Trace Context section 3.2.2).

    Slices and not a pattern: nearly every request of a traced application comes through here.
    """
    return (
        len(value) == 55
        and value[2] == value[35] == value[52] == _DASH
        and len(value.translate(None, b"0123456789abcdef")) == 3
    )


_DASH: Final = 0x2D

BY_RULE: Final[dict[Rule, Callable[[bytes, str], Spans]]] = {
    Rule.TEXT: _text,
    Rule.SECRET: _secret,
    Rule.AUTHORIZATION: _authorization,
    Rule.COOKIE: _cookie,
    Rule.SET_COOKIE: _set_cookie,
    Rule.TRACEPARENT: _traceparent,
    Rule.TRACESTATE: _text,
    Rule.CONTENT_TYPE: _text,
    Rule.CONTENT_ENCODING: _text,
    Rule.NUMBER: _number,
}
"""Rule -> (value, kind of the rule) -> sensitive spans of the value."""
