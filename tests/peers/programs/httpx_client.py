"""A client on httpx: threads that share one pool of connections, HTTP/1.1 or HTTP/2."""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import msgspec

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000
UNIX = unquote(OPTIONS["base"].removeprefix("http+unix://")) if OPTIONS["base"].startswith("http+unix:") else ""


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def _call(client: httpx.Client, request: Request) -> None:
    content: Any = _pieces(request.content) if request.chunked else (request.content or None)
    url = ("http://localhost" if UNIX else OPTIONS["base"]) + request.path
    with client.stream(request.method, url, content=content, headers=request.headers) as made:
        stream = made.extensions["network_stream"]
        ends = ("", UNIX) if UNIX else tuple(map(stream.get_extra_info, ("client_addr", "server_addr")))
        size = sum(len(piece) for piece in made.iter_raw())
    tls = OPTIONS["base"].startswith("https:")
    sizes = (request.size, size)
    LOG.write("client", request.method, request.path, made.status_code, sizes, os.getpid(), ends, tls)


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    limits = httpx.Limits(max_connections=workers, max_keepalive_connections=workers if OPTIONS["keep"] else 0)
    context = ssl.create_default_context(cafile=OPTIONS["certificate"])
    transport = httpx.HTTPTransport(uds=UNIX, limits=limits) if UNIX else None
    with httpx.Client(verify=context, limits=limits, transport=transport, trust_env=False, timeout=60) as client:
        print("ready", flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(workers) as pool:
            for _ in pool.map(lambda request: _call(client, request), planned):
                pass


main()
