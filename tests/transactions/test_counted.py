"""Messages inside bodies, counted through the whole analysis: DATA frames, chunks, holes, early ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Cause, Direction
from apisensor.protocols.counted import MESSAGE_CUT, NOT_CAPTURED, Passed
from apisensor.streams.limits import Limits
from apisensor.transactions.model import Exchange
from tests.transactions.conversation import RECEIVE, SEND, Http2Peers, Sensor

GRPC = (b"content-type", b"application/grpc")
WEB = (b"content-type", b"application/grpc-web+proto")


def framed(*messages: bytes) -> bytes:
    return b"".join(b"\0" + len(message).to_bytes(4, "big") + message for message in messages)


def grpc_calls(asked: bytes, answered: bytes, *, size: int, trailers: bool = True) -> list[tuple[Direction, bytes]]:
    """One call over HTTP/2, its content in DATA frames of `size` octets, some padded."""
    peers = Http2Peers()
    stream = peers.client.get_next_available_stream_id()
    pseudo = [(b":method", b"POST"), (b":path", b"/s.S/M"), (b":scheme", b"http"), (b":authority", b"s")]
    peers.client.send_headers(stream, [*pseudo, GRPC])
    for at in range(0, len(asked), size):
        peers.client.send_data(stream, asked[at : at + size], pad_length=at % 3 or None)
        peers.flush()
    peers.client.end_stream(stream)
    peers.flush()
    peers.server.send_headers(stream, [(b":status", b"200"), GRPC])
    for at in range(0, len(answered), size):
        peers.server.send_data(stream, answered[at : at + size])
        peers.flush()
    if trailers:
        peers.server.send_headers(stream, [(b"grpc-status", b"0")], end_stream=True)
    else:
        peers.client.reset_stream(stream)
    peers.flush()
    return peers.calls


def only(sensor: Sensor) -> Exchange:
    sensor.close()
    assert sensor.balanced()
    (exchange,) = sensor.out
    return exchange


@pytest.mark.parametrize("size", [1, 4, 5, 7, 1000])
def test_grpc_over_data_frames_of_any_size(size: int) -> None:
    sensor = Sensor(Limits(body_capture=8))
    sensor.open(from_start=True)
    sensor.calls(grpc_calls(framed(b"a" * 30, b""), framed(b"b" * 5, b"c" * 6, b"d"), size=size))
    exchange = only(sensor)
    assert exchange.protocol == "grpc"
    assert exchange.incomplete_reason is None
    assert exchange.request.messages == Passed("grpc", 2, 30, 30, 0)
    assert exchange.response is not None
    assert exchange.response.messages == Passed("grpc", 3, 12, 6, 0)
    assert len(exchange.request.body) == 8


def test_a_reset_stream_has_counted_what_passed() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(grpc_calls(framed(b"a"), framed(b"b") + b"\0\0", size=100, trailers=False))
    exchange = only(sensor)
    assert exchange.incomplete_reason == "stream_reset"
    assert exchange.request.messages == Passed("grpc", 1, 1, 1, 0)
    assert exchange.response is not None
    assert exchange.response.messages == Passed("grpc", 1, 1, 1, 0, reason="stream_reset")


@settings(max_examples=150)
@given(st.data())
def test_random_gaps_leave_counts_right_or_absent(data: st.DataObject) -> None:
    asked, answered = framed(b"a" * 40, b"b", b"c" * 20), framed(b"d" * 200, b"e" * 3)
    calls = grpc_calls(asked, answered, size=data.draw(st.sampled_from([11, 1000])))
    lost = data.draw(st.sets(st.integers(0, len(calls) - 1), min_size=1, max_size=3))
    sensor = Sensor()
    sensor.open(from_start=True)
    for index, (direction, bytes_) in enumerate(calls):
        if index in lost:
            begin = data.draw(st.integers(0, len(bytes_) - 1))
            size = data.draw(st.integers(1, len(bytes_) - begin))
            sensor.call(direction, bytes_[:begin]) if begin else None
            sensor.gap(direction, size)
            if begin + size < len(bytes_):
                sensor.call(direction, bytes_[begin + size :], call_start=False)
        else:
            sensor.call(direction, bytes_)
    sensor.close()
    for exchange in sensor.out:
        whole = Passed("grpc", 3, 61, 40, 0), Passed("grpc", 2, 203, 200, 0)
        for message, truth in zip((exchange.request, exchange.response), whole, strict=True):
            found = None if message is None else message.messages
            if found is not None and found.reason is None:
                assert found == truth
            elif found is not None and found.count is not None:
                assert truth.count is not None
                assert found.count <= truth.count
                assert exchange.incomplete_reason is not None


def test_a_lost_frame_may_have_held_messages() -> None:
    """Whole DATA frames are missing, each a message: nothing that follows shows it."""
    calls = grpc_calls(framed(b"a"), framed(b"bb", b"cc", b"dd"), size=7)
    data = [index for index, (way, octets) in enumerate(calls) if way is RECEIVE and octets[3:4] == b"\0"]
    sensor = Sensor()
    sensor.open(from_start=True)
    for index, (direction, octets) in enumerate(calls):
        if index == data[1]:
            sensor.gap(direction, len(octets))
        else:
            sensor.call(direction, octets)
    exchange = only(sensor)
    assert exchange.request.messages == Passed("grpc", 1, 1, 1, 0)
    assert exchange.response is not None
    assert exchange.response.messages == Passed("grpc", reason="ring_full")


def test_a_padded_frame_of_which_only_the_head_was_seen() -> None:
    """How much of it was content is lost with it."""
    calls = grpc_calls(framed(b"a" * 30), framed(b"b"), size=7)
    (padded, *_) = [index for index, (way, octets) in enumerate(calls) if way is SEND and octets[3:5] == b"\0\x08"]
    sensor = Sensor()
    sensor.open(from_start=True)
    for index, (direction, octets) in enumerate(calls):
        if index == padded:
            sensor.call(direction, octets[:9])
            sensor.gap(direction, len(octets) - 9)
        else:
            sensor.call(direction, octets)
    assert only(sensor).request.messages == Passed("grpc", reason="ring_full")


def test_a_hole_among_chunks() -> None:
    raw = http1(b"POST / HTTP/1.1\r\nhost: s", WEB, framed(b"a", b"b", b"c"), chunk=6)
    sensor = Sensor()
    sensor.open(from_start=True)
    start = raw.index(b"\r\n\r\n") + 4 + 11
    sensor.call(SEND, raw[:start])
    sensor.gap(SEND, 11)
    sensor.call(SEND, raw[start + 11 :], call_start=False)
    assert only(sensor).request.messages == Passed("grpc-web", reason="ring_full")


def http1(head: bytes, kind: tuple[bytes, bytes], body: bytes, *, chunk: int | None) -> bytes:
    fields = kind[0] + b": " + kind[1] + b"\r\n"
    if chunk is None:
        return head + b"\r\n" + fields + b"content-length: %d\r\n\r\n" % len(body) + body
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(body[at : at + chunk]), body[at : at + chunk]) for at in range(0, len(body), chunk)
    )
    return head + b"\r\n" + fields + b"transfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"


TRAILERS = b"grpc-status:7\r\ngrpc-message:no\r\n"


@pytest.mark.parametrize("chunk", [None, 1, 6, 100])
@pytest.mark.parametrize("step", [1, 13, 10_000])
def test_grpc_web_over_http1(chunk: int | None, step: int) -> None:
    asked = framed(b"a" * 50)
    answered = framed(b"b" * 9, b"c") + b"\x80" + len(TRAILERS).to_bytes(4, "big") + TRAILERS
    sensor = Sensor(Limits(body_capture=8))
    sensor.open(from_start=True)
    for direction, raw in (
        (SEND, http1(b"POST /s.S/M HTTP/1.1\r\nhost: s", WEB, asked, chunk=chunk)),
        (RECEIVE, http1(b"HTTP/1.1 200 OK", WEB, answered, chunk=chunk)),
    ):
        for at in range(0, len(raw), step):
            sensor.call(direction, raw[at : at + step])
    exchange = only(sensor)
    assert exchange.protocol == "http/1.1"
    assert exchange.request.messages == Passed("grpc-web", 1, 50, 50, 0)
    assert exchange.response is not None
    assert exchange.response.messages == Passed("grpc-web", 2, 10, 9, 0)
    assert exchange.response.trailers == [(b"grpc-status", b"7"), (b"grpc-message", b"no")]


def test_events_of_a_response_that_ends_with_its_connection() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, b"GET /events HTTP/1.1\r\nhost: s\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: 1\n\n")
    for number in range(100):
        sensor.call(RECEIVE, b"data: %03d\n\n" % number)
    exchange = only(sensor)
    assert exchange.request.messages is None
    assert exchange.response is not None
    assert exchange.response.messages == Passed("sse", 101, 301, 3, 0)


def test_large_counted_bodies_are_not_declined() -> None:
    body = framed(*([b"x" * 65_536] * 20))
    for kind, skips in ((WEB, False), ((b"content-type", b"image/png"), True)):
        sensor = Sensor(Limits(skip_beyond=1000))
        sensor.open(from_start=True)
        raw = http1(b"POST / HTTP/1.1\r\nhost: s", kind, body, chunk=None)
        for at in range(0, len(raw), 16_384):
            sensor.call(SEND, raw[at : at + 16_384])
        assert bool(sensor.skips) == skips
        sensor.call(RECEIVE, b"HTTP/1.1 204 No\r\n\r\n")
        assert only(sensor).request.messages == (None if skips else Passed("grpc-web", 20, 20 * 65_536, 65_536, 0))


@pytest.mark.parametrize(
    ("cause", "size", "expected"),
    [
        (Cause.RING_FULL, 40, Passed("grpc-web", 2, 110, 100, 0)),
        (Cause.RING_FULL, 98, Passed("grpc-web", reason="ring_full")),
        (Cause.NOT_IN_USER_MEMORY, 40, Passed("grpc-web", 2, 110, 100, 0)),
        (Cause.NOT_IN_USER_MEMORY, 98, Passed("grpc-web", reason=NOT_CAPTURED)),
    ],
)
def test_holes_in_a_body_of_known_length(cause: Cause, size: int, expected: Passed) -> None:
    raw = http1(b"POST / HTTP/1.1\r\nhost: s", WEB, framed(b"a" * 100, b"b" * 10), chunk=None)
    start = raw.index(b"\r\n\r\n") + 4 + 10
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, raw[:start])
    sensor.gap(SEND, size, cause)
    sensor.call(SEND, raw[start + size :])
    sensor.call(RECEIVE, b"HTTP/1.1 204 No\r\n\r\n")
    assert only(sensor).request.messages == expected


def test_a_body_that_ends_inside_a_message() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, http1(b"POST / HTTP/1.1\r\nhost: s", WEB, framed(b"a", b"b")[:-1], chunk=3))
    sensor.call(RECEIVE, b"HTTP/1.1 204 No\r\n\r\n")
    assert only(sensor).request.messages == Passed("grpc-web", 1, 1, 1, 0, reason=MESSAGE_CUT)
