"""A client that keeps connections open: one HTTP/1.1 call on each whenever it is told to.

    python -m bench.open_connections PLAIN_PORT TLS_PORT CONNECTIONS TLS_CONNECTIONS RATE CERTIFICATE

For each line on standard input it makes one call on each connection, the first time opening them, RATE a second, and
prints how many were answered. A connection that was closed ends it with a traceback: then nothing was measured.
"""

from __future__ import annotations

import asyncio
import resource
import ssl
import sys
import time

TURN_S = 0.05
REQUEST = b"GET /items/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: application/json\r\n\r\n"
ANSWER_S = 30.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def raise_limit(descriptors: int) -> None:
    """Lets this process, and what it starts, have so many open files. Raises ValueError: the system allows fewer."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, max(hard, descriptors)))


async def _call(connection: Connection, number: int) -> None:
    reader, writer = connection
    writer.write(REQUEST % number)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise ValueError(f"answered {head[:40]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    await reader.readexactly(int(lengths[0].partition(b":")[2]))


class Client:
    """The connections; the first `tls_connections` of them carry TLS."""

    def __init__(self, plain: int, tls: int, connections: int, tls_connections: int, rate: int, authority: str) -> None:
        self._ports = [tls if number < tls_connections else plain for number in range(connections)]
        self._tls = tls
        self._rate = rate
        self._context = ssl.create_default_context(cafile=authority)
        self._open: dict[int, Connection] = {}

    async def _one(self, number: int) -> None:
        connection = self._open.get(number)
        if connection is None:
            port = self._ports[number]
            context = self._context if port == self._tls else None
            connection = self._open[number] = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        await asyncio.wait_for(_call(connection, number), ANSWER_S)

    async def round(self) -> int:
        """One call on each connection; returns how many."""
        begun = time.monotonic()
        made = 0
        while made < len(self._ports):
            due = min(len(self._ports), int((time.monotonic() - begun + TURN_S) * self._rate))
            await asyncio.gather(*map(self._one, range(made, due)))
            made = due
            await asyncio.sleep(TURN_S)
        return made


async def main() -> None:
    *numbers, authority = sys.argv[1:]
    plain, tls, connections, tls_connections, rate = map(int, numbers)
    raise_limit(connections + 256)
    client = Client(plain, tls, connections, tls_connections, rate, authority)
    while await asyncio.to_thread(sys.stdin.readline):
        print(await client.round(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
