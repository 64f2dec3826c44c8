"""An HTTP/1.1 server of one call a connection: threads that accept, answer and close as fast as they can.

One port speaks TLS, the other does not, so that a file descriptor is now one's and then the other's. Prints both.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from typing import Any

import msgspec

from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
THREADS = 8
"""For each port."""


def serve(connection: socket.socket, tls: bool) -> None:
    """Answers one request with as much as it carried. Every second connection is closed first by this end."""
    ends = (connection.getsockname(), connection.getpeername())  # after a reset there is no peer any more
    got = b""
    while b"\r\n\r\n" not in got:
        block = connection.recv(65_536)
        if not block:
            return
        got += block
    head, _, content = got.partition(b"\r\n\r\n")
    method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
    size = int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0])
    while len(content) < size:
        content += connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (size, content))
    LOG.write("server", method, path, 200, (size, size), os.getpid(), ends, tls)
    if size % 2:
        connection.recv(1)


def accept(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    while True:
        raw, _ = listener.accept()
        try:
            with context.wrap_socket(raw, server_side=True) if context else raw as connection:
                serve(connection, context is not None)
        except OSError:
            raw.close()  # the client was gone, perhaps with a reset: it has its answer, or it failed


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
    ports = []
    for one in (context, None):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        ports.append(listener.getsockname()[1])
        for _ in range(THREADS):
            threading.Thread(target=accept, args=(listener, one), daemon=True).start()
    print("ready", *ports, flush=True)
    sys.stdin.read()
    os._exit(0)


main()
