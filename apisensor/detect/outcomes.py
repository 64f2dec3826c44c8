"""What the answer to a call says about authentication: refused, accepted, or nothing.

Only what names somebody counts. A 401 to a call without any credential, or within a handshake that names nobody yet
(Negotiate, NTLM, Digest's first call), is how a server asks for one.
"""

from __future__ import annotations

from apisensor.detect.model import Call

REFUSED = frozenset((401, 403))
"""RFC 9110 sections 15.5.2 and 15.5.4."""
LOGIN_REFUSED = frozenset((400, 401, 403, 422))
"""For a body that logs in also 400, which OAuth's token endpoint answers (RFC 6749 section 5.2), and 422, which
frameworks answer to a form whose password is wrong. A 200 with an error in it is not told apart from a success."""
GRPC_REFUSED = frozenset((7, 16))
"""PERMISSION_DENIED, UNAUTHENTICATED."""
GRPC_UNAUTHENTICATED = 16

_PASSWORD_SCHEMES = frozenset(("basic", "digest"))
_LONGEST_PATH = 200


def who(call: Call) -> str | None:
    """Keyed hash of who authenticates: of a login body its user, else the credential's."""
    return call.login_identity or call.identity


def by_password(call: Call) -> bool:
    """The credential can be guessed for a known name: a login, or a scheme with user and password."""
    return call.login_identity is not None or (call.identity is not None and call.scheme in _PASSWORD_SCHEMES)


def refused(call: Call) -> bool:
    """Somebody was named and not let in (401), or not let do it (403)."""
    if call.login_identity is not None:
        return call.status in LOGIN_REFUSED or call.grpc_status in GRPC_REFUSED
    return call.identity is not None and (call.status in REFUSED or call.grpc_status in GRPC_REFUSED)


def password_refused(call: Call) -> bool:
    """The password was wrong, as far as the answer tells: 403 to basic authentication says that it was right."""
    if call.login_identity is not None:
        return call.status in LOGIN_REFUSED or call.grpc_status in GRPC_REFUSED
    return call.scheme in _PASSWORD_SCHEMES and (call.status == 401 or call.grpc_status == GRPC_UNAUTHENTICATED)


def accepted(call: Call) -> bool:
    """The call succeeded; a login also where it leads on (303 after a form)."""
    if call.status is None or call.grpc_status not in (None, 0):
        return False
    return 200 <= call.status < (400 if call.login_identity is not None else 300)


def place(call: Call) -> str:
    """Where authentication was tried: a success elsewhere (a page that asks nobody) says nothing."""
    return call.endpoint or f"{call.service} {call.method} {(call.route or call.path or '')[:_LONGEST_PATH]}"
