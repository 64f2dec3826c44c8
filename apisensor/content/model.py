"""What `inspect` finds in an exchange. Raw: like the exchange it describes, an Insight never leaves the worker."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from apisensor.transactions.model import Sensitive

Span = tuple[int, int, str]
"""Half-open byte range of a text and the kind of what lies there; UNCOUNTED where it is only to be hidden."""

Spans = list[Span]
"""In order, not overlapping."""

FieldMarks = dict[int, tuple[Spans, Spans]]
"""Index of a field line in its section: spans in its name, spans in its value. Clean lines have no entry."""

UNCOUNTED: Final = ""
"""Kind of what must not leave the worker and is no finding of its own: cookies, OAuth codes, unknown fields."""

KINDS: Final = {
    "private_key": "a PEM private key block",
    "credit_card": "a payment card number: a brand's prefix and length, Luhn check digit right",
    "jwt": "a JSON Web Token, signed or encrypted",
    "api_key": "a key in a provider's well-known format, in an API key field, or under a name that says API key",
    "password": "a password: basic authentication, user information of a URL, a field or parameter so named",
    "session": "the value of a session cookie, or of a field or parameter so named",
    "secret": "a value under a name that says secret, private key, signature or credential",
    "token": "another credential of an Authorization field, or a value under a name that says token",
    "email": "an e-mail address",
}
"""Kinds of sensitive data: their meaning. The most telling first: where two overlap the earlier one is reported."""

PLACES: Final = (
    "request.path",
    "request.query",
    "request.header",
    "request.body",
    "response.header",
    "response.body",
)
"""Where sensitive data was found. Trailers count as headers, the authority as a request header."""


class Spoken(msgspec.Struct, gc=False):
    """An operation as the bytes name it (transactions.model.Operation has the fields' meaning); raw."""

    protocol: str
    kind: str | None = None
    name: bytes | None = None
    target: bytes | None = None
    fields: list[bytes] = []
    error: bytes | None = None
    reason: str | None = None


class Operations(NamedTuple):
    """What a call asked for."""

    spoken: list[Spoken]
    marks: dict[bytes, Spans]
    """Names that hold something sensitive: where."""


class Insight(msgspec.Struct, frozen=True, gc=False):
    """How an exchange authenticated and what must not leave the worker."""

    auth_scheme: str | None = None
    """Public name: "basic", "bearer", "api_key", "cookie", ...; None: the request carried no credential."""
    identity: bytes | None = None
    """Who it was, raw (docs/redaction.md says how it is chosen); None where the scheme names nobody."""
    login_user: bytes | None = None
    """User field of a login body, raw; None: the request is no login."""
    anomalies: list[str] = []
    """What kept bodies from being looked at (codings.ANOMALIES)."""
    traceparent: tuple[bytes, ...] = ()
    """Values of the request's traceparent fields, raw: there should be one."""
    tracestate: tuple[bytes, ...] = ()
    """Values of the request's tracestate fields that hold nothing sensitive."""
    sensitive: list[Sensitive] = []
    """Counts by kind and place."""
    operations: Operations | None = None
    method: Spans = []
    scheme: Spans = []
    authority: Spans = []
    target: Spans = []
    request_headers: FieldMarks = {}
    response_headers: FieldMarks = {}
    request_trailers: FieldMarks = {}
    response_trailers: FieldMarks = {}

    def __repr__(self) -> str:
        """Without identities, so that no log or traceback shows it."""
        return f"Insight(auth_scheme={self.auth_scheme!r}, sensitive={self.sensitive!r})"
