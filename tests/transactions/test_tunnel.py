"""HTTP inside a CONNECT tunnel that carries plaintext is read like that of a new connection; the tunnel is one more."""

from __future__ import annotations

import itertools

import pytest

from apisensor.events.model import Cause
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_h11 import ENGINE as H11
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from apisensor.transactions.analyzer import Count
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Http2Peers,
    Sensor,
    http1_calls,
    http1_request,
    http1_truth,
    http2_truth,
    of_exchange,
)

CONNECT = b"CONNECT host:80 HTTP/1.1\r\nHost: host:80\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
TUNNEL: list[Call] = [(SEND, CONNECT), (RECEIVE, ESTABLISHED)]
TRUTHS = [http1_truth(0, method=b"POST", body=20), http1_truth(1), http1_truth(3, method=b"HEAD")]
INSIDE = list(http1_calls(TRUTHS))


def check(calls: list[Call], *, engine: Engine = LLHTTP, tunnels: int = 1, goes_on: int | None = None) -> None:
    """
    Args:
        goes_on: Which of the calls is no call, but the rest of the one before.
    """
    sensor = Sensor(http1=engine)
    sensor.open()
    for turn, (way, data) in enumerate(calls):
        sensor.call(way, data, call_start=turn != goes_on)
    *outside, first, second, third = sensor.out
    for found in outside:
        request, response = found.request, found.response
        assert (request.method, request.authority, request.target) == (b"CONNECT", b"host:80", None)
        assert (response and response.status, found.incomplete_reason, found.anomalies) == (200, None, [])
    assert len(outside) == tunnels == sensor.count(Count.TUNNELS)
    assert [of_exchange(found) for found in (first, second, third)] == TRUTHS
    assert [found.incomplete_reason for found in sensor.out] == [None] * (tunnels + 3)
    assert sensor.balanced()
    assert sensor.count(Count.UNREAD_BYTES) == sensor.count(Count.NOT_HTTP_BYTES) == 0


@pytest.mark.parametrize("engine", [LLHTTP, H11], ids=["llhttp", "h11"])
def test_whole_and_byte_by_byte(engine: Engine) -> None:
    check(TUNNEL + INSIDE, engine=engine)
    check([(way, bytes((octet,))) for way, data in TUNNEL + INSIDE for octet in data], engine=engine)


def test_every_split_point() -> None:
    calls = TUNNEL + INSIDE[:4]
    for turn, (way, data) in enumerate(calls):
        for cut in range(1, len(data)):
            split = [*calls[:turn], (way, data[:cut]), (way, data[cut:]), *calls[turn + 1 :], *INSIDE[4:]]
            check(split, goes_on=turn + 1)


def test_what_is_sent_before_the_answer_is_inside() -> None:
    (_, first), *others = INSIDE
    for data in (CONNECT + first, first):
        for cut in range(len(data)):
            before: list[Call] = [] if data is not first else [(SEND, CONNECT)]
            pieces: list[Call] = [(SEND, piece) for piece in (data[:cut], data[cut:]) if piece]
            check([*before, *pieces, (RECEIVE, ESTABLISHED), *others])


def test_what_follows_the_answer_in_its_call_is_inside() -> None:
    (_, asked), (_, answered), *others = INSIDE
    whole = ESTABLISHED + answered
    for cut in range(len(whole)):
        pieces: list[Call] = [(RECEIVE, piece) for piece in (whole[:cut], whole[cut:]) if piece]
        check([(SEND, CONNECT), (SEND, asked), *pieces, *others])


def test_an_answer_that_is_reported_before_its_request() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls([*reversed(TUNNEL), *INSIDE])
    assert [of_exchange(found) for found in sensor.out[1:]] == TRUTHS
    assert [found.incomplete_reason for found in sensor.out] == [None] * 4


def test_a_tunnel_in_a_tunnel() -> None:
    check(TUNNEL * 2 + INSIDE, tunnels=2)


def test_a_tunnel_behind_ordinary_calls() -> None:
    before = http1_truth(7)
    sensor = Sensor()
    sensor.open()
    sensor.calls([*http1_calls([before]), *TUNNEL, *INSIDE])
    assert [of_exchange(found) for found in (sensor.out[0], *sensor.out[2:])] == [before, *TRUTHS]


def test_requests_in_one_call_inside() -> None:
    requests: Call = (SEND, b"".join(map(http1_request, TRUTHS)))
    check([*TUNNEL, requests, *(call for call in INSIDE if call[0] is RECEIVE)])


def test_http2_inside() -> None:
    peers = Http2Peers()
    truths = [http2_truth(0, body=10), http2_truth(1)]
    streams = [peers.request(truth) for truth in truths]
    peers.flush()
    for stream, truth in zip(streams, truths, strict=True):
        peers.respond(stream, truth)
    peers.flush()
    for calls in (peers.calls, [(way, bytes((octet,))) for way, data in peers.calls for octet in data]):
        sensor = Sensor()
        sensor.open()
        sensor.calls([*TUNNEL, *calls])
        _, *inside = sensor.out
        assert [of_exchange(found) for found in inside] == truths
        assert {found.protocol for found in inside} == {"h2"}


@pytest.mark.parametrize(
    ("inside", "cause"),
    [(b"\x16\x03\x01\x00\x05hello", Count.FLOWS_CIPHERTEXT), (b"SSH-2.0-OpenSSH_9.2p1\r\n", Count.FLOWS_NOT_HTTP)],
)
def test_what_is_not_http_inside(inside: bytes, cause: Count) -> None:
    for calls in ([*TUNNEL, (SEND, inside)], [(SEND, CONNECT), (SEND, inside), (RECEIVE, ESTABLISHED)]):
        sensor = Sensor()
        sensor.open()
        sensor.calls([*calls, *itertools.repeat((RECEIVE, inside), 40), *itertools.repeat((SEND, inside), 40)])
        assert len(sensor.out) == 1
        assert sensor.count(Count.REQUESTS_BEGUN) == 1
        assert sensor.count(cause) == 1
        assert len(sensor.skips) == 2
        assert sensor.count(Count.NOT_HTTP_BYTES) == 81 * len(inside)


def test_after_a_loss_inside_nothing_is_invented() -> None:
    early = http1_request(TRUTHS[0])
    for lost in (10, None):
        sensor = Sensor()
        sensor.open()
        sensor.call(SEND, CONNECT)
        sensor.call(SEND, early[:30])
        sensor.gap(SEND, lost, Cause.RING_FULL)
        sensor.call(RECEIVE, ESTABLISHED)
        sensor.call(SEND, early[40:], call_start=False)
        sensor.call(RECEIVE, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        sensor.calls(http1_calls([TRUTHS[1]]))
        sensor.close()
        complete = [found for found in sensor.out if found.incomplete_reason is None]
        assert of_exchange(complete[-1]) == TRUTHS[1], lost
        assert {found.request.target for found in complete} <= {None, TRUTHS[1].target}
        assert sensor.balanced()
