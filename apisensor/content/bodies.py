"""What bodies hold: sensitive data, counted only, and who logs in. Bodies are not copied into a transaction, so nothing
is redacted here. Content-coded bodies (gzip, br, ...) are decoded first, within limits; what is no text counts nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from apisensor.content.codings import STACKED, codings, decoded
from apisensor.content.logins import login_user
from apisensor.content.names import Rule
from apisensor.content.shapes import FORM, JSON, MARKUP, Scan, merged

FINDS_PER_SHAPE: Final = 1000
"""A body is searched until a shape was found this often: counts beyond it say nothing new, and each find costs."""

_MARKUP_TYPES: Final = (b"html", b"javascript", b"ecmascript", b"css", b"svg")
_TEXT_TYPES: Final = (b"json", b"multipart/", b"text/", b"graphql", b"xml", b"yaml")


class Speaks:
    """What a body's type says of the protocol inside. Plain text: it is compared for every exchange."""

    JSON: Final = "json"
    """GraphQL, JSON-RPC, or neither: the content says."""
    GRAPHQL: Final = "graphql"
    XML: Final = "xml"
    """SOAP, or not: the content says."""
    FORM: Final = "form"
    MULTIPART: Final = "multipart"
    EVENTS: Final = "events"
    """Server-sent events."""
    GRPC: Final = "grpc"
    """gRPC or gRPC-Web: messages in binary."""


_SPEAKS: Final = {
    b"application/json": Speaks.JSON,
    b"text/json": Speaks.JSON,
    b"application/json-rpc": Speaks.JSON,
    b"application/graphql+json": Speaks.JSON,
    b"application/graphql-response+json": Speaks.JSON,
    b"application/graphql": Speaks.GRAPHQL,
    b"application/xml": Speaks.XML,
    b"text/xml": Speaks.XML,
    b"application/soap+xml": Speaks.XML,
    b"application/x-www-form-urlencoded": Speaks.FORM,
    b"multipart/form-data": Speaks.MULTIPART,
    b"text/event-stream": Speaks.EVENTS,
}
"""Media type, lower case, without parameters."""


class Body(NamedTuple):
    """The captured beginning of a body, content codings removed."""

    speaks: str | None
    text: bytes
    whole: bool
    """It is all of the body."""


class BodyInsight(NamedTuple):
    """What one body says."""

    counts: dict[str, int]
    """Sensitive data: kind -> count."""
    user: bytes | None = None
    """User field of a login body, raw."""
    anomaly: str | None = None
    """What kept a part of the body from being looked at (codings.ANOMALIES)."""
    calls: bool = False
    """JSON: it has a member that calls of some protocol have."""


class BodyForm:
    """What a field section says about the body that follows it."""

    __slots__ = ("codings", "form", "scan", "speaks")

    def __init__(
        self,
        scan: Scan | None,
        *,
        form: bool = False,
        codings: tuple[str, ...] = (),
        speaks: str | None = None,
    ) -> None:
        self.scan = scan
        """How to look at it; None: it is no text."""
        self.form = form
        """Percent-encoding has to be looked through."""
        self.codings = codings
        """Content codings, in the order in which they were applied."""
        self.speaks = speaks
        """One of Speaks; None: nothing that has operations."""

    def joined(self, other: BodyForm | None) -> BodyForm:
        """What two field lines say together: codings add up (RFC 9110 section 5.3), the later type counts."""
        if other is None:
            return self
        if other.codings:
            added = (self.codings + other.codings)[: STACKED + 1]
            return BodyForm(self.scan, form=self.form, codings=added, speaks=self.speaks)
        if not self.codings:
            return other
        return BodyForm(other.scan, form=other.form, codings=self.codings, speaks=other.speaks)

    def content(self, body: bytes, whole: bool) -> tuple[bytes, bool, str | None]:
        """From the captured beginning of a body, and whether it is all of it, to those of its content, codings
        removed, and the anomaly that kept a part back."""
        text, anomaly = decoded(body, self.codings, whole)
        return text, whole and anomaly is None, anomaly

    def may_be_json(self, content: bytes) -> bool:
        """Whether content of this type is JSON for all that the type says: clients that name none, or the one their
        library has by default, send it as text or as a form."""
        return content[:1] in _BEGIN_JSON and self.scan is FORM and (self.speaks is None or self.speaks == Speaks.FORM)

    def look(self, content: bytes, whole: bool, anomaly: str | None, of_request: bool) -> BodyInsight:
        """What a body holds; the arguments are what `content` gave."""
        assert self.scan is not None
        text = unquote_to_bytes(content) if self.form and b"%" in content else content
        seen = self.scan.look(text, FINDS_PER_SHAPE)
        if seen is None:
            return NOTHING if anomaly is None else BodyInsight({}, None, anomaly)
        found, calls = seen
        user = None
        if of_request and whole and any(kind == "password" for _, _, kind in found):
            user = login_user(content)
        return BodyInsight(Counter(kind for _, _, kind in merged(found) if kind), user, anomaly, calls)


_BEGIN_JSON: Final = (b"{", b"[")

NOTHING: Final = BodyInsight({})
"""What nearly every body says."""
TEXT_BODY: Final = BodyForm(FORM)
"""A body without a type is looked at like text."""
_MARKUP_BODY: Final = BodyForm(MARKUP)
_FORM_BODY: Final = BodyForm(FORM, form=True, speaks=Speaks.FORM)
_GRPC_BODY: Final = BodyForm(MARKUP, speaks=Speaks.GRPC)
"""Fields have no names that would say what their values are."""
NAMED_BODY: Final = BodyForm(JSON, speaks=Speaks.GRPC)
"""The same where a description gave them names."""
_SPEAKING: Final = {speaks: BodyForm(FORM, speaks=speaks) for speaks in set(_SPEAKS.values()) - {Speaks.FORM}}
JSON_BODY: Final = BodyForm(JSON, speaks=Speaks.JSON)
_SPEAKING[Speaks.JSON] = JSON_BODY
_NO_TEXT: Final = BodyForm(None)


def said_by(rule: Rule, value: bytes) -> BodyForm | None:
    """What a Content-Type or Content-Encoding field (RFC 9110 sections 8.3 and 8.4) says; None: nothing."""
    if rule is Rule.CONTENT_ENCODING:
        applied = codings(value)
        return BodyForm(None, codings=applied) if applied else None
    lower = value.strip().lower()
    if b"x-www-form-urlencoded" in lower:
        return _FORM_BODY
    if lower.startswith(b"application/grpc"):
        return _GRPC_BODY
    if any(part in lower for part in _MARKUP_TYPES):
        return _MARKUP_BODY
    speaks = _SPEAKS.get(lower.partition(b";")[0].rstrip())
    if speaks is not None:
        return _SPEAKING[speaks]
    return TEXT_BODY if not lower or any(part in lower for part in _TEXT_TYPES) else _NO_TEXT
