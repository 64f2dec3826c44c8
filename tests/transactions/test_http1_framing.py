"""Where HTTP/1 messages end (RFC 9112 section 6): whole, byte by byte, at every split point."""

from __future__ import annotations

import pytest

from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_h11 import ENGINE as H11
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from tests.transactions.conversation import RECEIVE, SEND, Call, Sensor

Said = tuple[bytes | None, bytes | None, int | None, bytes, bytes, str]

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GOT: Said = (b"GET", b"/a", 200, b"", b"ok", "http/1.1")


def request(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"POST /a HTTP/" + version, b"Host: h", *lines, b"", body))


def response(status: bytes, *lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"HTTP/" + version + b" " + status, *lines, b"", body))


def posted(body: bytes, answer: bytes = b"ok", status: int = 200) -> Said:
    return (b"POST", b"/a", status, body, answer, "http/1.1")


CHUNKED = b"Transfer-Encoding: chunked"

CASES: dict[str, tuple[list[Call], list[Said]]] = {
    "informational responses": (
        [
            (SEND, GET),
            (RECEIVE, response(b"103 Early Hints", b"Link: </s>")),
            (RECEIVE, response(b"100 Continue") + OK),
        ],
        [GOT],
    ),
    "every informational response, several times": (
        [
            (SEND, GET + GET),
            (RECEIVE, response(b"100 Continue") + response(b"102 Processing") * 2 + response(b"103 Early Hints") * 2),
            (RECEIVE, OK + response(b"102 Processing", b"X: y") + response(b"199 Odd") + OK),
        ],
        [GOT, GOT],
    ),
    "an informational response with a length": (
        [(SEND, GET), (RECEIVE, response(b"103 Early Hints", b"Content-Length: 2") + OK)],
        [GOT],
    ),
    "informational responses to HEAD": (
        [
            (SEND, b"HEAD" + GET[3:]),
            (RECEIVE, response(b"103 Early Hints") + response(b"100 Continue")),
            (RECEIVE, response(b"200 OK", b"Content-Length: 2")),
            (SEND, GET),
            (RECEIVE, OK),
        ],
        [(b"HEAD", b"/a", 200, b"", b"", "http/1.1"), GOT],
    ),
    "204 with a length": (
        [(SEND, GET), (RECEIVE, response(b"204 No", b"Content-Length: 2")), (SEND, GET), (RECEIVE, OK)],
        [(b"GET", b"/a", 204, b"", b"", "http/1.1"), GOT],
    ),
    "304 with a length": (
        [(SEND, GET), (RECEIVE, response(b"304 Not", b"Content-Length: 2")), (SEND, GET), (RECEIVE, OK)],
        [(b"GET", b"/a", 304, b"", b"", "http/1.1"), GOT],
    ),
    "304 with a coding": (
        [(SEND, GET), (RECEIVE, response(b"304 Not", CHUNKED)), (SEND, GET), (RECEIVE, OK)],
        [(b"GET", b"/a", 304, b"", b"", "http/1.1"), GOT],
    ),
    "HEAD": (
        [(SEND, b"HEAD" + GET[3:] + GET), (RECEIVE, response(b"200 OK", b"Content-Length: 2")), (RECEIVE, OK)],
        [(b"HEAD", b"/a", 200, b"", b"", "http/1.1"), GOT],
    ),
    "HEAD with a coding": (
        [(SEND, b"HEAD" + GET[3:]), (RECEIVE, response(b"200 OK", CHUNKED)), (SEND, GET), (RECEIVE, OK)],
        [(b"HEAD", b"/a", 200, b"", b"", "http/1.1"), GOT],
    ),
    "HEAD that fails, with neither": (
        [(SEND, b"HEAD" + GET[3:]), (RECEIVE, response(b"404 Not Found")), (SEND, GET), (RECEIVE, OK)],
        [(b"HEAD", b"/a", 404, b"", b"", "http/1.1"), GOT],
    ),
    "HEAD and 304, pipelined": (
        [
            (SEND, b"HEAD" + GET[3:] + GET + b"HEAD" + GET[3:] + GET),
            (RECEIVE, response(b"304 Not", b"Content-Length: 2") * 3 + OK),
        ],
        [
            (b"HEAD", b"/a", 304, b"", b"", "http/1.1"),
            (b"GET", b"/a", 304, b"", b"", "http/1.1"),
            (b"HEAD", b"/a", 304, b"", b"", "http/1.1"),
            GOT,
        ],
    ),
    "204 and 304 with neither": (
        [(SEND, GET * 3), (RECEIVE, response(b"204 No") + response(b"304 Not") + OK)],
        [(b"GET", b"/a", 204, b"", b"", "http/1.1"), (b"GET", b"/a", 304, b"", b"", "http/1.1"), GOT],
    ),
    "204 with a coding": (
        [(SEND, GET * 2), (RECEIVE, response(b"204 No", CHUNKED) + OK)],
        [(b"GET", b"/a", 204, b"", b"", "http/1.1"), GOT],
    ),
    "205 with no length given lasts until the connection ends": (
        [(SEND, GET), (RECEIVE, response(b"205 Reset", body=b"x"))],
        [(b"GET", b"/a", 205, b"", b"x", "http/1.1")],
    ),
    "a body that holds responses lasts until the connection ends": (
        [(SEND, GET), (RECEIVE, response(b"200 OK", body=OK + OK))],
        [(b"GET", b"/a", 200, b"", OK + OK, "http/1.1")],
    ),
    "a length of zero": (
        [
            (SEND, request(b"Content-Length: 0")),
            (RECEIVE, response(b"200 OK", b"Content-Length: 0")),
            (SEND, GET),
            (RECEIVE, OK),
        ],
        [posted(b"", b""), GOT],
    ),
    "lengths with zeros before them": (
        [(SEND, request(b"Content-Length: 003", body=b"abc")), (RECEIVE, OK), (SEND, GET), (RECEIVE, OK)],
        [posted(b"abc"), GOT],
    ),
    "chunk sizes in either case, with zeros before them": (
        [(SEND, request(CHUNKED, body=b"00a\r\n0123456789\r\n0B\r\n0123456789a\r\n000\r\n\r\n")), (RECEIVE, OK)],
        [posted(b"01234567890123456789a")],
    ),
    "chunks with extensions, and trailers": (
        [(SEND, request(CHUNKED, body=b'2;a;b="c d"\r\nab\r\n1\r\nc\r\n0;z\r\nX: y\r\n\r\n')), (RECEIVE, OK)],
        [posted(b"abc")],
    ),
    "a coding before chunked": (
        [(SEND, request(b"Transfer-Encoding: gzip, chunked", body=b"1\r\na\r\n0\r\n\r\n")), (RECEIVE, OK)],
        [posted(b"a")],
    ),
    "chunked in two lines": (
        [(SEND, request(b"Transfer-Encoding: gzip", CHUNKED, body=b"1\r\na\r\n0\r\n\r\n")), (RECEIVE, OK)],
        [posted(b"a")],
    ),
    "chunked in capitals": (
        [(SEND, request(b"TRANSFER-ENCODING: Chunked", body=b"1\r\na\r\n0\r\n\r\n")), (RECEIVE, OK)],
        [posted(b"a")],
    ),
    "until the connection ends": (
        [(SEND, GET), (RECEIVE, response(b"200 OK", body=b"all of it"))],
        [(b"GET", b"/a", 200, b"", b"all of it", "http/1.1")],
    ),
    "a coding that is not chunked lasts until the connection ends": (
        [(SEND, GET), (RECEIVE, response(b"200 OK", b"Transfer-Encoding: gzip", body=b"all"))],
        [(b"GET", b"/a", 200, b"", b"all", "http/1.1")],
    ),
    "HTTP/1.0": (
        [(SEND, b"GET /a HTTP/1.0\r\n\r\n"), (RECEIVE, response(b"200 OK", body=b"all", version=b"1.0"))],
        [(b"GET", b"/a", 200, b"", b"all", "http/1.0")],
    ),
    "HTTP/1.0, kept alive": (
        [
            (SEND, request(b"Connection: keep-alive", b"Content-Length: 1", body=b"x", version=b"1.0")),
            (RECEIVE, response(b"200 OK", b"Connection: keep-alive", b"Content-Length: 2", body=b"ok", version=b"1.0")),
        ]
        * 2,
        [(b"POST", b"/a", 200, b"x", b"ok", "http/1.0")] * 2,
    ),
    "HTTP/1.0 with a length, closed": (
        [(SEND, b"GET /a HTTP/1.0\r\n\r\n"), (RECEIVE, response(b"200 OK", b"Content-Length: 2", body=b"ok"))],
        [(b"GET", b"/a", 200, b"", b"ok", "http/1.0")],
    ),
    "HTTP/1.0, kept alive, and closed at last": (
        [
            (SEND, b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
            (RECEIVE, response(b"200 OK", b"Connection: keep-alive", b"Content-Length: 2", body=b"ok", version=b"1.0")),
            (SEND, b"GET /a HTTP/1.0\r\n\r\n"),
            (RECEIVE, response(b"200 OK", body=b"all", version=b"1.0")),
        ],
        [(b"GET", b"/a", 200, b"", b"ok", "http/1.0"), (b"GET", b"/a", 200, b"", b"all", "http/1.0")],
    ),
    "HTTP/1.0 asked, HTTP/1.1 answered, chunked": (
        [
            (SEND, b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"),
            (RECEIVE, response(b"200 OK", CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n")),
            (SEND, GET),
            (RECEIVE, OK),
        ],
        [(b"GET", b"/a", 200, b"", b"ok", "http/1.0"), GOT],
    ),
    "HEAD over HTTP/1.0": (
        [(SEND, b"HEAD /a HTTP/1.0\r\n\r\n"), (RECEIVE, response(b"200 OK", b"Content-Length: 2", version=b"1.0"))],
        [(b"HEAD", b"/a", 200, b"", b"", "http/1.0")],
    ),
    "closed by name, and gone on": (
        [
            (SEND, GET + GET),
            (RECEIVE, response(b"200 OK", b"Connection: close", b"Content-Length: 2", body=b"ok") + OK),
        ],
        [GOT, GOT],
    ),
    "a refused tunnel with content": (
        [
            (SEND, b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"),
            (RECEIVE, response(b"407 No", b"Content-Length: 2", body=b"no")),
            (SEND, GET),
            (RECEIVE, OK),
        ],
        [(b"CONNECT", None, 407, b"", b"no", "http/1.1"), GOT],
    ),
    "an empty line behind a body": (
        [(SEND, request(b"Content-Length: 1", body=b"x") + b"\r\n"), (RECEIVE, OK), (SEND, GET), (RECEIVE, OK)],
        [posted(b"x"), GOT],
    ),
    "empty lines before requests": (
        [(SEND, b"\n\r\n\n" + GET), (RECEIVE, OK), (SEND, b"\n" + GET), (RECEIVE, OK)],
        [GOT, GOT],
    ),
    "absolute form": ([(SEND, b"GET http://h/a HTTP/1.1\r\nHost: h\r\n\r\n"), (RECEIVE, OK)], [GOT]),
    "asterisk form": (
        [(SEND, b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), (RECEIVE, OK)],
        [(b"OPTIONS", b"*", 200, b"", b"ok", "http/1.1")],
    ),
    "no reason phrase": (
        [(SEND, GET), (RECEIVE, b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok")],
        [GOT],
    ),
}


def said(calls: list[Call], engine: Engine = LLHTTP) -> list[Said]:
    sensor = Sensor(http1=engine)
    sensor.open(from_start=True)
    for way, data in calls:
        sensor.call(way, data, call_start=sensor.position[way] == 0)
    sensor.close()
    assert sensor.balanced()
    found = [(one, one.request, one.response) for one in sensor.out]
    assert [(one.incomplete_reason, one.anomalies) for one in sensor.out] == [(None, [])] * len(found)
    return [
        (request.method, request.target, response.status, request.body, response.body, one.protocol)
        for one, request, response in found
        if response is not None
    ]


@pytest.mark.parametrize("case", CASES)
def test_whole_and_byte_by_byte(case: str) -> None:
    calls, truth = CASES[case]
    assert said(calls) == truth
    assert said([(way, bytes((octet,))) for way, data in calls for octet in data]) == truth


REFUSED_BY_H11 = frozenset(
    (
        "a coding before chunked",
        "chunked in two lines",
        "a coding that is not chunked lasts until the connection ends",
    )
)
"""h11 knows no coding but chunked."""


@pytest.mark.parametrize("case", sorted(CASES.keys() - REFUSED_BY_H11))
def test_h11_says_the_same(case: str) -> None:
    calls, truth = CASES[case]
    assert said(calls, H11) == truth


@pytest.mark.parametrize("case", CASES)
def test_every_split_point(case: str) -> None:
    calls, truth = CASES[case]
    for turn, (way, data) in enumerate(calls):
        for cut in range(1, len(data)):
            split: list[Call] = [*calls[:turn], (way, data[:cut]), (way, data[cut:]), *calls[turn + 1 :]]
            assert said(split) == truth, (turn, cut)
