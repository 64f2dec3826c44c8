"""A reverse proxy on asyncio, with TLS in memory buffers on both sides; each call it passes on is a span of its own.

Takes {"base"} of the server behind it besides a server's options.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from typing import Any

import aiohttp
import msgspec
from aiohttp import web

from tests.peers.programs.aiohttp_ends import Response
from tests.peers.programs.answer import CallLog, span_of

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PASSED = ("Content-Type", "Content-Encoding", "Location")


class Gateway:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def handle(self, request: web.Request) -> web.StreamResponse:
        method, path, content = request.method, request.raw_path, await request.read()
        if request.transport is None:
            raise ConnectionResetError(path)
        front = (request.transport.get_extra_info("sockname"), request.transport.get_extra_info("peername"))
        headers = {
            name: request.headers[name] for name in ("Content-Type", "Accept-Encoding") if name in request.headers
        }
        if context := request.headers.get("traceparent"):
            version, trace, _, flags = context.split("-")
            headers["traceparent"] = f"{version}-{trace}-{span_of(path)}-{flags}"
        async with self._session.request(
            method, OPTIONS["base"] + path, data=content or None, headers=headers, allow_redirects=False
        ) as answer:
            body = await answer.read()
            if not isinstance(answer, Response):
                raise TypeError(type(answer))
        LOG.write("client", method, path, answer.status, (len(content), len(body)), os.getpid(), answer.ends, True)
        kept = {name: answer.headers[name] for name in PASSED if name in answer.headers}
        sent = web.Response(status=answer.status, headers=kept, body=body)
        await sent.prepare(request)
        await sent.write_eof()
        LOG.write("server", method, path, answer.status, (len(content), len(body)), os.getpid(), front, True)
        return sent


async def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
    behind = ssl.create_default_context(cafile=OPTIONS["certificate"])
    connector = aiohttp.TCPConnector(limit=0, ssl=behind)
    async with aiohttp.ClientSession(
        connector=connector, response_class=Response, auto_decompress=False, trust_env=False
    ) as session:
        application = web.Application(client_max_size=1 << 27)
        application.router.add_route("*", "/{anything:.*}", Gateway(session).handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, OPTIONS["address"], 0, ssl_context=context).start()
        print("ready", runner.addresses[0][1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()


asyncio.run(main())
