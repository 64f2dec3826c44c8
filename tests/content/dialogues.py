"""One short conversation for each parser of what peers send: from the first byte of a connection to its last."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage

from tests.content.test_grpc_messages import spans
from tests.protocols.test_websocket import deflate
from tests.transactions.conversation import RECEIVE, SEND, Call, Http2Peers, Truth, http1_calls, http1_truth
from tests.transactions.test_counted import framed, grpc_calls
from tests.transactions.test_proxy import HEADERS
from tests.transactions.test_tunnel import TUNNEL

_UPGRADE = b"GET /chat HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
_GRANTED = b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: chat.v2\r\n"
_DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate\r\n"
_SETTINGS = b"AAMAAABkAAQAAP__"
_TRAILERS = b"\x80\0\0\0\x0fgrpc-status: 5\n"
_EVENTS = b"data: one\n\n: comment\n\nevent: e\r\ndata:two\r\ndata\r\n\r\nid: 7\rdata: x\r\r"
_ENVELOPE = (
    b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><m:Get xmlns:m="urn:m"/></s:Body>'
    b"</s:Envelope>"
)
_PARTS = (
    b'--b\r\nContent-Disposition: form-data; name="user"\r\n\r\njoe\r\n'
    b'--b\r\nContent-Disposition: form-data; name="photo"; filename="a"\r\n\r\n\0\xff\r\n--b--\r\n'
)
_SIMPLE = list(http1_calls([http1_truth(1)]))


def _chunked(body: bytes, size: int = 7) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-End: y\r\n\r\n"


def _posted(kind: bytes, body: bytes, answer: bytes = b"ok", answer_kind: bytes = b"text/plain") -> list[Call]:
    """A POST whose content has a length, answered in chunks; then another call."""
    ask = b"POST /post HTTP/1.1\r\nHost: s\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (
        kind,
        len(body),
        body,
    )
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % answer_kind
    return [(SEND, ask), (RECEIVE, head + _chunked(answer)), *_SIMPLE]


def _json(ask: object, answer: object = None) -> list[Call]:
    return _posted(b"application/json", json.dumps(ask).encode(), json.dumps(answer).encode(), b"application/json")


def _http1() -> list[Call]:
    asks = [http1_truth(n, body=(0, 12)[n % 2], method=(b"GET", b"PUT")[n % 2], chunked=n == 1) for n in range(3)]
    calls = list(http1_calls(asks))
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"
    return [
        (SEND, b"".join(data for way, data in calls if way is SEND)),
        (RECEIVE, hints + b"".join(data for way, data in calls if way is RECEIVE)),
    ]


def _http2(*, huffman: bool = True) -> list[Call]:
    peers = Http2Peers()
    truths = [Truth((b"GET", b"POST")[n], b"/%d" % n, 200, b"q" * 9 * n, b"r" * 9, ((b"x-n", b"n"),)) for n in range(2)]
    streams = [peers.request(truth, pad=3 * huffman) for truth in truths]
    peers.flush()
    for stream, truth in zip(reversed(streams), reversed(truths), strict=True):
        peers.respond(stream, truth)
    peers.flush()
    return peers.calls


def _h2c() -> list[Call]:
    peers = Http2Peers(upgrade=_SETTINGS)
    ask = b"GET /up HTTP/1.1\r\nHost: s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    ask += b"HTTP2-Settings: %b\r\n\r\n"
    peers.calls = [
        (SEND, ask % _SETTINGS),
        (RECEIVE, b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    ]
    peers.flush()
    peers.respond(1, Truth(b"GET", b"/up", 200, b"", b"hello"))
    peers.flush()
    return peers.calls


def _grpc_compressed() -> list[Call]:
    message = gzip.compress(spans("joe@example.com"))
    return grpc_calls(b"\x01" + len(message).to_bytes(4, "big") + message, framed(spans("two")), size=80)


def _grpc_refused() -> list[Call]:
    """Answered by trailers alone: one header section, and no content."""
    peers = Http2Peers()
    kind = b"content-type", b"application/grpc"
    asked = [(b":method", b"POST"), (b":path", b"/s.S/M"), (b":scheme", b"http"), (b":authority", b"s"), kind]
    peers.client.send_headers(1, asked)
    peers.client.send_data(1, framed(b"abc"), end_stream=True)
    peers.flush()
    refusal = [(b":status", b"200"), kind, (b"grpc-status", b"7"), (b"grpc-message", b"no")]
    peers.server.send_headers(1, refusal, end_stream=True)
    peers.flush()
    return peers.calls


def _websocket(*, compressed: bool = False) -> list[Call]:
    client, server = (
        Connection(kind, [deflate()] if compressed else []) for kind in (ConnectionType.CLIENT, ConnectionType.SERVER)
    )
    asked: list[Event] = [
        TextMessage("hello hello"),
        Ping(b"1"),
        TextMessage("a", message_finished=False),
        TextMessage("b"),
    ]
    answered: list[Event] = [BytesMessage(b"\0\1" * 70), TextMessage("hi"), CloseConnection(1011, "no")]
    return [
        (SEND, _UPGRADE),
        (RECEIVE, _GRANTED + _DEFLATE * compressed + b"\r\n"),
        *((SEND, client.send(event)) for event in asked),
        *((RECEIVE, server.send(event)) for event in answered),
        (SEND, client.send(CloseConnection(1011))),
    ]


def _web(kind: bytes, encode: Callable[[bytes], bytes]) -> list[Call]:
    return _posted(kind, encode(framed(b"abc", b"", b"de")), encode(framed(b"f") + _TRAILERS), kind)


DIALOGUES: dict[str, Callable[[], list[Call]]] = {
    "HTTP/1": _http1,
    "chunks": lambda: _posted(b"text/plain", b"x" * 20, b"y" * 20),
    "PROXY 1": lambda: [(SEND, HEADERS["1, IPv4"] + _SIMPLE[0][1]), *_SIMPLE[1:], *_SIMPLE],
    "PROXY 2": lambda: [(SEND, HEADERS["2, with a TLV"] + _SIMPLE[0][1]), *_SIMPLE[1:], *_SIMPLE],
    "CONNECT": lambda: [*TUNNEL, *_SIMPLE, *_SIMPLE],
    "HTTP/2": _http2,
    "h2c": _h2c,
    "gRPC": lambda: grpc_calls(framed(b"a" * 12, b"", b"b"), framed(b"c" * 9), size=11),
    "gRPC, compressed": _grpc_compressed,
    "gRPC, trailers alone": _grpc_refused,
    "gRPC-Web": lambda: _web(b"application/grpc-web+proto", bytes),
    "gRPC-Web, text": lambda: _web(b"application/grpc-web-text", base64.b64encode),
    "WebSocket": _websocket,
    "WebSocket, compressed": lambda: _websocket(compressed=True),
    "events": lambda: _posted(b"text/plain", b"x", _EVENTS, b"text/event-stream"),
    "GraphQL": lambda: _json({"query": "query Q($a: ID!) { user(id: $a) { name } }"}, {"errors": [{"message": "m"}]}),
    "JSON-RPC": lambda: _json(
        [{"jsonrpc": "2.0", "id": 1, "method": "add"}, {"jsonrpc": "2.0", "method": "note"}],
        [{"jsonrpc": "2.0", "id": 1, "error": {"code": -32601}}],
    ),
    "MCP": lambda: _json({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}),
    "SOAP": lambda: _posted(b"text/xml", _ENVELOPE, _ENVELOPE, b"text/xml"),
    "form": lambda: _posted(b"application/x-www-form-urlencoded", b"user=joe&tags%5B%5D=1&mail=joe%40example.com"),
    "multipart": lambda: _posted(b"multipart/form-data; boundary=b", _PARTS),
    "coded body": lambda: _posted(b"text/plain\r\nContent-Encoding: gzip", gzip.compress(b"joe@example.com " * 9)),
}
