"""How a request authenticated, and as whom: Authorization, API key fields, query parameters, session cookies.

Nothing is verified. A JWT's subject is what the token claims; whether the server believed it, its status tells.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from apisensor.content.claims import decode_claims
from apisensor.content.names import kind_of_key


class Credential(NamedTuple):
    """One credential of a request. Raw."""

    scheme: str
    """Public name of the way to authenticate, lower case."""
    identity: bytes | None
    kind: str
    """Kind of sensitive data it is (model.KINDS)."""


_KNOWN_SCHEMES: Final = frozenset(
    # IANA's registry of HTTP authentication schemes, then schemes in wide use.
    b"basic bearer concealed digest dpop gnap hoba mutual negotiate oauth privatetoken scram-sha-1 scram-sha-256 vapid "
    b"aws aws4-hmac-sha256 aws4-ecdsa-p256-sha256 goog1 goog4-hmac-sha256 goog4-rsa-sha256 googlelogin sharedkey "
    b"sharedkeylite sharedaccesssignature hawk ntlm kerberos token apikey api-key key jwt mac signature hmac "
    b"hmac-sha256 ssws splunk bot client-id geniekey passport wsse acs".split()
)
"""Words that may stay visible in front of a redacted credential. Any other first word may be the secret itself."""

_LONGEST_JWT_PART: Final = 16 * 1024
"""A longer claims part is not decoded: servers refuse such fields, and decoding is work a peer can impose."""


def authorization(value: bytes) -> tuple[Credential, int]:
    """The credential of an Authorization or Proxy-Authorization value, and where what must be hidden begins."""
    words = value.split(None, 1)
    name = words[0].lower() if words else b""
    if name not in _KNOWN_SCHEMES:  # a bare key, or a scheme nobody knows
        return _opaque("api_key", value.strip(), "api_key"), 0
    rest = words[1].rstrip() if len(words) > 1 else b""
    start = value.index(words[0]) + len(name) + 1
    return _BY_SCHEME.get(name, _other)(name.decode("ascii"), rest), start


def bearer(scheme: str, token: bytes) -> Credential:
    """A token: a JWT's subject where it is one that names a subject, else the token."""
    return _opaque(scheme, token, "token")


def api_key(value: bytes) -> Credential:
    """The value of an API key field or parameter."""
    return _opaque("api_key", value.strip(), "api_key")


def session(value: bytes) -> Credential:
    """The value of a session cookie."""
    return _opaque("cookie", value.strip().strip(b'"'), "session")


def session_of(cookies: bytes) -> Credential | None:
    """The first session cookie of a Cookie value."""
    for pair in cookies.split(b";"):
        name, equals, value = pair.partition(b"=")
        if equals and value.strip() and session_cookie(name.strip()):
            return session(value)
    return None


