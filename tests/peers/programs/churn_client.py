"""A client of one call a connection: threads that connect, call and close as fast as they can, with TLS and without in
turn. Ends by printing how many file descriptors its connections had."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
from typing import Any

import msgspec

from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
THREADS = 16
RESET = struct.pack("ii", 1, 0)
"""struct linger: on, 0 s; closing then sends a reset."""
DESCRIPTORS: set[int] = set()


def call(n: int, context: ssl.SSLContext, ports: tuple[int, int]) -> None:
    tls = n % 3 == 0
    path, size = f"/churn-{OPTIONS['run']}/{n}", n % 700
    raw = socket.create_connection(("127.0.0.1", ports[0] if tls else ports[1]))
    DESCRIPTORS.add(raw.fileno())
    with context.wrap_socket(raw, server_hostname="127.0.0.1") if tls else raw as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
        connection.sendall(head + bytes([97 + n % 26]) * size)
        got = b""
        while not got.endswith(b"\r\n\r\n" + bytes([97 + n % 26]) * size):
            block = connection.recv(65_536)
            if not block:
                raise ConnectionResetError(path)
            got += block
        ends = (connection.getsockname(), connection.getpeername())
        LOG.write("client", "POST", path, 200, (size, size), os.getpid(), ends, tls)
        if n % 5 == 1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        elif n % 5 == 2:
            connection.shutdown(socket.SHUT_WR)


def main() -> None:
    context = ssl.create_default_context(cafile=OPTIONS["certificate"])
    failed: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for n in range(first, OPTIONS["count"], THREADS):
                call(n, context, OPTIONS["ports"])
        except BaseException as error:  # noqa: BLE001 - told by the exit status
            failed.append(error)

    print("ready", flush=True)
    sys.stdin.readline()
    threads = [threading.Thread(target=work, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    print(len(DESCRIPTORS))


main()
