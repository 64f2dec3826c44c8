"""An HTTP/1.1 client over TLS that goes on until its standard input ends: kept connections, a call and a pause in turn.

`OPTIONS` has "port", "certificate", "log", "name" (first segment of the paths) and "concurrency".
"""

from __future__ import annotations

import http.client
import itertools
import os
import ssl
import sys
import threading
from typing import Any

import msgspec

from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PAUSE = 0.01
ASKED = [(200, 400), (404, 17), (201, 1000), (500, 1), (200, 16_384), (200, 0), (404, 4096)]
"""Status and size, in turn: neighbours differ."""
QUOTED = 30
"""Requests that a content quotes."""
OVER = threading.Event()


def work(worker: int, context: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", OPTIONS["port"], context=context)
    connection.connect()
    ends = (connection.sock.getsockname(), connection.sock.getpeername())
    for n, (status, size) in enumerate(itertools.cycle(ASKED)):
        if OVER.wait(PAUSE):
            return
        path = f"/{OPTIONS['name']}/{worker}/{n}?status={status}&size={size}"
        method = "POST" if n % 2 else "GET"
        content = b"GET /decoy HTTP/1.1\r\nHost: decoy\r\n\r\n" * QUOTED if n % 2 else b""
        connection.putrequest(method, path)
        connection.putheader("Content-Length", str(len(content)))
        connection.endheaders()
        for at in range(0, len(content), len(content) // 3 + 1):
            connection.send(content[at : at + len(content) // 3 + 1])
        response = connection.getresponse()
        sizes = (len(content), len(response.read()))
        LOG.write("client", method, path, response.status, sizes, os.getpid(), ends, True)


def main() -> None:
    context = ssl.create_default_context(cafile=OPTIONS["certificate"])
    workers = [threading.Thread(target=work, args=(n, context)) for n in range(OPTIONS["concurrency"])]
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    sys.stdin.read()
    OVER.set()
    for worker in workers:
        worker.join()


main()
