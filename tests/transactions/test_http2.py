"""HTTP/2 conversations that h2 made on both ends: without loss, with losses, joined late."""

from __future__ import annotations

import random
from typing import Any

import hpack.hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Cause, Direction
from apisensor.transactions.analyzer import Count, Limits
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Http2Peers,
    Loss,
    Sensor,
    Truth,
    agrees,
    http2_truth,
    lossy,
    of_exchange,
    other,
)

TRUTHS = [http2_truth(n, body=(0, 30, 500)[n % 3], answer=(0, 20, 700, 5)[n % 4]) for n in range(12)]


def one_by_one(truths: list[Truth], *, pad: int | None = None) -> list[Call]:
    peers = Http2Peers()
    for truth in truths:
        stream = peers.request(truth, pad=pad)
        peers.flush()
        peers.respond(stream, truth, pad=pad)
        peers.flush()
    return peers.calls


def concurrent(truths: list[Truth], seed: int) -> list[Call]:
    """All requests are open at once; headers and pieces of bodies are interleaved."""
    rng = random.Random(seed)
    peers = Http2Peers()
    streams = []
    for truth in truths:
        streams.append(peers.request(truth))
        if rng.random() < 0.5:
            peers.flush()
    peers.flush()
    bodies = {}
    for stream, truth in rng.sample(list(zip(streams, truths, strict=True)), len(truths)):
        headers = [(b":status", b"%d" % truth.status), *truth.response_headers]
        peers.server.send_headers(stream, headers, end_stream=not truth.response_body)
        if truth.response_body:
            bodies[stream] = truth.response_body
    while bodies:
        stream = rng.choice(list(bodies))
        size = rng.randint(1, 300)
        piece, bodies[stream] = bodies[stream][:size], bodies[stream][size:]
        peers.server.send_data(stream, piece, end_stream=not bodies[stream])
        if not bodies[stream]:
            del bodies[stream]
        if rng.random() < 0.4:
            peers.flush()
    peers.flush()
    return peers.calls


def check(sensor: Sensor, truths: list[Truth]) -> None:
    """Complete exchanges equal the truth, up to what they say they do not know; none is invented or doubled."""
    by_target = {truth.target: truth for truth in truths}
    targets = [found.request.target for found in sensor.out if found.request.target is not None]
    assert len(targets) == len(set(targets))
    for found in sensor.out:
        if found.incomplete_reason is None:
            claim = of_exchange(found)
            assert agrees(claim, by_target[claim.target]), (claim, by_target[claim.target])
            hidden = any(None in field for field in found.request.headers or ()) or any(
                None in field for field in (found.response and found.response.headers) or ()
            )
            assert hidden == ("hpack-unknown-field" in found.anomalies)
        elif found.request.target is not None:
            truth = by_target[found.request.target]
            assert found.request.method in (None, truth.method)
            if found.response is not None:
                assert found.response.status in (None, truth.status)
    assert sensor.balanced()


def complete(sensor: Sensor) -> list[Truth]:
    assert [found.incomplete_reason for found in sensor.out] == [None] * len(sensor.out)
    return sorted((of_exchange(found) for found in sensor.out), key=lambda claim: int(claim.target[6:]))


def turned(calls: list[Call]) -> list[Call]:
    """The same, seen by the server."""
    return [(other(direction), data) for direction, data in calls]


@pytest.mark.parametrize("pad", [None, 0, 9])
@pytest.mark.parametrize("server", [False, True])
def test_whole(server: bool, pad: int | None) -> None:
    calls = one_by_one(TRUTHS, pad=pad)
    sensor = Sensor()
    sensor.open()
    sensor.calls(turned(calls) if server else calls)
    assert complete(sensor) == TRUTHS
    assert {found.side for found in sensor.out} == {"server" if server else "client"}
    assert [found.stream_id for found in sensor.out] == list(range(1, 24, 2))
    assert {(found.protocol, found.request.authority, found.request.scheme) for found in sensor.out} == {
        ("h2", b"service", b"https")
    }
    assert sensor.balanced()


