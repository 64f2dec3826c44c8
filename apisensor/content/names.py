"""Names that say what their value is: field names, and keys of query strings, forms, JSON objects and cookies.

One vocabulary serves all of them. `KEY` is its joined form for the first scan; `kind_of_key` and `field_rule` decide.
"""

from __future__ import annotations

import enum
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from apisensor.content.matching import compiled
from apisensor.content.model import UNCOUNTED

NAMES_KEPT: Final = 4096
"""Names whose verdict is remembered. Applications use hundreds; a peer that invents names costs a fresh start."""

_LONGEST_KEPT: Final = 128
"""Longer names are judged each time: no ordinary one is, and memory stays bounded."""

_SEP: Final = "[-_.]?"
_PARTS: Final[dict[str, tuple[str, ...]]] = {
    "password": ("passw", "passphrase", "passcode", "pwd"),
    "api_key": tuple(
        f"{owner}{_SEP}key" for owner in ("api", "access", "auth", "account", "subscription", "functions", "license")
    ),
    "secret": (
        "secret",
        "credential",
        "signature",
        *(f"{owner}{_SEP}key" for owner in ("private", "encryption", "signing", "shared", "master")),
    ),
    "session": ("session", "sessid"),
    "token": ("token", "jwt", "bearer", "assertion", "authorization", f"saml{_SEP}re"),
}
"""Parts that give a name its kind wherever they stand in it. The first kind that matches wins."""

_WHOLE: Final[dict[str, str]] = {
    **dict.fromkeys(("pass", "pin", "otp", "totp", "mfa"), "password"),
    **dict.fromkeys(("key", "appkey", "appid"), "api_key"),
    **dict.fromkeys(("sig", "hmac", "cvv", "cvv2", "cvc", "csc"), "secret"),
    **dict.fromkeys(("sid",), "session"),
    **dict.fromkeys(("auth", "ticket"), "token"),
    **dict.fromkeys(("code", "ssn"), UNCOUNTED),
}
"""Names that have a kind only when they are the whole name (`pin`, not `shipping`). `code` is OAuth's
(RFC 6749 section 4.1.2)."""

_HARMLESS_ENDS: Final = (
    b"tokens",
    b"tokentype",
    b"tokencount",
    b"tokenlimit",
    b"tokenendpoint",
    b"sessioncount",
    b"sessiontype",
    b"sessionexpiry",
    b"expiresin",
    b"expiresat",
    b"signaturemethod",
    b"signatureversion",
    b"signaturealgorithm",
)
"""Ends of names that contain a part above and are no secret: `max_tokens`, `token_type`, `oauth_signature_method`."""

NAME_CHARACTER: Final = r"[A-Za-z0-9_.\[\]$-]"
"""What a key consists of, brackets of nested forms included (`user[password]`)."""

_SEPARATOR: Final = r"""(?:\\?["'][ \t]*:|\\?["']?[ \t]*=)[ \t]*"""
_ANY_PART: Final = "|".join(part for parts in _PARTS.values() for part in parts)
_ANY_WHOLE: Final = "|".join(_WHOLE)

KEY_AND_SEPARATOR: Final[str] = (
    rf"(?i:(?:^|[^A-Za-z0-9_.$\[-])({NAME_CHARACTER}*(?:{_ANY_PART}){NAME_CHARACTER}*"
    rf"|(?:{NAME_CHARACTER}*[.\[])?(?:{_ANY_WHOLE})\]?){_SEPARATOR})"
)
"""A key (group 1) that `kind_of_key` may know, with what separates it from its value: `=`, or `":` of JSON."""

PART: Final[str] = rf"(?i:[ ;]name=\"?(?:{NAME_CHARACTER}*(?:{_ANY_PART}){NAME_CHARACTER}*|(?:{_ANY_WHOLE}))\"?\r?\n)"
"""The head of a multipart/form-data part (RFC 7578 section 4.2) with such a name, for the joined first scan."""

PART_AND_VALUE: Final[str] = (
    rf"(?i:[ ;]name=\"?({NAME_CHARACTER}*(?:{_ANY_PART}){NAME_CHARACTER}*|(?:{_ANY_WHOLE}))\"?\r?\n"
    r"(?:[^\r\n]+\r?\n)*\r?\n([^\r\n]+))"
)
"""The same with the part's name (1) and the first line of its value (2)."""

_BY_PART: Final = [(kind, compiled(f"(?i:{'|'.join(parts)})")) for kind, parts in _PARTS.items()]

V = TypeVar("V")


class Rule(enum.IntEnum):
    """How the value of a field is to be read."""

    TEXT = 0
    """By its shape alone."""
    SECRET = 1
    """All of it is a secret."""
    AUTHORIZATION = 2
    """A scheme word, then credentials (RFC 9110 section 11.4)."""
    COOKIE = 3
    """Pairs, each value a secret (RFC 6265 section 4.2)."""
    SET_COOKIE = 4
    """A pair, then attributes (RFC 6265 section 4.1)."""
    TRACEPARENT = 5
    """Hexadecimal ids by definition (W3C Trace Context); digits in it are no card number."""
    TRACESTATE = 6
    """By its shape, and kept for the trace context."""
    CONTENT_TYPE = 7
    """By its shape; it says how the body is to be read."""
    CONTENT_ENCODING = 8
    """By its shape; it says whether the body can be read."""
    NUMBER = 9
    """A number by definition; anything else by its shape."""


