"""A receiver of OTLP over HTTP that takes everything and looks at nothing: export without the cost of a collector.

python -m bench.otlp_sink        prints its port
"""

from __future__ import annotations

import socket
import socketserver
import sys

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
_READ = 1 << 20


class _Taker(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while True:
            head = bytearray()
            while (line := self.rfile.readline()) not in (b"\r\n", b""):
                head += line.lower()
            if not head:
                return
            left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            while left > 0 and (piece := self.rfile.read(min(left, _READ))):
                left -= len(piece)
            self.wfile.write(_ANSWER)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    address_family = socket.AF_INET


if __name__ == "__main__":
    with _Server(("127.0.0.1", 0), _Taker) as server:
        sys.stdout.write(f"{server.server_address[1]}\n")
        sys.stdout.flush()
        server.serve_forever()
