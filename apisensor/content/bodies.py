"""What bodies hold: sensitive data, counted only, and who logs in. Bodies are not copied into a transaction, so nothing
is redacted here. Content-coded bodies (gzip, br, ...) are decoded first, within limits; what is no text counts nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from apisensor.content.codings import STACKED, codings, decoded
from apisensor.content.logins import login_user
from apisensor.content.model import Spans
from apisensor.content.names import Rule
from apisensor.content.shapes import FORM, MARKUP, Scan, Zone, merged

FINDS_PER_SHAPE = 1000
"""A body is searched until a shape was found this often: counts beyond it say nothing new, and each find costs."""

_MARKUP_TYPES = (b"html", b"javascript", b"ecmascript", b"css", b"svg")
_TEXT_TYPES = (b"json", b"multipart/", b"text/", b"graphql", b"xml", b"yaml")


class BodyInsight(NamedTuple):
    """What one body says."""

    counts: dict[str, int]
    """Sensitive data: kind -> count."""
    user: bytes | None = None
    """User field of a login body, raw."""
    anomaly: str | None = None
    """What kept a part of the body from being looked at (codings.ANOMALIES)."""


class BodyForm:
    """What a field section says about the body that follows it."""

    __slots__ = ("codings", "form", "scan")

    def __init__(self, scan: Scan | None, *, form: bool = False, codings: tuple[str, ...] = ()) -> None:
        self.scan = scan
        """How to look at it; None: it is no text."""
        self.form = form
        """Percent-encoding has to be looked through."""
        self.codings = codings
        """Content codings, in the order in which they were applied."""

    def joined(self, other: BodyForm | None) -> BodyForm:
        """What two field lines say together: codings add up (RFC 9110 section 5.3), the later type counts."""
        if other is None:
            return self
        if other.codings:
            return BodyForm(self.scan, form=self.form, codings=(self.codings + other.codings)[: STACKED + 1])
        return BodyForm(other.scan, form=other.form, codings=self.codings) if self.codings else other

    def look(self, body: bytes, *, whole: bool, of_request: bool) -> BodyInsight:
        """What the captured beginning of a body holds; `whole`: it is all of the body."""
        if self.scan is None:
            return _NOTHING
        anomaly = None
        if self.codings:
            body, anomaly = decoded(body, self.codings, whole)
            whole = whole and anomaly is None
        text = unquote_to_bytes(body) if self.form and b"%" in body else body
        found: Spans = self.scan.locate(text, Zone.BODY, FINDS_PER_SHAPE)
        if not found:
            return _NOTHING if anomaly is None else BodyInsight({}, None, anomaly)
        user = None
        if of_request and whole and any(kind == "password" for _, _, kind in found):
            user = login_user(body)
        return BodyInsight(Counter(kind for _, _, kind in merged(found) if kind), user, anomaly)


_NOTHING = BodyInsight({})
TEXT_BODY = BodyForm(FORM)
"""A body without a type is looked at like text."""
_MARKUP_BODY = BodyForm(MARKUP)
_FORM_BODY = BodyForm(FORM, form=True)
_NO_TEXT = BodyForm(None)


def said_by(rule: Rule, value: bytes) -> BodyForm | None:
    """What a Content-Type or Content-Encoding field (RFC 9110 sections 8.3 and 8.4) says; None: nothing."""
    if rule is Rule.CONTENT_ENCODING:
        applied = codings(value)
        return BodyForm(None, codings=applied) if applied else None
    lower = value.strip().lower()
    if b"x-www-form-urlencoded" in lower:
        return _FORM_BODY
    if any(part in lower for part in _MARKUP_TYPES):
        return _MARKUP_BODY
    return TEXT_BODY if not lower or any(part in lower for part in _TEXT_TYPES) else _NO_TEXT
