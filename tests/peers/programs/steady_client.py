"""A client that goes on calling until it is told to end, each of its connections kept for ever.

Takes {"base", "certificate", "log", "run", "how": "threads" or "asyncio"}. Each line on standard input names a phase:
paths of calls begun from then on carry it, and once no call of an earlier phase is under way the client prints the
name. The first phase is "before"; in "rest" no call is made. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import os
import ssl
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec

from tests.peers.programs.aiohttp_ends import Response
from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
BASE = urlsplit(OPTIONS["base"])
TLS = BASE.scheme == "https"
CONNECTIONS = 20
PAUSE_S = 0.2
"""Of each connection between two calls: 100 calls a second in all, less their time."""
REST = "rest"
SIZES = (0, 1, 17, 400, 1000)
"""Of answers; nginx's are made ahead."""


class Phase:
    """The phase that calls begin in, and how many connections have come to it."""

    def __init__(self) -> None:
        self.name: str | None = "before"
        self._numbers = itertools.count()
        self._in: dict[int, str | None] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin:
            self.name = line.strip()
        self.name = None

    def path(self, connection: int) -> str | None:
        """Where the connection's next call goes; None: nowhere any more."""
        name = self.name
        with self._lock:
            if self._in.get(connection, "") != name:
                self._in[connection] = name
                if len(self._in) == CONNECTIONS and set(self._in.values()) == {name}:
                    print("ready" if name == "before" else name, flush=True)
            number = next(self._numbers)
        if name is None or name == REST:
            return name
        return f"/steady-{OPTIONS['run']}-{name}/{number}?status=200&size={SIZES[number % 5]}"


def log(path: str, status: int, size: int, ends: Any) -> None:
    LOG.write("client", "GET", path, status, (0, size), os.getpid(), ends, TLS)


def in_thread(number: int, phase: Phase, context: ssl.SSLContext) -> None:
    if TLS:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(BASE.netloc, context=context)
    else:
        connection = http.client.HTTPConnection(BASE.netloc)
    connection.connect()
    ends = (connection.sock.getsockname(), connection.sock.getpeername())
    while path := phase.path(number):
        if path != REST:
            connection.request("GET", path)
            answer = connection.getresponse()
            size = len(answer.read())
            log(path, answer.status, size, ends)
        time.sleep(PAUSE_S)


async def in_task(number: int, phase: Phase, session: aiohttp.ClientSession) -> None:
    while path := phase.path(number):
        if path == REST:
            await asyncio.sleep(PAUSE_S)
            continue
        async with session.get(OPTIONS["base"] + path) as answer:
            size = len(await answer.read())
            if not isinstance(answer, Response):
                raise TypeError(type(answer))
            log(path, answer.status, size, answer.ends)
        await asyncio.sleep(PAUSE_S)


async def on_loop(phase: Phase, context: ssl.SSLContext) -> None:
    connector = aiohttp.TCPConnector(limit=CONNECTIONS, ssl=context, keepalive_timeout=600)
    async with aiohttp.ClientSession(connector=connector, response_class=Response, trust_env=False) as session:
        await asyncio.gather(*(in_task(number, phase, session) for number in range(CONNECTIONS)))


def main() -> None:
    context = ssl.create_default_context(cafile=OPTIONS["certificate"])
    phase = Phase()
    if OPTIONS["how"] == "asyncio":
        asyncio.run(on_loop(phase, context))
        return
    threads = [threading.Thread(target=in_thread, args=(number, phase, context)) for number in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