@pytest.mark.parametrize("pad", [None, 9])
def test_byte_by_byte(pad: int | None) -> None:
    sensor = Sensor()
    sensor.open()
    for direction, data in one_by_one(TRUTHS, pad=pad):
        for octet in data:
            sensor.call(direction, bytes([octet]))
    assert complete(sensor) == TRUTHS


def test_every_split_point() -> None:
    calls = one_by_one(TRUTHS[:3], pad=3)
    for number, (direction, data) in enumerate(calls):
        for cut in range(1, len(data)):
            sensor = Sensor()
            sensor.open()
            sensor.calls(calls[:number])
            sensor.call(direction, data[:cut])
            sensor.call(direction, data[cut:], call_start=False)
            sensor.calls(calls[number + 1 :])
            assert complete(sensor) == TRUTHS[:3], (number, cut)


@pytest.mark.parametrize("seed", range(20))
def test_concurrent_streams(seed: int) -> None:
    rng = random.Random(seed)
    sensor = Sensor()
    sensor.open()
    for direction, data in concurrent(TRUTHS, seed):
        begin = 0
        while begin < len(data):
            size = rng.randint(1, 400)
            sensor.call(direction, data[begin : begin + size], call_start=begin == 0)
            begin += size
    assert complete(sensor) == TRUTHS


def test_a_response_that_is_reported_before_its_request() -> None:
    calls = one_by_one(TRUTHS[:4])
    # The last exchange: its response overtakes its request.
    request = max(number for number, (way, data) in enumerate(calls) if way is SEND and data[3] in (0, 1))
    calls.append(calls.pop(request))
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls)
    assert complete(sensor) == TRUTHS[:4]


def test_servers_settings_may_come_first() -> None:
    calls = one_by_one(TRUTHS[:2])
    first = next(number for number, (way, _) in enumerate(calls) if way is RECEIVE)
    calls.insert(0, calls.pop(first))
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls)
    assert complete(sensor) == TRUTHS[:2]


@pytest.mark.parametrize("make", [one_by_one, lambda truths: concurrent(truths, 3)])
def test_joined_at_every_call(make: object) -> None:
    assert callable(make)
    calls = make(TRUTHS)
    for joined in range(1, len(calls)):
        sensor = Sensor()
        sensor.open()
        sensor.calls(calls[joined:])
        sensor.close()
        check(sensor, TRUTHS)


def test_joined_late_knows_every_call_that_followed() -> None:
    """Paths and statuses are literals or static entries here, so all that is unknown are other headers."""
    calls = one_by_one(TRUTHS)
    for joined in range(3, len(calls)):
        sensor = Sensor()
        sensor.open()
        sensor.calls(calls[joined:])
        requests = sum(way is SEND and data[3] == 1 for way, data in calls[joined:])
        assert len([found for found in sensor.out if found.incomplete_reason is None]) == requests
        check(sensor, TRUTHS)


def test_a_path_that_is_not_known_is_absent() -> None:
    truths = [Truth(b"GET", b"/same", 200, b"", b"x")] * 3
    calls = one_by_one(truths)
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls[-4:])
    for found in sensor.out:
        assert (found.request.method, found.request.target) == (b"GET", None)
        assert found.incomplete_reason == "hpack_unknown"
        assert found.request.headers == []
    assert len(sensor.out) == 2


LOSSES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 300), st.integers(1, 400)), min_size=1, max_size=3)


