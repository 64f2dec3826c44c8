"""A small API over asyncio, with logins, identities, personal data and an export: what security teams look for.

Its log says of each call which route its own router took: the truth about endpoints.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import sys
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import brotli
import msgspec
import zstandard
from aiohttp import web

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
PASSWORD = OPTIONS["password"]
TOKEN = OPTIONS["token"]
CARD = OPTIONS["card"]
CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
MOST_USERS = 500
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def login(request: web.Request) -> web.Response:
    if request.content_type == "application/json":
        form: Any = await request.json()
    else:
        form = await request.post()
    if form["password"] != PASSWORD:
        return web.json_response({"error": "no"}, status=401)
    response = web.json_response({"welcome": True})
    response.set_cookie("session", TOKEN, httponly=True)
    return response


def _known(request: web.Request) -> bool:
    return request.headers.get("Authorization", "").startswith("Bearer ")


async def user(request: web.Request) -> web.Response:
    if not _known(request):
        return web.json_response({"error": "who are you?"}, status=401)
    number = int(request.match_info["id"])
    if number > MOST_USERS:
        return web.json_response({"error": "no such user"}, status=404)
    return web.json_response({"id": number, "email": f"user{number}@shop.example"})


async def me(request: web.Request) -> web.Response:
    return web.json_response({"me": True}, status=200 if _known(request) else 401)


async def order(request: web.Request) -> web.Response:
    return web.json_response({"order": request.match_info["uuid"]})


async def pay(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"paid": True}, status=201)


async def report(request: web.Request) -> web.Response:
    coding = request.path.rpartition("/")[2]
    content = CODINGS[coding](msgspec.json.encode({"paid_with": CARD}))
    return web.Response(body=content, headers={"Content-Type": "application/json", "Content-Encoding": coding})


async def export(request: web.Request) -> web.Response:
    return web.Response(body=b"x" * int(request.query["size"]), content_type="application/octet-stream")


async def elsewhere(request: web.Request) -> web.Response:
    target = f"https://partner.example/?access_token={request.query['access_token']}"
    return web.Response(status=302, headers={"Location": target})


async def health(_request: web.Request) -> web.Response:
    return web.Response(text="ok")


@web.middleware
async def logged(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as refused:  # the router's own 404 and 405
        response = refused
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else None
    LOG.write(msgspec.json.encode({"method": request.method, "route": route, "status": response.status}) + b"\n")
    if isinstance(response, web.HTTPException):
        raise response
    return response


async def main() -> None:
    context = None
    if OPTIONS["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
    application = web.Application(middlewares=[logged])
    application.add_routes(
        [
            web.post("/login", login),
            web.get("/api/users/me", me),
            web.get("/api/users/{id:[0-9]+}", user),
            web.get("/api/orders/{uuid:[0-9a-f-]{36}}", order),
            web.post("/api/payments", pay),
            *(web.get(f"/api/reports/{coding}", report) for coding in CODINGS),
            web.get("/api/export", export),
            web.get("/go", elsewhere),
            web.get("/health", health),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, OPTIONS["address"], 0, ssl_context=context)
    await site.start()
    print("ready", runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


with Path(OPTIONS["log"]).open("ab", buffering=0) as LOG:
    asyncio.run(main())
