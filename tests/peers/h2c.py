"""A server that speaks HTTP/1.1 and, asked by Upgrade or by the preface, HTTP/2 on one plaintext port (RFC 7540
section 3.2): what neither nginx nor nghttpd nor Node.js does. h11 and h2 do the speaking."""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import h2.config
import h2.connection
import h2.events
import h11

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_READ = 65_536
_SECONDS = 30.0
"""A client that is silent for so long has failed."""


class Served(NamedTuple):
    """A call as the server answered it."""

    client_port: int
    protocol: str
    method: str
    path: str
    status: int
    request_size: int
    response_size: int


class UpgradingServer:
    """Answers each call with the status and the size that its query asks for; a context manager."""

    def __init__(self) -> None:
        self.log: list[Served] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> UpgradingServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()
        for thread in self._threads:
            thread.join(_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, (_, port) = self._listener.accept()
            except OSError:
                return
            connection.settimeout(_SECONDS)
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection, port))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, port: int) -> None:
        try:
            first = connection.recv(_READ)
            if first.startswith(_PREFACE[: len(first)]):
                _Http2(self.log, connection, port).run(first)
                return
            self._http1(connection, port, first)
        except OSError:
            return  # the client went, or the server is ending

    def _http1(self, connection: socket.socket, port: int, data: bytes) -> None:
        http = h11.Connection(h11.SERVER)
        while data:
            http.receive_data(data)
            request, size = None, 0
            while not isinstance(event := http.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    more = connection.recv(_READ)
                    http.receive_data(more)
                    if not more:
                        return
                elif isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    size += len(event.data)
                else:
                    return
            assert request is not None
            headers = dict(request.headers)
            method, path = request.method.decode(), request.target.decode()
            if headers.get(b"upgrade") == b"h2c":
                switch = [(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")]
                connection.sendall(http.send(h11.InformationalResponse(status_code=101, headers=switch)))
                http2 = _Http2(self.log, connection, port, headers[b"http2-settings"])
                http2.answer(1, method, path, size)
                http2.run(http.trailing_data[0])
                return
            status, body = _answer(method, path)
            length = [(b"Content-Length", b"%d" % len(body))]
            out = http.send(h11.Response(status_code=status, headers=length)) or b""
            if method != "HEAD":
                out += http.send(h11.Data(data=body)) or b""
            out += http.send(h11.EndOfMessage()) or b""
            sent = 0 if method == "HEAD" else len(body)
            self.log.append(Served(port, "http/1.1", method, path, status, size, sent))
            connection.sendall(out)
            http.start_next_cycle()
            data = connection.recv(_READ)


def _answer(method: str, path: str) -> tuple[int, bytes]:
    """Status and body that a path asks for."""
    query = parse_qs(urlsplit(path).query)
    return int(query["status"][0]), (method.encode() + b" ") * (int(query["size"][0]) // (len(method) + 1))


class _Http2:
    """One connection from its preface on, or from the answer to its upgrade."""

    def __init__(self, log: list[Served], connection: socket.socket, port: int, upgrade: bytes | None = None) -> None:
        self._log = log
        self._socket = connection
        self._port = port
        self._http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self._asked: dict[int, tuple[str, str, int]] = {}
        self._left: dict[int, bytes] = {}
        """What the windows do not yet allow to be sent."""
        if upgrade is None:
            self._http.initiate_connection()
        else:
            self._http.initiate_upgrade_connection(upgrade)
        self._flush()

    def run(self, data: bytes) -> None:
        """Answers until the client ends the connection. `data`: what has come of it."""
        while True:
            for event in self._http.receive_data(data):
                self._event(event)
            for stream in list(self._left):
                self._send(stream)
            self._flush()
            data = self._socket.recv(_READ)
            if not data:
                return

    def answer(self, stream: int, method: str, path: str, size: int) -> None:
        status, body = _answer(method, path)
        bodiless = method == "HEAD" or not body
        self._http.send_headers(stream, [(":status", str(status)), ("x-answer", path)], end_stream=bodiless)
        self._log.append(Served(self._port, "h2", method, path, status, size, 0 if bodiless else len(body)))
        if not bodiless:
            self._left[stream] = body
            self._send(stream)
        self._flush()

    def _event(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            fields = dict(event.headers)
            self._asked[event.stream_id] = fields[b":method"].decode(), fields[b":path"].decode(), 0
        elif isinstance(event, h2.events.DataReceived):
            method, path, size = self._asked[event.stream_id]
            self._asked[event.stream_id] = method, path, size + len(event.data)
            self._http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._asked:
            self.answer(event.stream_id, *self._asked.pop(event.stream_id))

    def _send(self, stream: int) -> None:
        """As much of a body as the windows allow."""
        body = self._left[stream]
        while body and (room := self._http.local_flow_control_window(stream)) > 0:
            piece = body[: min(room, self._http.max_outbound_frame_size)]
            body = body[len(piece) :]
            self._http.send_data(stream, piece, end_stream=not body)
        if body:
            self._left[stream] = body
        else:
            del self._left[stream]

    def _flush(self) -> None:
        self._socket.sendall(self._http.data_to_send())
