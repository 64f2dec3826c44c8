"""HTTP/1 by h11, which is Python: where httptools is not installed, and as what llhttp is compared with.

h11 is an endpoint that waits for its own side to answer. An observer's way around that is a new connection for each
message, with what the last one left over; towards responses it pretends to have asked for an upgrade, so that none is
refused. Differences from llhttp, each of them tested:

- of a head that is cut, nothing is known but that it began
- a request of HTTP/1.1 without Host, or with two, is refused (RFC 9112 section 3.2)
- Content-Length lines that agree are one; only those that differ are refused (RFC 9110 section 8.6)
- a transfer coding other than chunked, or chunked twice, is refused
- a tab behind "chunked" is a blank; llhttp takes it for another coding, whose content ends with the connection
- a method of any name is taken; llhttp has a list
- lines may end with LF alone, and a field line may be folded (RFC 9112 sections 2.2 and 5.2)
"""

from __future__ import annotations

import h11

from apisensor.protocols.http1_engine import DUPLICATE_LENGTH, Callbacks, Engine, RequestCallbacks

_HEAD = 1 << 20
"""Bytes of a head that h11 holds back. The readers' limit is lower and has its own anomaly."""

_EMPTY = b"\r\n"
"""Octets passed over before a start line (RFC 9112 section 2.2)."""


class SwitchedError(Exception):
    """args[0]: how many bytes were read."""


class RefusedError(Exception):
    """The bytes are no message."""


class FailedError(RefusedError):
    """Never raised: errors of callbacks pass through h11 as they are."""


class _Parser:
    """What requests and responses have in common."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._connection: h11.Connection | None = None
        """Of the message under way."""

    def feed_data(self, data: bytes) -> None:
        rest = data
        try:
            while True:
                connection = self._connection
                if connection is None:
                    rest = rest.lstrip(_EMPTY)
                    if not rest:
                        return
                    self._connection = connection = self._new_connection()
                    self._callbacks.on_message_begin()
                if rest:
                    connection.receive_data(rest)
                if not self._read(connection):
                    return
                self._connection = None
                rest, _ = connection.trailing_data
                if self._switches():
                    raise SwitchedError(len(data) - len(rest))
        except h11.RemoteProtocolError as error:
            reason = DUPLICATE_LENGTH if str(error).startswith("conflicting Content-Length") else str(error)
            raise RefusedError(reason) from error

    def _read(self, connection: h11.Connection) -> bool:
        """Tells what there is; whether the message is over."""
        callbacks = self._callbacks
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                callbacks.on_body(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                for name, value in event.headers.raw_items():
                    callbacks.on_header(name, value)
                callbacks.on_message_complete()
                return True
            elif isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
                self._head(event)
                for name, value in event.headers.raw_items():
                    callbacks.on_header(name, value)
                callbacks.on_headers_complete()
                if self._switches() or isinstance(event, h11.InformationalResponse):
                    callbacks.on_message_complete()
                    return True
            else:
                return False

    def _new_connection(self) -> h11.Connection:
        raise NotImplementedError

    def _head(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> None:
        """Keep what the getters are asked for."""
        raise NotImplementedError

    def _switches(self) -> bool:
        """Whether what follows the last head may be another protocol."""
        raise NotImplementedError


class RequestParser(_Parser):
    def __init__(self, callbacks: RequestCallbacks) -> None:
        super().__init__(callbacks)
        self._tell_url = callbacks.on_url
        self._request: h11.Request | None = None

    def _new_connection(self) -> h11.Connection:
        self._request = None
        return h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)

    def _head(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> None:
        assert isinstance(event, h11.Request)
        self._request = event
        self._tell_url(event.target)

    def _switches(self) -> bool:
        return self._request is not None and (self._request.method == b"CONNECT" or self.should_upgrade())

    def get_method(self) -> bytes:
        return b"" if self._request is None else self._request.method

    def get_http_version(self) -> str:
        return "" if self._request is None else self._request.http_version.decode()

    def should_upgrade(self) -> bool:
        fields = () if self._request is None else self._request.headers
        options = b",".join(value.lower() for name, value in fields if name == b"connection")
        return any(name == b"upgrade" for name, _ in fields) and b"upgrade" in map(bytes.strip, options.split(b","))


class ResponseParser(_Parser):
    def __init__(self, callbacks: Callbacks) -> None:
        super().__init__(callbacks)
        self._status = 0

    def _new_connection(self) -> h11.Connection:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", ""), ("Upgrade", "any")]))
        connection.send(h11.EndOfMessage())
        return connection

    def _head(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> None:
        assert not isinstance(event, h11.Request)
        self._status = event.status_code

    def _switches(self) -> bool:
        return self._status == 101

    def get_status_code(self) -> int:
        return self._status


ENGINE = Engine(RequestParser, ResponseParser, SwitchedError, RefusedError, FailedError)