@settings(max_examples=200, deadline=None)
@given(LOSSES, st.booleans(), st.integers(0, 10), st.booleans())
def test_losses_anywhere(losses: list[Loss], said: bool, seed: int, apart: bool) -> None:
    calls = one_by_one(TRUTHS) if apart else concurrent(TRUTHS, seed)
    sensor = Sensor()
    sensor.open()
    lossy(sensor, calls, losses, said=said)
    sensor.close()
    check(sensor, TRUTHS)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_a_hole_in_a_data_frame_costs_that_body_only() -> None:
    calls = one_by_one([http2_truth(2, body=500, answer=700), http2_truth(1)])
    number = next(n for n, (way, data) in enumerate(calls) if way is RECEIVE and b"r2 r2" in data)
    data = calls[number][1]
    begin = data.index(b"r2 r2") + 100
    for length in (1, 300, len(data) - begin):
        for cause, reason in (
            (Cause.RING_FULL, "ring_full"),
            (Cause.SKIPPED, None),
            (Cause.NOT_IN_USER_MEMORY, None),
            (Cause.CALL_LIMIT, None),
        ):
            sensor = Sensor()
            sensor.open()
            sensor.calls(calls[:number])
            sensor.call(RECEIVE, data[:begin])
            sensor.gap(RECEIVE, length, cause)
            if begin + length < len(data):
                sensor.call(RECEIVE, data[begin + length :], call_start=False)
            sensor.calls(calls[number + 1 :])
            first, second = sensor.out
            assert first.response
            assert (first.response.body_size, first.incomplete_reason) == (700, reason)
            assert first.anomalies == (["body-not-captured"] if reason is None else [])
            assert second.incomplete_reason is None


@pytest.mark.parametrize("pad", [None, 3])
def test_frame_headers_by_write_and_content_by_sendfile(pad: int | None) -> None:
    """As nginx sends files over plaintext HTTP/2."""
    truths = [http2_truth(0, answer=700), http2_truth(1, answer=16_000), http2_truth(2)]
    sensor = Sensor()
    sensor.open()
    for direction, data in one_by_one(truths, pad=pad):
        if direction is SEND:
            sensor.call(direction, data)
            continue
        begin = 0
        while begin < len(data):
            payload = begin + 9
            end = payload + int.from_bytes(data[begin : begin + 3], "big")
            is_data = data[begin + 3] == 0
            head = payload + (1 if pad is not None else 0) if is_data else end
            sensor.call(direction, data[begin:head])
            if end > head:
                sensor.gap(direction, end - head, Cause.NOT_IN_USER_MEMORY)
            begin = end
    assert [found.incomplete_reason for found in sensor.out] == [None] * 3
    assert [found.response and found.response.body_size for found in sensor.out] == [700, 16_000, 20]
    assert {tuple(found.anomalies) for found in sensor.out} == {("body-not-captured",)}
    assert sensor.balanced()


@pytest.mark.parametrize("cause", [Cause.SKIPPED, Cause.NOT_IN_USER_MEMORY, Cause.CALL_LIMIT])
def test_what_was_not_captured_over_a_frame_header_is_a_loss(cause: Cause) -> None:
    calls = one_by_one([http2_truth(1, answer=100)])
    direction, data = calls[-1]
    assert direction is RECEIVE
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls[:-1])
    begin = data.index(b"r1 r1") - 5
    sensor.call(RECEIVE, data[:begin])
    sensor.gap(RECEIVE, len(data) - begin, cause)
    sensor.close()
    (found,) = sensor.out
    assert found.incomplete_reason == ("unknown" if cause is Cause.SKIPPED else cause.name.lower())
    assert found.anomalies == []


def test_a_hole_in_a_header_block_costs_its_stream_and_the_table() -> None:
    calls = one_by_one(TRUTHS[:4])
    requests = [n for n, (way, data) in enumerate(calls) if way is SEND and data[3] == 1]
    number = requests[1]
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls[:number])
    data = calls[number][1]
    sensor.call(SEND, data[:12])
    sensor.gap(SEND, 5)
    sensor.call(SEND, data[17:], call_start=False)
    sensor.calls(calls[number + 1 :])
    reasons = [found.incomplete_reason for found in sensor.out]
    assert reasons == [None, "ring_full", None, None]
    assert sensor.out[1].request.method is None
    assert sensor.out[1].response
    assert sensor.out[1].response.status == TRUTHS[1].status
    assert sensor.out[1].request.body == TRUTHS[1].request_body
    assert (None, None) in (sensor.out[2].request.headers or ()) or sensor.out[2].request.authority is None
    check(sensor, TRUTHS)


