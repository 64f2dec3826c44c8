"""Sensitive data in bodies: counted only. Bodies are not copied into a transaction, so nothing is redacted here."""

from __future__ import annotations

from collections import Counter
from urllib.parse import unquote_to_bytes

from apisensor.content.model import Spans
from apisensor.content.shapes import FORM, MARKUP, Scan, Zone, merged
from apisensor.transactions.model import Header

FINDS_PER_SHAPE = 1000
"""A body is searched until a shape was found this often: counts beyond it say nothing new, and each find costs."""

_MARKUP_TYPES = (b"html", b"javascript", b"ecmascript", b"css", b"svg")
_NAMED_TYPES = (b"json", b"x-www-form-urlencoded", b"multipart/", b"text/", b"graphql", b"xml", b"yaml")


def scan_for(content_type: bytes | None) -> Scan | None:
    """How to look at a body of this type; None: it is no text. A body without a type is looked at like text."""
    if not content_type:
        return FORM
    lower = content_type.lower()
    if any(part in lower for part in _MARKUP_TYPES):
        return MARKUP
    if any(part in lower for part in _NAMED_TYPES):
        return FORM
    return None


def count(body: bytes, headers: list[Header] | None) -> dict[str, int]:
    """Sensitive data in the captured beginning of a body: kind -> count.

    Empty for content that is no text and for content-coded bodies (gzip, br, ...), which are not decoded.
    """
    if not body or headers is None:
        return {}
    content_type, coded = _content(headers)
    scan = None if coded else scan_for(content_type)
    if scan is None:
        return {}
    if content_type is not None and b"urlencoded" in content_type.lower() and b"%" in body:
        body = unquote_to_bytes(body)
    found: Spans = scan.locate(body, Zone.BODY, FINDS_PER_SHAPE)
    return Counter(kind for _, _, kind in merged(found) if kind) if found else {}


def _content(headers: list[Header]) -> tuple[bytes | None, bool]:
    content_type = None
    coded = False
    for name, value in headers:
        if name is None or value is None:
            continue
        # Comparing lengths first: two of fifteen names are worth lowering.
        if len(name) == 12 and name.lower() == b"content-type":
            content_type = value
        elif len(name) == 16 and name.lower() == b"content-encoding":
            coded = value.strip().lower() not in (b"", b"identity")
    return content_type, coded
