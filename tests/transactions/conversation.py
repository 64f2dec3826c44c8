"""Conversations with known truth, as the events that a sensor would see of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import h2.config
import h2.connection
import msgspec

from apisensor.events.model import Address, Binding, Cause, Chunk, Close, Direction, Event, Gap, Open
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from apisensor.transactions.analyzer import Analyzer, Count, Limits
from apisensor.transactions.model import Exchange, Header

LOCAL = Address("10.0.0.1", 40000)
REMOTE = Address("10.0.0.2", 80)
SEND, RECEIVE = Direction.SEND, Direction.RECEIVE

Call = tuple[Direction, bytes]
"""What one application call moved."""


class Truth(msgspec.Struct, frozen=True):
    """A call as its peers know it."""

    method: bytes
    target: bytes
    status: int
    request_body: bytes = b""
    response_body: bytes = b""
    request_headers: tuple[tuple[bytes, bytes], ...] = ()
    response_headers: tuple[tuple[bytes, bytes], ...] = ()


class Sensor:
    """An analyzer, and the events of one flow towards it."""

    def __init__(self, limits: Limits | None = None, *, flow: int = 1, http1: Engine = LLHTTP) -> None:
        self.skips: list[tuple[int, Direction, int]] = []
        self.analyzer = Analyzer(limits or Limits(), skip=lambda *call: self.skips.append(call), http1=http1)
        self.flow = flow
        self.position = {SEND: 0, RECEIVE: 0}
        self.now = 0
        self.out: list[Exchange] = []

    def feed(self, *events: Event) -> None:
        for event in events:
            self.out += self.analyzer.feed(event)

    def tick(self) -> int:
        self.now += 1_000
        return self.now

    def open(self, *, from_start: bool = False) -> None:
        self.feed(
            Open(self.tick(), 7, self.flow, self.flow + 100, LOCAL, REMOTE, Binding.SOCKET, from_start=from_start)
        )

    def call(self, direction: Direction, data: bytes, *, call_start: bool = True, tls: bool = False) -> None:
        position = self.position[direction]
        self.position[direction] = position + len(data)
        self.feed(Chunk(self.tick(), 7, self.flow, direction, position, data, tls, call_start))

    def calls(self, calls: Iterable[Call]) -> None:
        for direction, data in calls:
            self.call(direction, data)

    def gap(self, direction: Direction, length: int | None, cause: Cause = Cause.RING_FULL) -> None:
        position = self.position[direction]
        self.feed(Gap(self.tick(), 7, self.flow, direction, position, length, cause))
        self.position[direction] = position + (length or 0)

    def close(self) -> None:
        self.feed(Close(self.tick(), 7, self.flow))

    def count(self, name: Count) -> int:
        return self.analyzer.counts[name]

    def balanced(self) -> bool:
        """Whether every request that began became an exchange."""
        return self.count(Count.REQUESTS_BEGUN) == self.count(Count.EXCHANGES_EMITTED) == len(self.out)


def of_exchange(exchange: Exchange) -> Truth:
    """What an exchange claims."""
    request, response = exchange.request, exchange.response
    assert response is not None
    assert request.method is not None
    assert request.target is not None
    assert response.status is not None
    assert request.body_size == len(request.body)
    assert response.body_size == len(response.body)
    return Truth(
        request.method,
        request.target,
        response.status,
        request.body,
        response.body,
        _known(request.headers),
        _known(response.headers),
    )


def _known(headers: list[Header] | None) -> tuple[tuple[bytes, bytes], ...]:
    """The headers; a field of which something is unknown does not count."""
    return tuple((name, value) for name, value in headers or () if name is not None and value is not None)


def agrees(claim: Truth, truth: Truth) -> bool:
    """Whether a complete exchange equals the truth, up to headers that it says it does not know."""
    return (
        msgspec.structs.replace(claim, request_headers=(), response_headers=())
        == msgspec.structs.replace(truth, request_headers=(), response_headers=())
        and set(claim.request_headers) <= set(truth.request_headers)
        and set(claim.response_headers) <= set(truth.response_headers)
    )


# HTTP/1


def http1_request(truth: Truth, *, chunked: bool = False) -> bytes:
    return _http1(truth.method + b" " + truth.target + b" HTTP/1.1", truth.request_headers, truth.request_body, chunked)


def http1_response(truth: Truth, *, chunked: bool = False) -> bytes:
    return _http1(b"HTTP/1.1 %d Text" % truth.status, truth.response_headers, truth.response_body, chunked)


def _http1(line: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes, chunked: bool) -> bytes:
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    content = body
    if chunked:
        middle = len(body) // 2
        pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
        content = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return line + b"\r\n" + head + b"\r\n" + content


def http1_truth(
    number: int, *, body: int = 0, answer: int = 20, method: bytes = b"GET", chunked: bool = False
) -> Truth:
    """A call that can be told from every other by its number."""
    request_body = (b"q%d " % number * body)[:body]
    response_body = b"" if method == b"HEAD" else (b"r%d " % number * answer)[:answer]
    mark = b"transfer-encoding", b"chunked"
    return Truth(
        method,
        b"/call/%d?x=%d" % (number, number),
        200 + number % 3,
        request_body,
        response_body,
        (
            (b"host", b"service"),
            (b"x-number", b"%d" % number),
            *((mark if chunked else (b"content-length", b"%d" % body),) if body else ()),
        ),
        ((b"x-answer", b"%d" % number), mark if chunked else (b"content-length", b"%d" % answer)),
    )


def http1_calls(truths: Iterable[Truth], client: Direction = SEND, *, split: bool = False) -> Iterator[Call]:
    """One request and its response after the other.

    Args:
        split: Heads and bodies move in calls of their own.
    """
    for truth in truths:
        for direction, whole, body in (
            (client, http1_request(truth, chunked=chunked(truth.request_headers)), truth.request_body),
            (other(client), http1_response(truth, chunked=chunked(truth.response_headers)), truth.response_body),
        ):
            if split and body:
                end = whole.index(b"\r\n\r\n") + 4
                yield direction, whole[:end]
                yield direction, whole[end:]
            else:
                yield direction, whole


def chunked(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"transfer-encoding" for name, _ in headers)


def other(direction: Direction) -> Direction:
    return Direction(1 - direction)


# HTTP/2, made by h2 on both ends


class Http2Peers:
    """A client and a server, and the calls that they made."""

    def __init__(self, *, upgrade: bytes | None = None) -> None:
        """
        Args:
            upgrade: The value of HTTP2-Settings of a connection that began as HTTP/1.
        """
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
        self.calls: list[Call] = []
        if upgrade is not None:
            self.client.initiate_upgrade_connection()
            self.server.initiate_upgrade_connection(upgrade)
            return
        self.client.initiate_connection()
        self.server.initiate_connection()
        self.flush()

    def flush(self) -> None:
        """Exchange what is there, one call in each direction."""
        while True:
            sent = self.client.data_to_send()
            if sent:
                self.calls.append((SEND, sent))
                self.server.receive_data(sent)
            answered = self.server.data_to_send()
            if answered:
                self.calls.append((RECEIVE, answered))
                self.client.receive_data(answered)
            if not sent and not answered:
                return

    def request(self, truth: Truth, *, pad: int | None = None) -> int:
        stream = self.client.get_next_available_stream_id()
        pseudo = [
            (b":method", truth.method),
            (b":path", truth.target),
            (b":scheme", b"https"),
            (b":authority", b"service"),
        ]
        self.client.send_headers(stream, pseudo + list(truth.request_headers), end_stream=not truth.request_body)
        if truth.request_body:
            self.client.send_data(stream, truth.request_body, end_stream=True, pad_length=pad)
        return stream

    def respond(self, stream: int, truth: Truth, *, pad: int | None = None) -> None:
        headers = [(b":status", b"%d" % truth.status), *truth.response_headers]
        self.server.send_headers(stream, headers, end_stream=not truth.response_body)
        if truth.response_body:
            self.server.send_data(stream, truth.response_body, end_stream=True, pad_length=pad)


def http2_truth(number: int, *, body: int = 0, answer: int = 20) -> Truth:
    method = b"POST" if body else b"GET"
    return Truth(
        method,
        b"/call/%d" % number,
        (200, 400, 404)[number % 3],
        (b"q%d " % number * body)[:body],
        (b"r%d " % number * answer)[:answer],
        ((b"x-user", b"user%d" % (number % 4)), (b"x-number", b"%d" % number)),
        ((b"x-answer", b"%d" % number), (b"server", b"h2")),
    )


Loss = tuple[int, int, int]
"""Which call, from which byte of it on, how many bytes."""


def lossy(sensor: Sensor, calls: list[Call], losses: list[Loss], *, said: bool) -> None:
    """Let the calls pass, and some bytes of them be lost."""
    holes = {number % len(calls): (begin, length) for number, begin, length in losses}
    for number, (direction, data) in enumerate(calls):
        begin, length = holes.get(number, (len(data), 0))
        begin = min(begin, len(data))
        end = min(begin + length, len(data))
        if begin:
            sensor.call(direction, data[:begin])
        if end > begin:
            if said:
                sensor.gap(direction, end - begin)
            else:
                sensor.position[direction] += end - begin
        if end < len(data):
            sensor.call(direction, data[end:], call_start=end == 0)