def test_grpc_with_trailers() -> None:
    peers = Http2Peers()
    peers.client.send_headers(
        1,
        [
            (b":method", b"POST"),
            (b":path", b"/pkg.Service/Method"),
            (b":scheme", b"http"),
            (b":authority", b"h"),
            (b"content-type", b"application/grpc+proto"),
            (b"te", b"trailers"),
        ],
    )
    peers.client.send_data(1, b"\x00\x00\x00\x00\x02ab", end_stream=True)
    peers.flush()
    peers.server.send_headers(1, [(b":status", b"200"), (b"content-type", b"application/grpc+proto")])
    peers.server.send_data(1, b"\x00\x00\x00\x00\x01c")
    peers.server.send_headers(1, [(b"grpc-status", b"5"), (b"grpc-message", b"no")], end_stream=True)
    peers.flush()
    sensor = Sensor()
    sensor.open()
    sensor.calls(peers.calls)
    (found,) = sensor.out
    assert found.protocol == "grpc"
    assert found.response
    assert found.response.trailers == [(b"grpc-status", b"5"), (b"grpc-message", b"no")]
    assert found.incomplete_reason is None


def test_informational_reset_push_and_goaway() -> None:
    peers = Http2Peers()
    truth = http2_truth(0)
    first, second, third, fourth = (peers.request(http2_truth(n)) for n in range(4))
    peers.flush()
    peers.server.send_headers(first, [(b":status", b"103"), (b"link", b"</a>")])
    peers.server.push_stream(
        first, 2, [(b":method", b"GET"), (b":path", b"/pushed"), (b":scheme", b"https"), (b":authority", b"service")]
    )
    peers.server.send_headers(2, [(b":status", b"200"), (b"x-pushed", b"1")])
    peers.server.send_data(2, b"pushed", end_stream=True)
    peers.respond(first, truth)
    peers.flush()
    peers.client.reset_stream(second, 8)
    peers.flush()
    # A server that goes away has answered up to the third.
    peers.calls.append((RECEIVE, frame(7, 0, 0, third.to_bytes(4, "big") + bytes(4))))
    peers.respond(third, http2_truth(2))
    peers.flush()
    sensor = Sensor()
    sensor.open()
    sensor.calls(peers.calls)
    assert {found.stream_id: found.incomplete_reason for found in sensor.out} == {
        first: None,
        second: "stream_reset",
        third: None,
        fourth: "response_not_seen",
    }
    assert of_exchange(sensor.out[0]) == truth
    assert sensor.balanced()
    assert sensor.count(Count.ORPHAN_RESPONSES) == 0


def cut_early(
    by: str, *, method: bytes = b"GET", status: int = 200, length: bytes | None = b"4", sent: bytes = b"body"
) -> Sensor:
    """A request, all or part of its response without END_STREAM, and RST_STREAM or the connection's end."""
    peers = Http2Peers()
    stream = peers.request(Truth(method, b"/call/0", status))
    peers.flush()
    headers = [(b":status", b"%d" % status)]
    if length is not None:
        headers.append((b"content-length", length))
    peers.server.send_headers(stream, headers)
    if sent:
        peers.server.send_data(stream, sent)
    peers.flush()
    if by != "close":
        (peers.client if by == "client" else peers.server).reset_stream(stream, 8)
        peers.flush()
    sensor = Sensor()
    sensor.open()
    sensor.calls(peers.calls)
    if by == "close":
        sensor.close()
    assert sensor.balanced()
    return sensor


@pytest.mark.parametrize("by", ["client", "server", "close"])
@pytest.mark.parametrize(
    "case",
    [
        {},
        {"length": b"0", "sent": b""},
        {"method": b"HEAD", "sent": b""},
        {"status": 304, "sent": b""},
        {"status": 204, "length": None, "sent": b""},
    ],
    ids=str,
)
def test_an_end_after_all_content_takes_nothing_away(by: str, case: dict[str, Any]) -> None:
    (found,) = cut_early(by, **case).out
    assert found.incomplete_reason is None
    assert found.response
    assert found.response.body == case.get("sent", b"body")


