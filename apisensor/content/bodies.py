"""Sensitive data in bodies: counted only. Bodies are not copied into a transaction, so nothing is redacted here.

Content that is no text, and content-coded bodies (gzip, br, ...), which are not decoded yet, count nothing.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import unquote_to_bytes

from apisensor.content.model import Spans
from apisensor.content.names import Rule
from apisensor.content.shapes import FORM, MARKUP, Scan, Zone, merged

FINDS_PER_SHAPE = 1000
"""A body is searched until a shape was found this often: counts beyond it say nothing new, and each find costs."""

_MARKUP_TYPES = (b"html", b"javascript", b"ecmascript", b"css", b"svg")
_TEXT_TYPES = (b"json", b"multipart/", b"text/", b"graphql", b"xml", b"yaml")


class BodyForm:
    """What a field section says about the body that follows it."""

    __slots__ = ("coded", "form", "scan")

    def __init__(self, scan: Scan | None, *, form: bool = False, coded: bool = False) -> None:
        self.scan = scan
        """How to look at it; None: it is no text."""
        self.form = form
        """Percent-encoding has to be looked through."""
        self.coded = coded
        """It is compressed."""

    def joined(self, other: BodyForm | None) -> BodyForm:
        """What two field lines say together: coded is coded, else the later one counts."""
        return self if other is None or self.coded else other

    def count(self, body: bytes) -> dict[str, int]:
        """Sensitive data in the captured beginning of a body: kind -> count."""
        if self.scan is None:
            return {}
        if self.form and b"%" in body:
            body = unquote_to_bytes(body)
        found: Spans = self.scan.locate(body, Zone.BODY, FINDS_PER_SHAPE)
        return Counter(kind for _, _, kind in merged(found) if kind) if found else {}


TEXT_BODY = BodyForm(FORM)
"""A body without a type is looked at like text."""
_MARKUP_BODY = BodyForm(MARKUP)
_FORM_BODY = BodyForm(FORM, form=True)
_NO_TEXT = BodyForm(None)
_CODED = BodyForm(None, coded=True)


def said_by(rule: Rule, value: bytes) -> BodyForm | None:
    """What a Content-Type or Content-Encoding field (RFC 9110 sections 8.3 and 8.4) says; None: nothing."""
    lower = value.strip().lower()
    if rule is Rule.CONTENT_ENCODING:
        return None if lower in (b"", b"identity") else _CODED
    if b"x-www-form-urlencoded" in lower:
        return _FORM_BODY
    if any(part in lower for part in _MARKUP_TYPES):
        return _MARKUP_BODY
    return TEXT_BODY if not lower or any(part in lower for part in _TEXT_TYPES) else _NO_TEXT