def jwt_subject(token: bytes) -> bytes | None:
    """The `sub` claim of a signed JWT (RFC 7519 section 4.1.2), unverified; None: no JWT, or it names no subject."""
    parts = token.split(b".")
    if len(parts) not in (2, 3) or not token.startswith(b"eyJ") or len(parts[1]) > _LONGEST_JWT_PART:
        return None
    try:
        subject = decode_claims(_base64url(parts[1])).sub
    except (msgspec.DecodeError, binascii.Error, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(subject, str) and subject:
        return subject.encode("utf-8", "surrogatepass")
    if isinstance(subject, int) and not isinstance(subject, bool):
        return b"%d" % subject
    return None


def is_jwt(token: bytes) -> bool:
    """Whether the token has the form of a signed (RFC 7515) or encrypted (RFC 7516) JWT."""
    return token.startswith(b"eyJ") and token.count(b".") in (1, 2, 4)


def session_cookie(name: bytes) -> bool:
    """Whether cookies of this name carry a session in a known framework, or say that they do."""
    plain = name.lower()
    for prefix in (b"__host-", b"__secure-"):
        plain = plain.removeprefix(prefix)
    return (
        plain in _SESSION_COOKIES
        or plain.startswith(_SESSION_STARTS)
        or plain.endswith(_SESSION_ENDS)
        or (kind_of_key(name) in ("session", "token") and not plain.endswith(_NO_SESSION_ENDS))
    )


_SESSION_COOKIES: Final = frozenset(
    b"sid connect.sid jsessionid phpsessid asp.net_sessionid .aspxauth .aspnetcore.session .aspnetcore.cookies "
    b".aspnetcore.identity.application laravel_session ci_session symfony rack.session cfid cftoken koa:sess "
    b"express:sess koa.sess grafana_session _gitlab_session user_session sess auth jwt play_session beaker.session.id "
    b"sails.sid li_at _oauth2_proxy authelia_session".split()
)
_SESSION_STARTS: Final = (b"wordpress_logged_in_", b"wordpress_sec_", b"ssess", b"sess_", b"aspsessionid")
_SESSION_ENDS: Final = (
    b"_session",
    b"-session",
    b"sessionid",
    b"session_id",
    b"session-id",
    b"sessid",
    b".sid",
    b"_sid",
)
_NO_SESSION_ENDS: Final = (
    b"csrftoken",
    b"csrf_token",
    b"csrf-token",
    b"xsrf-token",
    b"xsrf_token",
    b"verificationtoken",
)


def _opaque(scheme: str, token: bytes, kind: str) -> Credential:
    if is_jwt(token):
        return Credential(scheme, jwt_subject(token) or token, "jwt")
    return Credential(scheme, token or None, kind)


def _basic(scheme: str, rest: bytes) -> Credential:
    """RFC 7617: base64 of user:password."""
    try:
        decoded = binascii.a2b_base64(rest + b"=" * (-len(rest) % 4))
    except binascii.Error:
        return Credential(scheme, None, "password")
    user, colon, _ = decoded.partition(b":")
    return Credential(scheme, user if colon and user else None, "password")


def _parameter(*names: bytes) -> Callable[[str, bytes], Credential]:
    """A scheme with auth-params (RFC 9110 section 11.2), one of which names who it is."""

    def credential(scheme: str, rest: bytes) -> Credential:
        for part in rest.split(b","):
            name, equals, value = part.strip().partition(b"=")
            if equals and name.strip().lower() in names:
                return Credential(scheme, value.strip().strip(b'"') or None, "token")
        return Credential(scheme, None, "token")

    return credential


def _aws4(scheme: str, rest: bytes) -> Credential:
    """AWS Signature Version 4: Credential=KEY/date/region/service/aws4_request."""
    scope = _parameter(b"credential")(scheme, rest).identity
    return Credential(scheme, scope.split(b"/")[0] if scope else None, "token")


def _key_and_signature(scheme: str, rest: bytes) -> Credential:
    """AWS version 2 and Azure: KEY:signature."""
    return Credential(scheme, rest.split(b":")[0] or None, "token")


def _nobody(scheme: str, _rest: bytes) -> Credential:
    """SPNEGO and its like: the exchange proves an identity but does not spell it."""
    return Credential(scheme, None, "token")


def _keyed(scheme: str, rest: bytes) -> Credential:
    """`ApiKey x`, `Token x`, `Token token="x"`."""
    name, equals, value = rest.partition(b"=")
    if equals and name.strip().lower() in (b"token", b"key", b"apikey", b"api_key", b"client_id"):
        rest = value.split(b",")[0].strip().strip(b'"')
    return _opaque(scheme, rest, "api_key")


def _other(scheme: str, rest: bytes) -> Credential:
    return _opaque(scheme, rest, "token")


_STANDARD: Final = bytes.maketrans(b"-_", b"+/")


def _base64url(part: bytes) -> bytes:
    standard = part.translate(_STANDARD)
    return binascii.a2b_base64(standard + b"=" * (-len(standard) % 4))


_BY_SCHEME: Final[dict[bytes, Callable[[str, bytes], Credential]]] = {
    b"basic": _basic,
    b"bearer": bearer,
    b"dpop": bearer,
    b"jwt": bearer,
    b"digest": _parameter(b"username"),
    b"hawk": _parameter(b"id"),
    b"mac": _parameter(b"id"),
    b"oauth": _parameter(b"oauth_token", b"oauth_consumer_key"),
    b"signature": _parameter(b"keyid"),
    b"negotiate": _nobody,
    b"ntlm": _nobody,
    b"kerberos": _nobody,
    b"mutual": _nobody,
    b"scram-sha-1": _nobody,
    b"scram-sha-256": _nobody,
    b"aws4-hmac-sha256": _aws4,
    b"aws4-ecdsa-p256-sha256": _aws4,
    b"goog4-hmac-sha256": _aws4,
    b"goog4-rsa-sha256": _aws4,
    b"aws": _key_and_signature,
    b"sharedkey": _key_and_signature,
    b"sharedkeylite": _key_and_signature,
    **dict.fromkeys((b"token", b"apikey", b"api-key", b"key", b"ssws", b"splunk", b"bot", b"geniekey"), _keyed),
}
