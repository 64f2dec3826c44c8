"""Every form that frames may take (RFC 9113 sections 5.5 and 6): whole, byte by byte, at every split point."""

from __future__ import annotations

import hpack
import pytest
from hyperframe import frame as hyper

from apisensor.events.model import Direction
from tests.transactions.conversation import RECEIVE, SEND, Call, Sensor

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + hyper.SettingsFrame(0).serialize()
SETTINGS = hyper.SettingsFrame(0).serialize()
FIELDS = [(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", "/p")]
BLOCK = hpack.Encoder().encode(FIELDS)
GREASE = b"\x00\x00\x05\xbb\x5a\x00\x00\x00\x01hello"
"""A frame of a reserved type (RFC 8701's idea, draft-bishop-httpbis-grease): to be ignored."""

Said = tuple[bytes | None, bytes | None, int | None, bytes, bytes]


def headers(block: bytes, *flags: str, stream: int = 1, **fields: int) -> bytes:
    made = hyper.HeadersFrame(stream, block, flags=flags)
    for name, value in fields.items():
        setattr(made, name, value)
    return bytes(made.serialize())


def encoded(*fields: tuple[str, str]) -> bytes:
    return hpack.Encoder().encode(list(fields))


def data(content: bytes, *flags: str, stream: int = 1) -> bytes:
    return bytes(hyper.DataFrame(stream, content, flags=flags).serialize())


def more(block: bytes, *flags: str) -> bytes:
    return bytes(hyper.ContinuationFrame(1, block, flags=flags).serialize())


def pushed() -> bytes:
    """A promise whose block inserts what the response refers to, and the promised response."""
    encoder = hpack.Encoder()
    block = encoder.encode([*FIELDS, ("x-a", "b")])
    promise = hyper.PushPromiseFrame(1, promised_stream_id=2, data=block, flags=["END_HEADERS"])
    response = headers(encoder.encode([(":status", "200"), ("x-a", "b")]), "END_HEADERS")
    second = headers(encoder.encode([(":status", "404")]), "END_HEADERS", stream=2)
    return bytes(promise.serialize()) + response + second + data(b"no", "END_STREAM", stream=2)


WHOLE = headers(BLOCK, "END_HEADERS", "END_STREAM")
OK = headers(encoded((":status", "200")), "END_HEADERS")
ANSWER = OK + data(b"ok", "END_STREAM")
GET: Said = (b"GET", b"/p", 200, b"", b"ok")
CONTROL = b"".join(
    made.serialize()
    for made in (
        hyper.PingFrame(0, bytes(8)),
        hyper.WindowUpdateFrame(0, 100),
        hyper.WindowUpdateFrame(1, 100),
        hyper.PriorityFrame(3, 0, 5),
        hyper.SettingsFrame(0, flags=["ACK"]),
    )
)

CASES: dict[str, tuple[bytes, bytes, Said]] = {
    "plain": (WHOLE, ANSWER, GET),
    "continuation": (
        headers(BLOCK[:3], "END_STREAM") + more(BLOCK[3:5]) + more(b"") + more(BLOCK[5:], "END_HEADERS"),
        ANSWER,
        GET,
    ),
    "all of the block in continuations": (headers(b"", "END_STREAM") + more(BLOCK, "END_HEADERS"), ANSWER, GET),
    "padding": (
        headers(BLOCK, "END_HEADERS", "END_STREAM", "PADDED", pad_length=7),
        OK + bytes(hyper.DataFrame(1, b"ok", pad_length=9, flags=["END_STREAM", "PADDED"]).serialize()),
        GET,
    ),
    "priority and padding": (
        headers(BLOCK, "END_HEADERS", "END_STREAM", "PADDED", "PRIORITY", pad_length=7, depends_on=3, stream_weight=9),
        ANSWER,
        GET,
    ),
    "flow control and others between": (
        CONTROL + WHOLE + CONTROL,
        CONTROL + OK + CONTROL + data(b"ok", "END_STREAM"),
        GET,
    ),
    "frames of unknown types": (
        GREASE + WHOLE + GREASE,
        GREASE + OK + GREASE + data(b"ok", "END_STREAM") + GREASE,
        GET,
    ),
    "the end in an empty frame": (
        headers(BLOCK, "END_HEADERS") + data(b"a") + data(b"") + data(b"b") + data(b"", "END_STREAM"),
        OK + data(b"ok") + data(b"", "END_STREAM"),
        (b"GET", b"/p", 200, b"ab", b"ok"),
    ),
    "trailers both ways": (
        headers(BLOCK, "END_HEADERS") + data(b"a") + headers(encoded(("t", "1")), "END_HEADERS", "END_STREAM"),
        OK + data(b"ok") + headers(encoded(("t", "2")), "END_HEADERS", "END_STREAM"),
        (b"GET", b"/p", 200, b"a", b"ok"),
    ),
    "informational responses": (
        WHOLE,
        headers(encoded((":status", "100")), "END_HEADERS")
        + headers(encoded((":status", "103")), "END_HEADERS")
        + ANSWER,
        GET,
    ),
    "a table of no size": (headers(b"\x20" + BLOCK, "END_HEADERS", "END_STREAM"), ANSWER, GET),
    "a promise": (WHOLE, pushed() + data(b"ok", "END_STREAM"), GET),
    "CONNECT": (
        headers(encoded((":method", "CONNECT"), (":authority", "h:1")), "END_HEADERS") + data(b"abc", "END_STREAM"),
        ANSWER,
        (b"CONNECT", None, 200, b"abc", b"ok"),
    ),
    "extended CONNECT": (  # RFC 8441, here for RFC 9298; a WebSocket's content is frames (test_websocket.py)
        headers(encoded((":method", "CONNECT"), (":protocol", "connect-udp"), *FIELDS[1:]), "END_HEADERS")
        + data(b"abc", "END_STREAM"),
        ANSWER,
        (b"CONNECT", b"/p", 200, b"abc", b"ok"),
    ),
}


def said(calls: list[Call]) -> list[Said]:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(calls)
    sensor.close()
    assert sensor.balanced()
    assert [(one.incomplete_reason, one.anomalies) for one in sensor.out] == [(None, [])] * len(sensor.out)
    found = [(one.request, one.response) for one in sensor.out]
    return [
        (request.method, request.target, response.status, request.body, response.body)
        for request, response in found
        if response is not None
    ]


@pytest.mark.parametrize("case", CASES)
def test_whole_and_byte_by_byte(case: str) -> None:
    request, response, truth = CASES[case]
    calls: list[Call] = [(SEND, PREFACE + request), (RECEIVE, SETTINGS + response)]
    assert said(calls) == [truth]
    assert said([(way, bytes((octet,))) for way, octets in calls for octet in octets]) == [truth]


@pytest.mark.parametrize("case", CASES)
def test_every_split_point(case: str) -> None:
    request, response, truth = CASES[case]
    whole: list[tuple[Direction, bytes]] = [(SEND, PREFACE + request), (RECEIVE, SETTINGS + response)]
    for turn, (way, octets) in enumerate(whole):
        for cut in range(1, len(octets)):
            calls = [*whole[:turn], (way, octets[:cut]), (way, octets[cut:]), *whole[turn + 1 :]]
            assert said(calls) == [truth], (turn, cut)
