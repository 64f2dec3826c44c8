"""What every request passes: the Host it asks for, where it comes from, who sends it; and the headers of every answer.

Host        none of ours -> 403: a name that an attacker points at this address (DNS rebinding) is not served
Origin,     a write from another origin -> 403, a cookie read by one too: another port of this host gets the
Sec-Fetch-  session cookie as well (cookies know no port, RFC 6265 section 8.5)
token       neither session nor token -> 401, for pages with a form that asks for the token
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from apisensor.web.access import SESSION_SECONDS, Access
from apisensor.web.errors import ApiError

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
OPEN_PATHS = ("/login", "/static/")
"""Without a login: the form that asks for it, and files that are in every installation."""
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
        "form-action 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""Nothing from outside, nothing inline; and no way from text to HTML (trusted types without any policy)."""

HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise itself."""


def allowed_hosts(address: str, port: int, further: Iterable[str]) -> frozenset[str]:
    """Host fields that are served: loopback names and the bound address with the port, and web.hosts as they are."""
    bound = f"[{address}]" if ":" in address else address
    names = {f"{name}:{port}" for name in (*LOOPBACK_NAMES, bound)}
    if port == 80:
        names |= {*LOOPBACK_NAMES, bound}
    for name in further:
        names |= {name.lower(), f"{name.lower()}:{port}"}
    return frozenset(names)


def cookie_name(port: int) -> str:
    """Two sensors on one host (cookies know no port) do not log each other out."""
    return f"apisensor-{port}"


class Guard:
    """Wraps the application; refuses before it is reached."""

    def __init__(self, app: ASGIApp, access: Access, hosts: frozenset[str], port: int, counts: Counter[str]) -> None:
        self._app, self._access, self._hosts, self._counts = app, access, hosts, counts
        self._cookie = cookie_name(port)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._counts["requests"] += 1

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            scope["state"] = {**scope.get("state", {}), "who": self._check(scope)}
        except ApiError as error:
            scope["refused"] = error
        await self._app(scope, receive, send_with_headers)

    def session_cookie(self) -> str:
        """Set-Cookie for who has shown the token."""
        value = self._access.session(time.time())
        return f"{self._cookie}={value}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Strict"

    def try_token(self, token: str, client: str) -> None:
        """Raises ApiError: the token is wrong, or too many were."""
        wait = self._access.wait_s(client, time.monotonic())
        if wait:
            self._counts["refused.too_many_attempts"] += 1
            raise ApiError("too_many_attempts", f"too many wrong tokens; try again in {wait} s", retry_after_s=wait)
        if not self._access.token_holds(token):
            self._access.wrong(client, time.monotonic())
            self._counts["refused.wrong_token"] += 1
            raise ApiError("not_logged_in", "the token is wrong; `run` prints a link that holds the right one")

    def _check(self, scope: Scope) -> str:
        """Who asks: "api", "page", or "" for what is open to all. Raises ApiError."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._hosts or len(headers.getlist("host")) != 1:
            self._counts["refused.host"] += 1
            raise ApiError("forbidden", f"not served under this name ({host[:100]!r}): add it to web.hosts")
        if not self._same_origin(headers, host, scope["method"]):
            self._counts["refused.origin"] += 1
            raise ApiError("forbidden", "the request comes from another origin")
        path: str = scope["path"]
        if path == OPEN_PATHS[0] or path.startswith(OPEN_PATHS[1]):
            return ""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            self.try_token(token.strip(), client_address(scope))
            return "api"
        if self._access.session_holds(cookie_parser(headers.get("cookie", "")).get(self._cookie, ""), time.time()):
            if scope["method"] in WRITES and "origin" not in headers:
                self._counts["refused.origin"] += 1
                raise ApiError("forbidden", "a write by a session needs an Origin; programs send the token instead")
            return "page"
        self._counts["refused.not_logged_in"] += 1
        raise ApiError("not_logged_in", "log in with the link that `run` prints, or send Authorization: Bearer TOKEN")

    @staticmethod
    def _same_origin(headers: Headers, host: str, method: str) -> bool:
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return False
        site = headers.get("sec-fetch-site", "none")
        if method in WRITES:
            return site in ("same-origin", "none")
        return site in ("same-origin", "none") or headers.get("sec-fetch-mode") == "navigate"


def client_address(scope: Scope) -> str:
    """Whose wrong tokens are counted together; all of 127.0.0.0/8 is this machine."""
    address: str = scope["client"][0] if scope.get("client") else ""
    return "127.0.0.1" if address.startswith("127.") else address
