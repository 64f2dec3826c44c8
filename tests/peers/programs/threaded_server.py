"""An HTTP/1.1 server of the standard library: a thread a connection, OpenSSL on the socket itself, heads and contents
in writes of their own."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from tests.peers.programs.answer import CallLog, answer

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000
"""Bytes of content in one chunk of a chunked response."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each second write of a response waits 40 ms for an acknowledgement

    def _content_size(self) -> int:
        """Reads the request's content to its end."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        size = 0
        while length := int(self.rfile.readline().split(b";")[0], 16):
            size += len(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return size

    def answer(self) -> None:
        request_size = self._content_size()
        response = answer(self.command, self.path)
        self.send_response(response.status)
        for name, value in response.headers:
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        if response.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif response.status not in (204, 304):
            self.send_header("Content-Length", str(len(response.content)))
        self.end_headers()
        if response.chunked:
            for start in range(0, len(response.content), PIECE):
                piece = response.content[start : start + PIECE]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\n\r\n")
        elif response.content:
            self.wfile.write(response.content)
        sizes = (request_size, len(response.content))
        ends = (self.connection.getsockname(), self.connection.getpeername())
        LOG.write("server", self.command, self.path, response.status, sizes, os.getpid(), ends, OPTIONS["tls"])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer

    def log_message(self, *_: Any) -> None:
        """The log is `LOG`."""


class Server(ThreadingHTTPServer):
    request_queue_size = 256
    address_family = socket.AF_INET6 if ":" in OPTIONS["address"] else socket.AF_INET


def main() -> None:
    server = Server((OPTIONS["address"], 0), Handler)
    if OPTIONS["tls"]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(OPTIONS["certificate"], OPTIONS["key"])
        # The handshake is left to the connection's thread, or one slow client would hold up all others.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", server.server_address[1], flush=True)
    sys.stdin.read()


main()
