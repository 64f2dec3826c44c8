"""Who may ask: the login token, sessions derived from it, and the limit on wrong ones. No socket, no clock of its own.

A program sends the token with each request (Authorization: Bearer). A browser trades it once for a session cookie:

    session = expiry "." HMAC-SHA-256(HMAC-SHA-256(token, "session"), expiry)

so nothing is kept here, a restart ends no session, and a new token ends all.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict

SESSION_SECONDS = 7 * 86_400
"""A page that is opened every morning asks for a login once a week."""
WRONG_PER_WINDOW = 10
"""Wrong tokens of one client address within a window; further attempts wait for its end."""
WINDOW_SECONDS = 60
MAX_TRACKED = 256
"""Client addresses with wrong tokens that are remembered; the one that was wrong longest ago makes room."""


class Access:
    """Checks tokens and sessions, in constant time."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"session", hashlib.sha256)
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Client address: start of its window, wrong tokens since."""

    def token_holds(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._token)

    def session(self, now: float) -> str:
        """A new session's cookie value; `now` is Unix time, seconds."""
        expiry = str(int(now) + SESSION_SECONDS)
        return f"{expiry}.{self._mac(expiry)}"

    def session_holds(self, cookie: str, now: float) -> bool:
        expiry, _, mac = cookie.partition(".")
        right = hmac.compare_digest(mac.encode("utf-8", "surrogateescape"), self._mac(expiry).encode())
        return right and expiry.isascii() and expiry.isdigit() and now < int(expiry)

    def wait_s(self, client: str, now: float) -> int:
        """Seconds until this client may try a token again; 0: now."""
        start, count = self._wrong.get(client, (0.0, 0))
        if count < WRONG_PER_WINDOW or now >= start + WINDOW_SECONDS:
            return 0
        return max(1, round(start + WINDOW_SECONDS - now))

    def wrong(self, client: str, now: float) -> None:
        """This client sent a wrong token."""
        start, count = self._wrong.get(client, (now, 0))
        self._wrong[client] = (start, count + 1) if now < start + WINDOW_SECONDS else (now, 1)
        self._wrong.move_to_end(client)
        if len(self._wrong) > MAX_TRACKED:
            self._wrong.popitem(last=False)

    def _mac(self, expiry: str) -> str:
        return hmac.new(self._key, expiry.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()
