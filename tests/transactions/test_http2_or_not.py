"""What looks like HTTP/2 frames and is none: the rest of a body, a server that speaks first to a client of HTTP/1.

Frames of one direction alone are no proof, because a plausible frame header is nine octets of any content. They wait
for what the other direction says.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.streams.limits import Limits
from apisensor.transactions.candidate import WAIT
from apisensor.transactions.counts import Count
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Http2Peers,
    Sensor,
    Truth,
    http1_calls,
    http1_truth,
    http2_truth,
    of_exchange,
    other,
)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, bytes.fromhex("000300000064"))
GOAWAY = frame(7, 0, 0, bytes(8))

LOOKS_LIKE_FRAMES = {
    "SETTINGS": SETTINGS,
    "empty SETTINGS": frame(4, 0, 0),
    "the end of a stream": frame(0, 1, 1),
    "two frames": frame(8, 0, 0, b"\0\1\0\0") + SETTINGS,
    "a frame that goes on": frame(0, 0, 1, bytes(1000))[:500],
    "the first octet of one": b"\0",
    "a request's head": frame(1, 5, 1, bytes.fromhex("828487")),
}

TRUTHS = [http1_truth(number) for number in range(5)]


def of_http1(sensor: Sensor) -> None:
    """Nothing was taken for HTTP/2, and each of TRUTHS is told."""
    sensor.close()
    assert sensor.balanced()
    assert sensor.count(Count.FLOWS_HTTP2) == 0
    assert {found.stream_id for found in sensor.out} == {None}
    assert [of_exchange(found) for found in sensor.out if found.incomplete_reason is None] == TRUTHS


@pytest.mark.parametrize("client", [SEND, RECEIVE])
@pytest.mark.parametrize("rest", LOOKS_LIKE_FRAMES.values(), ids=LOOKS_LIKE_FRAMES)
@pytest.mark.parametrize("of_client", [True, False])
def test_joined_in_a_body(rest: bytes, client: int, of_client: bool) -> None:
    sensor = Sensor()
    sensor.open()
    client = SEND if client is SEND else RECEIVE
    sensor.call(client if of_client else other(client), rest)
    if of_client:
        sensor.call(other(client), b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
    sensor.calls(http1_calls(TRUTHS, client))
    of_http1(sensor)
    assert len(sensor.out) == len(TRUTHS)


@pytest.mark.parametrize("from_start", [True, False])
def test_a_server_of_http2_that_is_asked_in_http1(from_start: bool) -> None:
    """As where somebody's health check asks a gRPC server: it has said its SETTINGS by then."""
    sensor = Sensor()
    sensor.open(from_start=from_start)
    sensor.call(RECEIVE, SETTINGS)
    sensor.call(SEND, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    sensor.call(RECEIVE, GOAWAY)
    sensor.close()
    (found,) = sensor.out
    assert (found.protocol, found.request.method, found.request.target) == ("http/1.1", b"GET", b"/healthz")
    assert (found.response, found.incomplete_reason) == (None, "parse_error")
    assert sensor.count(Count.FLOWS_HTTP2) == 0


@pytest.mark.parametrize("piece", [1, 7, 100])
def test_a_server_of_http1_that_is_asked_in_http2(piece: int) -> None:
    """Its words are no frames, and no answer: the reason says that they came, and they are counted."""
    peers = Http2Peers()
    _request(peers, http2_truth(1))
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, b"".join(data for way, data in peers.calls if way is SEND) + peers.client.data_to_send())
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    for at in range(0, len(answer), piece):
        sensor.call(RECEIVE, answer[at : at + piece], call_start=not at)
    sensor.close()
    (found,) = sensor.out
    assert (found.protocol, found.request.target, found.response) == ("h2", b"/call/1", None)
    assert found.incomplete_reason == "parse_error"
    assert sensor.count(Count.PARSE_ERRORS) == 1
    assert sensor.count(Count.UNREAD_BYTES) == len(answer) - 9  # what was read as the header of a frame


@pytest.mark.parametrize("from_start", [True, False])
def test_a_server_of_http2_that_speaks_first_is_not_joined_late(from_start: bool) -> None:
    truths = [http2_truth(number) for number in range(3)]
    peers = Http2Peers()
    calls = peers.calls
    calls.insert(0, calls.pop(next(at for at, (way, _) in enumerate(calls) if way is RECEIVE)))
    for truth in truths:
        peers.respond(_request(peers, truth), truth)
        peers.flush()
    sensor = Sensor()
    sensor.open(from_start=from_start)
    sensor.calls(calls)
    sensor.close()
    assert [of_exchange(found) for found in sensor.out] == truths
    assert sensor.count(Count.FLOWS_JOINED_LATE) == 0


