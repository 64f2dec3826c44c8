"""The standard recording: the same synthetic API traffic on every machine, as the events a worker is fed with.

A server with TLS is observed. Every transaction is a request with 8 header fields and a response with 7, 400 to 1,000
bytes of JSON each way, to one of 50 endpoints, over one of 1,000 connections in random turns, with one of 10,000 bearer
tokens (JWTs of some 200 bytes). One response in ten holds an e-mail address. The first transaction of a connection
brings its `Bind`. Everything follows from the seed.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import hpack
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame

from apisensor.events.model import Address, Bind, Binding, Chunk, Direction, Event

SEED = 20240501
CONNECTIONS = 1_000
TOKENS = 10_000
CONTENT_BYTES = (400, 1_000)
EMAIL_SHARE = 0.1
INTERVAL_NS = 100_000
"""Event time between two transactions: 10,000 a second."""
DURATION_NS = 50_000
"""From request to response; shorter than INTERVAL_NS, so that event time only rises."""
PID = 4711
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_METHODS = ("POST", "PUT", "PATCH")
"""Those that carry content both ways."""
_SERVER = Address("10.0.0.5", 443)
_RESOURCES = (
    *("orders", "users", "invoices", "payments", "products"),
    *("carts", "shipments", "returns", "reviews", "stores"),
)
_ACTIONS = ("", "/items", "/status", "/notes", "/history")

Protocol = Literal["http/1.1", "h2"]


@dataclass(frozen=True)
class Exchange:
    """One synthetic call, before it is written in a protocol."""

    connection: int
    method: str
    path: str
    request_headers: list[tuple[str, str]]
    """Without Host."""
    request: bytes
    response_headers: list[tuple[str, str]]
    response: bytes


def _segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _tokens(chance: random.Random) -> list[str]:
    header = _segment({"alg": "HS256", "typ": "JWT"})
    tokens = []
    for n in range(TOKENS):
        subject = f"user-{n:05d}"
        claims = {"iss": "https://auth.example", "sub": subject, "iat": 1_700_000_000 + n, "scope": "read write"}
        signature = base64.urlsafe_b64encode(chance.randbytes(32)).rstrip(b"=").decode()
        tokens.append(f"{header}.{_segment(claims)}.{signature}")
    return tokens


def _content(chance: random.Random, email: bool) -> bytes:
    """JSON of a size drawn from CONTENT_BYTES, exactly."""
    size = chance.randint(*CONTENT_BYTES)
    document: dict[str, Any] = {"id": chance.randrange(10**6), "state": "open", "created": "2024-05-01T12:00:00Z"}
    if email:
        document["contact"] = f"person{chance.randrange(10**4)}@mail.example"
    document["lines"] = []
    while len(json.dumps(document)) < size - 150:
        line = {"sku": f"A-{chance.randrange(1000)}", "count": chance.randrange(9), "price": chance.randrange(900) / 10}
        document["lines"].append(line)
    document["note"] = ""
    document["note"] = "n" * (size - len(json.dumps(document)))
    return json.dumps(document).encode()


def exchanges(count: int, seed: int = SEED) -> Iterator[Exchange]:
    """`count` calls, in the order in which they happen."""
    chance = random.Random(seed)
    tokens = _tokens(chance)
    templates = [f"/api/v1/{resource}/{{}}{action}" for resource in _RESOURCES for action in _ACTIONS]
    for n in range(count):
        request = _content(chance, False)
        response = _content(chance, chance.random() < EMAIL_SHARE)
        request_id = f"{chance.getrandbits(64):016x}"
        yield Exchange(
            # Each is met once before chance decides, so that there are as many as promised.
            connection=n if n < CONNECTIONS else chance.randrange(CONNECTIONS),
            method=chance.choice(_METHODS),
            path=chance.choice(templates).format(chance.randrange(10**5)),
            request_headers=[
                ("User-Agent", "example-client/2.1 (Linux; x86_64)"),
                ("Accept", "application/json"),
                ("Accept-Encoding", "gzip, deflate, br"),
                ("Authorization", f"Bearer {chance.choice(tokens)}"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(request))),
                ("X-Request-Id", request_id),
            ],
            request=request,
            response_headers=[
                ("Server", "example"),
                ("Date", "Wed, 01 May 2024 12:00:00 GMT"),
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(response))),
                ("Cache-Control", "no-store"),
                ("Strict-Transport-Security", "max-age=63072000"),
                ("X-Request-Id", request_id),
            ],
            response=response,
        )


def http1(exchange: Exchange) -> tuple[bytes, bytes]:
    """Request and response as HTTP/1.1; Host is the eighth request field."""
    head = [f"{exchange.method} {exchange.path} HTTP/1.1", "Host: api.example"]
    head += [f"{name}: {value}" for name, value in exchange.request_headers]
    answer = ["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in exchange.response_headers)]
    return _message(head, exchange.request), _message(answer, exchange.response)


def _message(lines: list[str], content: bytes) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


class Http2Connection:
    """Writes exchanges as HTTP/2 frames, with the dynamic tables of one connection; :authority takes Host's place."""

    def __init__(self) -> None:
        self._request, self._response = hpack.Encoder(), hpack.Encoder()
        self._stream = -1

    def write(self, exchange: Exchange) -> tuple[bytes, bytes]:
        """Request and response; the first with preface and SETTINGS."""
        self._stream += 2
        pseudo = [(":method", exchange.method), (":scheme", "https"), (":authority", "api.example")]
        pseudo.append((":path", exchange.path))
        request = self._frames(self._request, pseudo, exchange.request_headers, exchange.request)
        answer = self._frames(self._response, [(":status", "200")], exchange.response_headers, exchange.response)
        if self._stream == 1:
            settings = SettingsFrame(0).serialize()
            return _PREFACE + settings + request, settings + answer
        return request, answer

    def _frames(
        self, encoder: hpack.Encoder, pseudo: list[tuple[str, str]], headers: list[tuple[str, str]], content: bytes
    ) -> bytes:
        block = encoder.encode([*pseudo, *((name.lower(), value) for name, value in headers)])
        head = HeadersFrame(self._stream, block, flags=["END_HEADERS"])
        return bytes(head.serialize() + DataFrame(self._stream, content, flags=["END_STREAM"]).serialize())


def events(count: int, protocol: Protocol = "http/1.1", seed: int = SEED) -> Iterator[Event]:
    """The recording: a `Bind` for each connection, a `Chunk` for each message."""
    positions = [[0, 0] for _ in range(CONNECTIONS)]
    http2 = [Http2Connection() for _ in range(CONNECTIONS)] if protocol == "h2" else []
    time_ns = 0
    for exchange in exchanges(count, seed):
        time_ns += INTERVAL_NS
        at = exchange.connection
        flow, position = 1_000 + at, positions[at]
        if position[Direction.RECEIVE] == 0:
            client = Address(f"10.1.{at // 250}.{at % 250 + 1}", 40_000 + at)
            yield Bind(time_ns, PID, flow, 100_000 + at, _SERVER, client, Binding.NESTED)
        request, response = http2[at].write(exchange) if http2 else http1(exchange)
        yield Chunk(time_ns, PID, flow, Direction.RECEIVE, position[Direction.RECEIVE], request, True)
        yield Chunk(time_ns + DURATION_NS, PID, flow, Direction.SEND, position[Direction.SEND], response, True)
        position[Direction.RECEIVE] += len(request)
        position[Direction.SEND] += len(response)
