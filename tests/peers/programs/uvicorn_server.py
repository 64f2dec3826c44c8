"""An HTTP/1.1 server on uvicorn: asyncio, with TLS in memory buffers."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import msgspec
import uvicorn

from tests.peers.programs.answer import CallLog, answer
from tests.peers.programs.native import at_once, listen, ready

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    method, path = scope["method"], f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}"
    size, more = 0, True
    while more:
        event = await receive()
        size += len(event.get("body", b""))
        more = event.get("more_body", False)
    made = answer(method, path)
    headers = [(name.encode(), value.encode()) for name, value in made.headers]
    if not made.chunked and made.status not in (204, 304):
        headers.append((b"content-length", str(len(made.content)).encode()))
    await send({"type": "http.response.start", "status": made.status, "headers": headers})
    step = PIECE if made.chunked else max(len(made.content), 1)
    for at in range(0, len(made.content), step):
        await send({"type": "http.response.body", "body": made.content[at : at + step], "more_body": True})
    await send({"type": "http.response.body"})
    sizes = (size, len(made.content))
    # Of a unix socket uvicorn has (path, None) for itself, and nothing for the client.
    ends = (OPTIONS["address"], "") if OPTIONS["address"].startswith("/") else (scope["server"], scope["client"])
    LOG.write("server", method, path, made.status, sizes, os.getpid(), ends, OPTIONS["tls"])


async def main() -> None:
    listener, port = listen(OPTIONS["address"])
    # asyncio does it only where the socket names its protocol; accepted ones inherit it.
    at_once(listener)
    files = {"ssl_certfile": OPTIONS["certificate"], "ssl_keyfile": OPTIONS["key"]} if OPTIONS["tls"] else {}
    config = uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False, **files)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    ready(port)
    await asyncio.to_thread(sys.stdin.read)
    server.should_exit = True
    await serving


asyncio.run(main())