@pytest.mark.parametrize("by", ["client", "server", "close"])
@pytest.mark.parametrize(
    "case", [{"sent": b"bod"}, {"sent": b""}, {"length": None}, {"length": None, "sent": b""}], ids=str
)
def test_an_end_before_all_content_is_said(by: str, case: dict[str, Any]) -> None:
    (found,) = cut_early(by, **case).out
    assert found.incomplete_reason == ("response_not_finished" if by == "close" else "stream_reset")


@pytest.mark.parametrize("length", [b"x", b"-4", b"", b"9" * 10_000, "\u00b2".encode("latin-1")])
def test_a_reset_after_a_length_that_is_none(length: bytes) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, PREFACE + frame(1, 5, 1, b"\x82\x84\x87"))
    named = b"\x0f\x0d" + hpack.hpack.encode_integer(len(length), 7) + length  # literal, static name 28
    sensor.call(RECEIVE, frame(4, 0, 0) + frame(1, 4, 1, b"\x88" + bytes(named)) + frame(0, 0, 1, b"body"))
    sensor.call(SEND, frame(3, 0, 1, bytes(4)))
    assert [found.incomplete_reason for found in sensor.out] == ["stream_reset"]
    assert sensor.count(Count.FLOWS_FAILED) == 0


def test_a_reset_before_the_request_is_whole_is_one() -> None:
    """RFC 9113 section 8.1: a server may answer and then reset so that the client stops sending."""
    peers = Http2Peers()
    peers.client.send_headers(
        1, [(b":method", b"POST"), (b":path", b"/a"), (b":scheme", b"http"), (b":authority", b"h")]
    )
    peers.flush()
    peers.server.send_headers(1, [(b":status", b"413"), (b"content-length", b"0")], end_stream=True)
    peers.server.reset_stream(1, 0)
    peers.flush()
    sensor = Sensor()
    sensor.open()
    sensor.calls(peers.calls)
    (found,) = sensor.out
    assert found.incomplete_reason == "stream_reset"
    assert found.response
    assert found.response.status == 413


def test_large_header_lists_use_continuation() -> None:
    value = b"v" * 60_000
    truth = Truth(b"GET", b"/call/0", 200, request_headers=((b"x-large", value),), response_headers=((b"y", value),))
    peers = Http2Peers()
    sensor = Sensor()
    sensor.open()
    peers.server.decoder.max_header_list_size = peers.client.decoder.max_header_list_size = 100_000
    stream = peers.request(truth)
    peers.flush()
    peers.respond(stream, truth)
    peers.flush()
    assert any(b"\x09\x04\x00\x00\x00\x01" in data for _, data in peers.calls)
    for direction, data in peers.calls:
        for begin in range(0, len(data), 1000):
            sensor.call(direction, data[begin : begin + 1000], call_start=begin == 0)
    assert complete(sensor) == [truth]


def test_an_upgrade_from_http1_continues_as_stream_1() -> None:
    settings_header = b"AAMAAABkAAQAAP__"
    peers = Http2Peers(upgrade=settings_header)
    request = (
        b"GET /up HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: " + settings_header + b"\r\n\r\n"
    )
    switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    peers.calls = [(SEND, request), (RECEIVE, switch)]
    peers.flush()
    peers.respond(1, Truth(b"GET", b"/up", 200, b"", b"hello"))
    peers.flush()
    stream = peers.request(TRUTHS[1])
    peers.flush()
    peers.respond(stream, TRUTHS[1])
    peers.flush()
    sensor = Sensor()
    sensor.open()
    sensor.calls(peers.calls)
    assert [(found.request.target, found.stream_id, found.protocol) for found in sensor.out] == [
        (b"/up", 1, "h2"),
        (TRUTHS[1].target, 3, "h2"),
    ]
    assert [found.incomplete_reason for found in sensor.out] == [None, None]
    assert sensor.balanced()


def test_streams_are_bounded() -> None:
    peers = Http2Peers()
    truths = [http2_truth(n) for n in range(60)]
    for truth in truths:
        peers.request(truth)
    peers.flush()
    sensor = Sensor(Limits(max_streams=10))
    sensor.open()
    sensor.calls(peers.calls)
    assert len(sensor.out) == 50
    assert {found.incomplete_reason for found in sensor.out} == {"limit"}
    assert {tuple(found.anomalies) for found in sensor.out} == {("stream-limit",)}
    assert sensor.count(Count.LIMIT_HITS) == 50


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)