def _request(peers: Http2Peers, truth: Truth) -> int:
    stream = peers.request(truth)
    peers.flush()
    return stream


def _conversation(count: int, body: int = 0) -> tuple[list[Call], list[Truth]]:
    peers = Http2Peers()
    truths = [http2_truth(number, body=body) for number in range(count)]
    for truth in truths:
        peers.respond(_request(peers, truth), truth)
        peers.flush()
    return peers.calls, truths


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 40), st.integers(1, 3), st.booleans(), st.booleans())
def test_joined_in_a_body_that_quotes_http2(joined: int, at_once: int, of_client: bool, answered: bool) -> None:
    """A recording of a conversation goes up or down over HTTP/1: none of its requests is told."""
    quoted = [data for way, data in _conversation(6, body=30)[0] if way is (SEND if of_client else RECEIVE)]
    calls: list[Call] = [
        (SEND if of_client else RECEIVE, b"".join(quoted[at : at + at_once])) for at in range(0, len(quoted), at_once)
    ]
    if answered:
        calls.insert(len(calls) // 2, (RECEIVE if of_client else SEND, b"\r\n"))
    if of_client:
        calls.append((RECEIVE, b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"))
    sensor = Sensor()
    sensor.open()
    late = calls[1 + joined % len(calls) :]
    sensor.calls(late)
    sensor.calls(http1_calls(TRUTHS))
    of_http1(sensor)
    assert len(sensor.out) == len(TRUTHS)


@pytest.mark.parametrize("way", [SEND, RECEIVE])
def test_one_direction_alone_is_told_when_it_ends(way: int) -> None:
    """A capture of one direction has no answers, and what it does have is not lost."""
    calls, truths = _conversation(4)
    sensor = Sensor()
    sensor.open()
    sensor.calls((direction, data) for direction, data in calls[3:] if direction is way)
    assert sensor.out == []
    sensor.close()
    assert sensor.balanced()
    told = [(found.request.target, found.response, found.incomplete_reason) for found in sensor.out]
    requests = [(truth.target, None, "response_not_seen") for truth in truths]
    assert told == (requests[-len(told) :] if way is SEND else [])
    assert len(told) >= 3 * (way is SEND)


def test_one_direction_alone_is_believed_after_so_many_frames() -> None:
    sensor = Sensor()
    sensor.open()
    for _ in range(5):
        sensor.call(RECEIVE, frame(0, 0, 1, bytes(WAIT // 4)))
    assert sensor.count(Count.FLOWS_HTTP2) == 1
    sensor = Sensor()
    sensor.open()
    sensor.call(RECEIVE, SETTINGS + bytes(8 + WAIT) + b"x")
    assert (sensor.count(Count.FLOWS_HTTP2), sensor.count(Count.NOT_HTTP_BYTES)) == (0, len(SETTINGS) + 9 + WAIT)


def test_frames_and_calls_of_no_meaning() -> None:
    """The other direction is in the middle of a large upload: its calls begin with content."""
    sensor = Sensor()
    sensor.open()
    for number in range(1, Limits().identify_chunks + 1):
        sensor.call(RECEIVE, frame(8, 0, 0, bytes((0, 0, 64, 0))))
        sensor.call(SEND, b"content %d" % number)
    assert (sensor.count(Count.FLOWS_HTTP2), sensor.count(Count.FLOWS_NOT_HTTP)) == (1, 0)


def test_idle_while_it_waits() -> None:
    sensor = Sensor()
    sensor.open()
    calls, _ = _conversation(2)
    (request,) = (data for direction, data in calls[-2:] if direction is SEND)
    sensor.call(SEND, request)
    sensor.out += sensor.analyzer.expire(sensor.now + 10**12)
    (found,) = sensor.out
    assert (found.incomplete_reason, found.stream_id) == ("response_not_seen", 3)
    sensor.close()
    assert sensor.balanced()


def test_a_loss_while_it_waits_leaves_nothing_believed() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, SETTINGS)
    sensor.gap(SEND, 100)
    sensor.call(RECEIVE, frame(8, 0, 0, bytes((0, 0, 64, 0))))
    assert sensor.count(Count.FLOWS_HTTP2) == 0
    sensor.calls(http1_calls(TRUTHS))
    of_http1(sensor)