FieldRule = tuple[Rule, str]
"""The rule and, for SECRET, the kind."""

_PLAIN: Final[FieldRule] = (Rule.TEXT, UNCOUNTED)

API_KEY_FIELDS: Final = frozenset(
    {
        b"x-api-key",
        b"api-key",
        b"apikey",
        b"x-apikey",
        b"x-auth-token",
        b"x-access-token",
        b"x-auth-key",
        b"x-app-key",
        b"x-application-key",
        b"x-client-key",
        b"x-secret-key",
        b"x-goog-api-key",
        b"ocp-apim-subscription-key",
        b"x-functions-key",
        b"private-token",
        b"job-token",
        b"x-vault-token",
        b"x-consul-token",
        b"x-figma-token",
        b"x-shopify-access-token",
        b"x-rapidapi-key",
        b"dd-api-key",
        b"x-honeycomb-team",
        b"x-postmark-server-token",
    }
)
"""Fields that authenticate a request by themselves: what they carry is the caller's identity."""

_FIELDS: Final[dict[bytes, FieldRule]] = {
    b"authorization": (Rule.AUTHORIZATION, "token"),
    b"proxy-authorization": (Rule.AUTHORIZATION, "token"),
    b"cookie": (Rule.COOKIE, "session"),
    b"cookie2": (Rule.COOKIE, "session"),
    b"set-cookie": (Rule.SET_COOKIE, "session"),
    b"set-cookie2": (Rule.SET_COOKIE, "session"),
    b"traceparent": (Rule.TRACEPARENT, UNCOUNTED),
    b"tracestate": (Rule.TRACESTATE, UNCOUNTED),
    b"content-type": (Rule.CONTENT_TYPE, UNCOUNTED),
    b"content-encoding": (Rule.CONTENT_ENCODING, UNCOUNTED),
    b"content-length": (Rule.NUMBER, UNCOUNTED),
    **dict.fromkeys(API_KEY_FIELDS, (Rule.SECRET, "api_key")),
    # Names that only sound secret. Their values are still searched for shapes.
    **dict.fromkeys(
        (
            b"sec-websocket-key",
            b"idempotency-key",
            b"surrogate-key",
            b"x-cache-key",
            b"cache-key",
            b"access-control-allow-credentials",
            b"accept-signature",
            b"signature-input",
            b"sec-token-binding",
            b"sec-session-registration",
        ),
        _PLAIN,
    ),
}

_SECRET_LAST_WORDS: Final = {
    b"key": "api_key",
    b"auth": "token",
    b"sid": "session",
    b"sig": "secret",
    b"pass": "password",
}


_kinds: Final[dict[bytes, str | None]] = {}
_rules: Final[dict[bytes, FieldRule]] = {}


def kind_of_key(key: bytes) -> str | None:
    """Kind of the values that a parameter, form field, JSON member or cookie of this name has; None: nothing is known.

    Case, separators, brackets and percent-encoding make no difference.
    """
    try:
        return _kinds[key]
    except KeyError:
        return _remember(_kinds, key, _judge_key(key))


def field_rule(name: bytes) -> FieldRule:
    """How the value of the header or trailer field `name` (any case) is to be read."""
    try:
        return _rules[name]
    except KeyError:
        return _remember(_rules, name, _judge_field(name.strip().lower()))


def _judge_key(key: bytes) -> str | None:
    plain = unquote_to_bytes(key).lower().strip()
    # `user[password]`: what the innermost bracket names; `a.b.c`: the last component.
    last = plain.replace(b"]", b"").replace(b"[", b".").rpartition(b".")[2]
    kind = _WHOLE.get(last.decode("latin-1"))
    if kind is not None:
        return kind
    return _kind_by_part(plain)


def _judge_field(name: bytes) -> FieldRule:
    known = _FIELDS.get(name)
    if known is not None:
        return known
    kind = _kind_by_part(name)
    if kind is None:
        kind = _SECRET_LAST_WORDS.get(name.replace(b"_", b"-").rpartition(b"-")[2])
    return _PLAIN if kind is None else (Rule.SECRET, kind)


def _kind_by_part(name: bytes) -> str | None:
    if name.translate(None, b"-_.[] ").endswith(_HARMLESS_ENDS):
        return None
    for kind, pattern in _BY_PART:
        if pattern.search(name) is not None:
            return kind
    return None


def _remember(kept: dict[bytes, V], name: bytes, verdict: V) -> V:
    if len(name) <= _LONGEST_KEPT:
        if len(kept) >= NAMES_KEPT:
            kept.clear()
        kept[name] = verdict
    return verdict