def test_a_continuation_flood_is_bounded() -> None:
    sensor = Sensor(Limits(header_bytes=10_000))
    sensor.open()
    sensor.call(SEND, PREFACE + frame(1, 0, 1, b"\x82"))
    for _ in range(1000):
        sensor.call(SEND, frame(9, 0, 1, b"\x00\x01a\x01b" * 100))
    sensor.call(SEND, frame(9, 4, 1))
    sensor.close()
    assert [(found.incomplete_reason, found.anomalies) for found in sensor.out] == [("limit", ["header-bytes-limit"])]
    assert sensor.count(Count.LIMIT_HITS) == 1
    assert sensor.balanced()


@pytest.mark.parametrize("end", [True, False])
def test_a_block_in_one_frame_beyond_the_limit_is_named_with_and_without_an_end(end: bool) -> None:
    sensor = Sensor(Limits(header_bytes=1_000))
    sensor.open()
    sensor.call(SEND, PREFACE + frame(1, 4 * end, 1, b"\x82\x84\x87" + bytes(2_000)))
    sensor.close()
    assert [(found.incomplete_reason, found.anomalies) for found in sensor.out] == [("limit", ["header-bytes-limit"])]


def test_an_hpack_bomb_is_bounded_and_the_connection_goes_on() -> None:
    entry = b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000
    bomb = entry + b"\xbe" * 10_000
    sensor = Sensor(Limits(header_bytes=50_000))
    sensor.open()
    sensor.call(SEND, PREFACE + frame(1, 5, 1, b"\x82\x84\x87" + bomb))
    sensor.call(SEND, frame(1, 5, 3, b"\x82\x84\x87"))
    sensor.call(RECEIVE, frame(4, 0, 0) + frame(1, 5, 1, b"\x88") + frame(1, 5, 3, b"\x88"))
    assert [(found.stream_id, found.incomplete_reason, found.anomalies) for found in sensor.out] == [
        (1, "limit", ["header-bytes-limit"]),
        (3, None, []),
    ]
    assert sensor.count(Count.LIMIT_HITS) == 1


@pytest.mark.parametrize("of_client", [True, False])
@pytest.mark.parametrize(
    ("trailers", "anomaly"),
    [
        (b"\x00\x01a\x01b" * 30, "header-count-limit"),
        (b"\x40\x01x\x7f\xa1\x1e" + b"y" * 4000 + b"\xbe" * 20, "header-bytes-limit"),
    ],
)
def test_trailers_are_bounded_and_the_limit_is_named(of_client: bool, trailers: bytes, anomaly: str) -> None:
    sensor = Sensor(Limits(header_count=20, header_bytes=50_000))
    sensor.open()
    head, end = frame(1, 4, 1, b"\x82\x84\x87"), frame(1, 5, 1, trailers)
    sensor.call(SEND, PREFACE + (head + end if of_client else frame(1, 5, 1, b"\x82\x84\x87")))
    answer = frame(1, 5, 1, b"\x88") if of_client else frame(1, 4, 1, b"\x88") + end
    sensor.call(RECEIVE, frame(4, 0, 0) + answer)
    sensor.close()
    (found,) = sensor.out
    assert found.response is not None
    assert len((found.request if of_client else found.response).trailers) <= 20
    assert (found.incomplete_reason, found.anomalies) == ("limit", [anomaly])
    assert sensor.count(Count.LIMIT_HITS) == 1


@pytest.mark.parametrize("direction", [SEND, RECEIVE])
def test_nonsense_ends_the_flow_in_the_end(direction: Direction) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.calls(one_by_one(TRUTHS[:2]))
    nonsense = frame(0, 8, 5, b"\xff") + frame(4, 0, 0)
    for _ in range(5):
        sensor.call(direction, frame(6, 0, 0, bytes(8)) + nonsense)
    assert sensor.count(Count.FLOWS_REJECTED) == 1
    assert sensor.balanced()
