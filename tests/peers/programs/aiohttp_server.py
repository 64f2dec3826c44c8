"""An HTTP/1.1 server on asyncio: with TLS, OpenSSL works on memory buffers and the event loop moves the ciphertext."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from typing import Any

import msgspec
from aiohttp import web

from tests.peers.programs.answer import CallLog, answer

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000


async def handle(request: web.Request) -> web.StreamResponse:
    request_size = len(await request.read())
    response = answer(request.method, request.raw_path)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError(request.raw_path)
    ends = (transport.get_extra_info("sockname"), transport.get_extra_info("peername"))
    sent: web.StreamResponse
    if response.chunked:
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        sent.enable_chunked_encoding()
        await sent.prepare(request)
        for start in range(0, len(response.content), PIECE):
            await sent.write(response.content[start : start + PIECE])
    else:
        sent = web.Response(status=response.status, headers=response.headers, body=response.content)
        await sent.prepare(request)
    await sent.write_eof()
    sizes = (request_size, len(response.content))
    LOG.write("server", request.method, request.raw_path, response.status, sizes, os.getpid(), ends, OPTIONS["tls"])
    return sent


async def main() -> None:
    context = None
    if OPTIONS["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
    application = web.Application(client_max_size=1 << 27)
    application.router.add_route("*", "/{anything:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, OPTIONS["address"], 0, ssl_context=context)
    await site.start()
    print("ready", runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


asyncio.run(main())
