"""What fuzzing of `inner` starts from: one well-formed input for each form that its parsers know."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Callable

from tests.content.test_grpc_messages import spans
from tests.fuzz import elf
from tests.transactions.test_proxy import HEADERS

_TRAILERS = b"\x80\0\0\0\x20grpc-status: 5\r\ngrpc-message: x\r\n"
_MESSAGES = b"\0\0\0\0\x03abc\x01\0\0\0\0\0\0\0\0\x02de"


def _websocket() -> list[bytes]:
    masked = b"\x01\x82abcd\t\x07\x80\x83abcd\t\x07\x08\x89\x80abcd\x88\x82abcd\x62\x8a"
    deflated = zlib.compressobj(9, zlib.DEFLATED, -15)
    texts = [(deflated.compress(text) + deflated.flush(zlib.Z_SYNC_FLUSH))[:-4] for text in (b"hello", b"hello hello")]
    packed = b"".join(bytes((0xC1, len(text))) + text for text in texts)
    plain = b"\x81\x05hello\x82\x7e\x00\x80" + bytes(128) + b"\x01\x03\xc3\xa9x\x89\0\x80\x01y\x88\x05\x03\xe8bye"
    return [bytes((first, 6)) + body for first, body in ((1, masked), (0, plain), (2, packed), (6, packed))]


def _counters() -> list[bytes]:
    events = b"\xef\xbb\xbfdata: one\n\n: c\n\nevent: e\r\ndata:two\r\n\r\nid: 7\rdata\r\rdata: \xc3\xa9\n\n"
    text = base64.b64encode(_MESSAGES) + base64.b64encode(_TRAILERS)
    bodies = (_MESSAGES, _MESSAGES + _TRAILERS, text, events)
    return [bytes((kind, 3, 9, 12)) + body for kind, body in enumerate(bodies)]


def _protobuf() -> list[bytes]:
    message = spans("joe@example.com")
    packed = gzip.compress(message)
    bodies = [b"\0" + len(message).to_bytes(4, "big") + message, b"\x01" + len(packed).to_bytes(4, "big") + packed]
    return [b"\0" + bodies[0], b"\x01" + bodies[1] + bodies[0], b"\x04" + base64.b64encode(bodies[0] + _TRAILERS)]


def _operations() -> list[bytes]:
    envelope = (
        b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%b</s:Body></s:Envelope>'.replace(
            b"%b", b"<a:Get xmlns:a='urn:x'>1</a:Get>"
        )
    )
    fault = envelope.replace(b"a:Get", b"s:Fault").replace(b">1<", b"><faultcode>s:Client</faultcode><")
    multipart = (
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b\r\nContent-Disposition: form-data; '
        b'name="f"; filename="n"\r\nContent-Type: text/plain\r\n\r\ny\r\n--b--\r\n'
    )
    query = b'{"operationName": "Q", "query": "query Q($a: B = 1) { c(d: $a) { e } ...F } fragment F on G { h }"}'
    rpc = b'[{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}, {"jsonrpc": "2.0"}]'
    failed = b'[{"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "m"}}]'
    web = base64.b64encode(_MESSAGES + _TRAILERS)
    bodies = [
        (0, query, b'{"errors": [{"message": "m"}]}'),
        (0, rpc, failed),
        (0, b'{"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab"}}}', b""),
        (1, b"mutation M { a } subscription { b }", b""),
        (2, envelope, fault),
        (3, envelope, envelope),
        (4, b"user=joe&tags%5B%5D=1&empty=&%zz=1", b""),
        (5, multipart, b""),
        (6, web, web),
        (7, query, b""),
    ]
    return [bytes((kind,)) + asked + b"\n\n" + answered for kind, asked, answered in bodies]


def _process() -> list[bytes]:
    pod = "kubepods.slice/kubepods-pod01234567_89ab_cdef_0123_456789abcdef.slice/cri-containerd-" + "a1" * 32 + ".scope"
    lines = [
        f"0::/{pod}\n1:name=systemd:/docker/{'b2' * 32}\f\fservice.name=shop%20x,a=b\f/bin/python3\fpython3\f-m\fapp",
        "0::/system.slice/nginx.service\fname\f\f/usr/sbin/nginx\fnginx: master process nginx",
        "12:cpu:/lxc.payload.x/system.slice/a.service\f\f\f/usr/bin/java\fjava\f-Xmx1g\f-cp\fa.jar\fcom.example.Main",
        "0::/machine.slice/machine-a\\x2db.scope\f\f\f/usr/bin/node (deleted)\fnode\f-r\fx\fserver.js",
        "\f\f\f/usr/bin/python3\fgunicorn\f-w\f2\fshop.wsgi:application",
    ]
    return [line.encode() for line in lines]


SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "websocket": _websocket,
    "counters": _counters,
    "protobuf": _protobuf,
    "operations": _operations,
    "graphql": lambda: [
        b'query Q($a: [B!]! = "c") @d(e: 1) { f: g(h: {i: $a}) { j } ... on K { l } ...M } fragment M on N { o }',
        b'# c\n{ a(x: """b \\""" c""") }\nmutation { d } subscription S { e }',
    ],
    "proxy": lambda: [header + b"GET / HTTP/1.1\r\n\r\n" for header in HEADERS.values()],
    "chunks": lambda: [
        b"\x04" + b"3;a=b\r\nabc\r\n00A\r\n0123456789\r\n0;z\r\nX: y\r\nZ:\r\n\r\nGET",
        b"\x01" + b'1 ; a = "b;c"\nx\n0\n\n',
    ],
    "elf": lambda: [elf.library(), elf.go_with_symbols(), elf.go_stripped(), elf.go_stripped(told=False)],
    "process": _process,
    "trace": lambda: [
        b"00-" + b"1" * 32 + b"-" + b"2" * 16 + b"-01\na=b,c@d=e",
        b"01-" + b"a" * 32 + b"-" + b"b" * 16 + b"-03-x",
    ],
}
