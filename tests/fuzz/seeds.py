"""What fuzzing starts from: well-formed inputs, made here so that they can be read. corpus/NAME adds what was found."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import hpack
import zstandard

from tests.content.shop import message, shop
from tests.content.test_grpc_messages import framed
from tests.fuzz import inner_seeds
from tests.fuzz.flows import encoded
from tests.replay.packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    SYN,
    enhanced,
    ethernet,
    interface,
    pcap,
    section,
    stamped,
    tcp,
)
from tests.replay.test_fragments import fragments
from tests.replay.test_recording import EVENTS, PROCESSES, write
from tests.replay.test_tunnels import TUNNELS, mpls
from tests.transactions.conversation import RECEIVE, SEND, Call, http1_calls, http1_truth, http2_truth
from tests.transactions.test_analyzer import FRAGMENTS
from tests.transactions.test_http2 import concurrent, one_by_one

CORPUS = Path(__file__).parent / "corpus"


def _http1() -> list[bytes]:
    truths = [http1_truth(n, body=(0, 30)[n % 2], chunked=n % 3 == 0) for n in range(4)]
    calls = list(http1_calls(truths))
    pipelined = [(SEND, b"".join(data for way, data in calls if not way))]
    pipelined.append((RECEIVE, b"".join(data for way, data in calls if way)))
    special = [
        (SEND, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (RECEIVE, b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n"),
        (SEND, b"\x81\x05hello"),
    ]
    odd = [
        (SEND, b"POST http://h/x HTTP/1.1\nHost : a\r\n b\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        (RECEIVE, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\n"),
    ]
    malformed = [(SEND, b"GET  a;b c|d HTTP/1.1\r\nHost : a\r\n\r\n"), (RECEIVE, b"HTTP/1.1 400 B\r\n\r\n"), *calls[:2]]
    tunnel = [(SEND, b"CONNECT a:1 HTTP/1.1\r\n\r\n"), (RECEIVE, b"HTTP/1.1 200 OK\r\n\r\n"), *calls[:2]]
    torn = [(SEND, piece) for piece in FRAGMENTS[:16]]
    return [b"\0" + encoded(calls) for calls in (calls, pipelined, special, odd, malformed, tunnel, torn, *_inside())]


def _inside() -> list[list[Call]]:
    """Messages inside bodies, and a WebSocket that compresses."""
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    text = (deflated.compress(b"hello hello") + deflated.flush(zlib.Z_SYNC_FLUSH))[:-4]
    websocket = [
        (SEND, b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
        (
            RECEIVE,
            b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
            b"\x01\x02he\x89\x00\x80\x03llo" + bytes((0xC1, len(text))) + text + b"\x88\x02\x03\xe8",
        ),
        (SEND, b"\x81\x85abcdhello\x82\xfe\x00\x80abcd" + bytes(128)),
    ]
    web = (
        b"\r\nContent-Type: application/grpc-web\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"8\r\n\0\0\0\0\x03abc\r\n14\r\n\x80\0\0\0\x0fgrpc-status: 0\r\n\r\n0\r\n\r\n"
    )
    grpc_web = [(SEND, b"POST /s.S/M HTTP/1.1" + web), (RECEIVE, b"HTTP/1.1 200 OK" + web)]
    events = [
        (SEND, b"GET /events HTTP/1.1\r\n\r\n"),
        (RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\r\n\r\n:x\n\ndata\n\n"),
    ]
    return [websocket, grpc_web, events]


def _http2() -> list[bytes]:
    truths = [http2_truth(n, body=(0, 30)[n % 2]) for n in range(4)]
    whole, mixed = one_by_one(truths, pad=3), concurrent(truths, 1)
    torn = [(SEND, FRAGMENTS[16]), *((SEND, piece) for piece in FRAGMENTS[17:])]
    return [b"\0" + encoded(whole), b"\0" + encoded(mixed), b"\x80" + encoded(mixed[6:]), b"\0" + encoded(torn)]


def _hpack() -> list[bytes]:
    encoder = hpack.Encoder()
    lists = [[(b":method", b"GET"), (b"x-user", b"alice")], [(b"x-user", b"alice"), (b"x-new", b"v" * 60)]]
    blocks = [encoder.encode(headers) for headers in lists]
    encoder.header_table_size = 200
    blocks.append(encoder.encode(lists[1]))
    return [first + b"".join(bytes((len(block),)) + block for block in blocks) for first in (b"\0", b"\x80")]


def _capture() -> list[bytes]:
    talk = [
        tcp(CLIENT, SERVER, 10, None, SYN),
        tcp(SERVER, CLIENT, 20, 11, SYN),
        tcp(CLIENT, SERVER, 11, 21, 0, b"GET / HTTP/1.1\r\n\r\n"),
        tcp(CLIENT, SERVER, 20, 21, 0, b"out of order"),
        tcp(SERVER, CLIENT, 21, 16, 0, b"world"),
    ]
    ip6 = tcp(CLIENT6, SERVER6, 1, 1, 0, b"payload of a packet in fragments")
    raw = pcap(stamped(talk))
    framed = pcap(stamped([ethernet(packet, [0x8100]) for packet in talk]), 1, order=">", nanoseconds=False)
    blocks = section() + interface("<", 101) + b"".join(enhanced("<", 0, n, one) for n, one in enumerate(talk))
    fragmented = pcap(stamped([*talk[:2], *fragments(talk[2], [24, 8]), *fragments(ip6, [16])]))
    nested = [
        bytes(12) + b"\x88\x47" + mpls(7) + talk[0],
        *(ethernet(wrap(one)) for wrap, one in zip(TUNNELS.values(), talk * 4, strict=False)),
    ]
    differ = pcap(
        stamped([*talk[:2], tcp(CLIENT, SERVER, 13, 21, 0, b"xxxx"), tcp(CLIENT, SERVER, 12, 21, 0, b"yyyy"), talk[2]])
    )
    return [raw, framed, blocks, fragmented, pcap(stamped(nested), 1), differ]


def _codings() -> list[bytes]:
    text = b'{"name": "value"}, ' * 20
    coders: list[Callable[[bytes], bytes]] = [
        gzip.compress,
        zlib.compress,
        brotli.compress,
        zstandard.ZstdCompressor().compress,
    ]
    single = [bytes((0x40 | number | whole,)) + code(text) for number, code in enumerate(coders) for whole in (0, 1)]
    return [*single, b"\x80" + gzip.compress(gzip.compress(text))]


def _calls() -> list[bytes]:
    """Requests of the protocols inside HTTP; the body begins in the eleventh line."""
    bodies = {
        b"application/json": b'[{"query": "query Q($a: B = {c: \\"}\\"}) { d(e: $a) @f { g } ...H }'
        b' fragment H on I { j }"},'
        b' {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}]',
        b"text/xml": b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><a>x</a></s:Body>'
        b"</s:Envelope>",
        b"application/x-www-form-urlencoded": b"user=joe&tags%5B%5D=1&empty=",
        b"multipart/form-data; boundary=b": b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
        b"application/grpc": b"\0\0\0\0\x10\x0a\x0ejoe@example.co\0\0\0\0\x02\x08\x01",
        b"application/graphql": b'{ a(x: """ } """) # b\n c }',
    }
    head = b"/graphql?query={a}&operationName=B\nMcp-Session-Id: 1\nSOAPAction: urn:x\nContent-Type: "
    return [head + kind + b"\nX-A: b" * 6 + b"\n" + body for kind, body in bodies.items()]


def _described() -> list[bytes]:
    """A body of each type that holds something, after its number in the order of names."""
    older = message("Older", name="n")
    older.part.add(secret_key="s").deep.text = "t"
    whole = message(
        "Everything", text="a", octets=b"\x0a\x01b", an_int32=-1, a_sint64=-5, a_fixed64=7, a_float=1.5, a_bool=True,
        texts=["x", "y"], packed=[1, -1], unpacked=[2], packed_double=[0.5], labels={"k": "v"}, left="l", maybe="m",
    )  # fmt: skip
    whole.by_number[3].note = "three"
    whole.inner.text = "in"
    whole.orders.add(id=1, note="o")
    whole.any.Pack(message("Order", id=2, note="any"))
    whole.struct.update({"a": ["b", {"c": None, "d": 1.0}]})
    whole.wrapped.value = "w"
    names = sorted(shop().types)
    bodies = [framed(whole.SerializeToString()), framed(older.SerializeToString())]
    kinds = ["shop.v1.Everything", "older.v1.Older"]
    found = [bytes((names.index(kind),)) + body for kind, body in zip(kinds, bodies, strict=True)]
    packed = framed(gzip.compress(whole.SerializeToString()), flag=1)
    return [*found, bytes((names.index(kinds[0]),)) + packed + bodies[0]]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "http1": _http1,
    "http2": _http2,
    "hpack": _hpack,
    "capture": _capture,
    "recording": lambda: [write(*EVENTS[:3], *EVENTS[4:], *PROCESSES), write(EVENTS[2])],
    "codings": _codings,
    "login": lambda: [
        b'{"user": {"email": "a@example.com"}, "password": "x", "n": [1, 2.5e3, null, true]}',
        b"username=alice%20b&password=x&remember=on",
        b'--b\r\nContent-Disposition: form-data; name="user"\r\n\r\nalice\r\n--b\r\n'
        b'Content-Disposition: form-data; name="password"\r\n\r\nx\r\n--b--\r\n',
    ],
    "described": _described,
    "routes": lambda: [
        b"/users/17/orders/18?x=1\n/users/me\n/v1/a.b.Service/Method\n*\n/a//b/../c;p=1\n",
        b"/3f9a1c2e-0000-4000-8000-1234567890ab/x.html\n/2024-01-31/1.2.3.4\n/%41%2f%zz\n/a,b,c:run\nhttp://h/p\n",
    ],
    "redaction": lambda: [
        b"/login?token=abc&card=4111111111111111\nContent-Type: application/json\nCookie: session=1; a=b\n"
        b"Content-Encoding: identity\nReferer: https://u:p@h/x?key=1\ntraceparent: 00-"
        + b"1" * 32
        + b"-"
        + b"2" * 16
        + b'-01\nX-A: b\nX-C: joe@example.com\nX-D: e\nX-F: g\nX-H: i\n{"password": "x", "mail": "joe@example.com"}',
        *_calls(),
    ],
    "command_line": lambda: [
        b"/usr/bin/curl\0-u\0alice:secret\0-H\0Authorization: Bearer abc\0https://u:p@h/?token=1",
        b"sh\0-c\0PASSWORD=x mysql --password=y -pz\0--api-key\0k",
    ],
    **inner_seeds.SEEDS,
}


def inputs(name: str) -> list[bytes]:
    """Seeds and corpus of a target, in a fixed order."""
    return [*SEEDS[name](), *(path.read_bytes() for path in sorted((CORPUS / name).glob("*")))]
