"""Where HTTP/1 messages end (RFC 9112 section 6): whole, byte by byte, at every split point."""

from __future__ import annotations

import pytest

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
    "an empty line behind a body": (
        [(SEND, request(b"Content-Length: 1", body=b"x") + b"\r\n"), (RECEIVE, OK), (SEND, GET), (RECEIVE, OK)],
        [posted(b"x"), GOT],
    ),
    "no Host": ([(SEND, b"GET /a HTTP/1.1\r\n\r\n"), (RECEIVE, OK)], [GOT]),
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


def said(calls: list[Call]) -> list[Said]:
    sensor = Sensor()
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


@pytest.mark.parametrize("case", CASES)
def test_every_split_point(case: str) -> None:
    calls, truth = CASES[case]
    for turn, (way, data) in enumerate(calls):
        for cut in range(1, len(data)):
            split: list[Call] = [*calls[:turn], (way, data[:cut]), (way, data[cut:]), *calls[turn + 1 :]]
            assert said(split) == truth, (turn, cut)
