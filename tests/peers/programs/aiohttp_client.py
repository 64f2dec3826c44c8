"""A client on asyncio: with TLS, OpenSSL works on memory buffers and the event loop moves the ciphertext."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.peers.plan import Request
from tests.peers.programs.aiohttp_ends import Response
from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


async def _call(session: aiohttp.ClientSession, request: Request) -> None:
    async with session.request(
        request.method,
        OPTIONS["base"] + request.path,
        data=_pieces(request.content) if request.chunked else (request.content or None),
        headers=request.headers,
        expect100=request.expect,
        allow_redirects=False,
    ) as response:
        response_size = len(await response.read())
        if not isinstance(response, Response):
            raise TypeError(type(response))
        sizes = (request.size, response_size)
        tls = OPTIONS["base"].startswith("https:")
        LOG.write("client", request.method, request.path, response.status, sizes, os.getpid(), response.ends, tls)


async def _work(session: aiohttp.ClientSession, share: list[Request]) -> None:
    for request in share:
        await _call(session, request)


async def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    context = ssl.create_default_context(cafile=OPTIONS["certificate"])
    connector = aiohttp.TCPConnector(limit=workers, force_close=not OPTIONS["keep"], ssl=context)
    async with aiohttp.ClientSession(
        connector=connector, response_class=Response, auto_decompress=False, trust_env=False
    ) as session:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(_work(session, planned[at::workers]) for at in range(workers)))


asyncio.run(main())
