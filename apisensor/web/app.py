"""The application: the API's routes, the page at each of its addresses, the login; behind the guard."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from apisensor.web import openapi
from apisensor.web.access import Access
from apisensor.web.answers import Asked, Sources
from apisensor.web.errors import ApiError
from apisensor.web.guard import Guard, client_address
from apisensor.web.parameters import parse
from apisensor.web.routes import PREFIX, ROUTES, Route

BODY_BYTES = 16 * 1024
"""Of a request: a comment, and no more."""
BODY_SECONDS = 10.0
PAGES = ("", "live", "inventory", "findings", "transactions", "health")
"""First parts of the page's addresses; static/app.js knows the same ones, and says so of any other."""
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
STATIC = Path(__file__).parent / "static"

Handler = Callable[[Request], Awaitable[Response]]


def create_app(sources: Sources, access: Access, hosts: frozenset[str], port: int) -> ASGIApp:
    """The application.

    Args:
        sources: what answers are made of.
        access: who may ask.
        hosts: guard.allowed_hosts.
        port: that it is served on; names the cookie.
    """
    application = Application(sources)
    guard = Guard(application, access, hosts, port, sources.counts)
    application.guard = guard
    return guard


class Application:
    """Finds what answers a request; every error becomes its JSON here."""

    guard: Guard

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._files = {f"/static/{path.relative_to(STATIC)}": _File(path) for path in STATIC.rglob("*.*")}
        self._log = logging.getLogger("apisensor.web")
        self._document = msgspec.json.encode(openapi.document())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            if "refused" in scope:
                raise scope["refused"]
            response = await self._find(request)(request)
        except ApiError as error:
            response = self._error(request, error)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 -- one request's failure is no other's; what it asked is not logged
            self._sources.counts["failed"] += 1
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
            self._log.error(f"an answer of the page failed: {type(error).__name__} at {place}")
            response = self._error(request, ApiError("internal", "the answer failed; the sensor's log says where"))
        await response(scope, receive, send)

    def _find(self, request: Request) -> Handler:
        path, method = request.url.path, request.method
        if path.startswith("/api/"):
            return self._find_route(path, method)
        if path == "/login":
            return self._login
        if method not in ("GET", "HEAD"):
            raise ApiError("method_not_allowed", "GET alone is known here")
        if path in self._files:
            return partial(self._file, self._files[path])
        if path == "/metrics":
            return self._metrics
        if path.split("/")[1] in PAGES:
            return partial(self._file, self._files["/static/index.html"])
        raise ApiError("not_found", "there is nothing here")

    def _find_route(self, path: str, method: str) -> Handler:
        if path == f"{PREFIX}/openapi.json":
            return self._openapi
        matching = [(route, id) for route in ROUTES if (id := _match(PREFIX + route.path, path)) is not None]
        for route, id in matching:
            if route.method == method:
                return partial(self._answer, route, id)
        if matching:
            raise ApiError("method_not_allowed", f"{', '.join(route.method for route, _ in matching)} is known here")
        raise ApiError("not_found", f"there is no such route; {PREFIX}/openapi.json lists them")

    async def _answer(self, route: Route, id: str, request: Request) -> Response:
        query = parse(route.parameters, request.query_params.multi_items())
        body = await _body(request, route.body) if route.body is not None else None
        answer = await route.answer(Asked(self._sources, query, id, body, request.scope["state"]["who"]))
        if route.stream:
            return StreamingResponse(answer, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        return Response(msgspec.json.encode(answer), media_type="application/json")

    async def _openapi(self, _: Request) -> Response:
        return Response(self._document, media_type="application/json")

    async def _metrics(self, _: Request) -> Response:
        return Response(await self._sources.core.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _login(self, request: Request) -> Response:
        """GET with the token (the link that run prints), or POST {"token"} (the form); then the page, logged in."""
        if request.method == "POST":
            token = (await _body(request, _Token)).token
        elif "token" in request.query_params:
            token = request.query_params["token"]
        else:
            return self._error(request, ApiError("not_logged_in", "the token is missing"))
        self.guard.try_token(token, client_address(request.scope))
        self._sources.counts["logins"] += 1
        response = Response(b"{}", media_type="application/json")
        if request.method != "POST":
            response = RedirectResponse("/", 303)
        response.headers["Set-Cookie"] = self.guard.session_cookie()
        return response

    async def _file(self, file: _File, request: Request) -> Response:
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers={"ETag": file.tag, "Cache-Control": "no-cache"})
        return Response(file.content, headers={"ETag": file.tag, "Cache-Control": "no-cache"}, media_type=file.type)

    def _error(self, request: Request, error: ApiError) -> Response:
        headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="apisensor"'
            if _for_a_person(request):
                return Response(self._files["/static/login.html"].content, 401, headers, TYPES[".html"])
        if error.code == "not_found" and _for_a_person(request):
            return Response(self._files["/static/index.html"].content, 404, headers, TYPES[".html"])
        return Response(error.body(), error.status, headers, "application/json")


class _File:
    """A static file, read once."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self.type = TYPES[path.suffix]
        self.tag = f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'


class _Token(msgspec.Struct, forbid_unknown_fields=True):
    token: str


def _for_a_person(request: Request) -> bool:
    """Whether a browser asked for an address of the page, and not a program for data."""
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")


def _match(template: str, path: str) -> str | None:
    """The id in a path that has the template's form, "" where the template has none; None: another form."""
    before, variable, after = template.partition("{id}")
    if not variable:
        return "" if path == template else None
    if not path.startswith(before) or not path.endswith(after) or len(path) <= len(before) + len(after):
        return None
    id = path[len(before) : len(path) - len(after)]
    return None if "/" in id else id


async def _body(request: Request, kind: type[Any]) -> Any:
    """The JSON body as `kind`. Raises ApiError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise ApiError("bad_request", "Content-Type: application/json is expected")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                content += piece
                if len(content) > BODY_BYTES:
                    raise ApiError("too_large", f"the body is longer than {BODY_BYTES:,} bytes")
    except TimeoutError:
        raise ApiError("bad_request", f"the body did not come within {BODY_SECONDS:g} s") from None
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiError("bad_request", f"the body is not what is expected: {error}") from None
