"""The flow table: binding, identification, bounds, eviction, and what one bad flow costs."""

from __future__ import annotations

import gc
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Bind, Binding, Cause, Chunk, Close, End, Event, Gap, Open
from apisensor.streams.lane import END_OF_FLOW
from apisensor.transactions.analyzer import Analyzer, Count, Limits
from apisensor.transactions.http1_pairing import Http1Pairing
from apisensor.transactions.model import INCOMPLETE_REASONS
from tests.transactions.conversation import (
    LOCAL,
    RECEIVE,
    REMOTE,
    SEND,
    Call,
    Http2Peers,
    Sensor,
    http1_calls,
    http1_truth,
    http2_truth,
)

CALLS = list(http1_calls([http1_truth(0)]))


def bind(sensor: Sensor, connection: int = 101, binding: Binding = Binding.NESTED) -> None:
    sensor.feed(Bind(sensor.tick(), 7, sensor.flow, connection, LOCAL, REMOTE, binding))


def tls(sensor: Sensor, calls: list[Call] = CALLS) -> None:
    for direction, data in calls:
        sensor.call(direction, data, tls=True)


# Binding


def test_bind_before_during_and_after() -> None:
    for number in range(3):
        sensor = Sensor()
        for step, (direction, data) in enumerate(CALLS):
            if step == number:
                bind(sensor)
            sensor.call(direction, data, tls=True)
        if number == len(CALLS):
            bind(sensor)
        (found,) = sensor.out
        assert (found.connection, found.local, found.binding) == (101, LOCAL, Binding.NESTED)
        assert found.incomplete_reason is None
        assert found.tls
        assert sensor.balanced()


def test_unbound_exchanges_wait_and_are_given_up_in_event_time() -> None:
    sensor = Sensor(Limits(bind_wait_ns=1_000_000))
    tls(sensor)
    assert sensor.out == []
    assert sensor.analyzer.expire(sensor.now + 999_999) == []
    (found,) = sensor.analyzer.expire(sensor.now + 1_000_000)
    assert (found.incomplete_reason, found.connection, found.local, found.binding) == ("unbound", None, None, None)
    assert sensor.count(Count.UNBOUND) == 1
    tls(sensor)
    bind(sensor)
    assert sensor.out[0].incomplete_reason is None


def test_unbound_at_the_close_and_at_the_end() -> None:
    for finish in (False, True):
        sensor = Sensor()
        tls(sensor)
        sensor.call(SEND, CALLS[0][1], tls=True)
        if finish:
            sensor.out += sensor.analyzer.finish(sensor.tick())
        else:
            sensor.close()
        # A worse reason than the missing peer stays.
        assert [found.incomplete_reason for found in sensor.out] == ["unbound", "response_not_seen"]
        assert sensor.balanced()


def test_a_later_bind_is_for_later_exchanges() -> None:
    sensor = Sensor()
    bind(sensor, 1)
    tls(sensor)
    sensor.call(SEND, CALLS[0][1], tls=True)
    bind(sensor, 2)
    sensor.call(RECEIVE, CALLS[1][1], tls=True)
    tls(sensor)
    assert [found.connection for found in sensor.out] == [1, 1, 2]


def test_a_plain_flow_whose_open_was_lost_is_unbound() -> None:
    sensor = Sensor()
    sensor.calls(CALLS)
    sensor.close()
    assert [found.incomplete_reason for found in sensor.out] == ["unbound"]


def test_held_exchanges_are_bounded() -> None:
    sensor = Sensor(Limits(max_held=10))
    for _ in range(30):
        tls(sensor)
    assert len(sensor.out) == 20
    assert sensor.count(Count.HELD_OVER) == 20
    bind(sensor)
    assert len(sensor.out) == 30
    assert sensor.balanced()


def test_what_was_held_leaves_nothing_behind() -> None:
    sensor = Sensor(Limits(max_held=10))
    for flow in range(200):
        sensor.flow, sensor.position = flow, {SEND: 0, RECEIVE: 0}
        tls(sensor)
        if flow:  # the first one's exchange stays at the head of the queue
            bind(sensor)
    assert len(sensor.analyzer._shared.held) <= 21  # what is bounded is private
    assert len(sensor.out) == 199


# Identification


@pytest.mark.parametrize(
    "calls",
    [
        [(RECEIVE, b"SSH-2.0-x\r\n"), (SEND, b"SSH-2.0-y\r\n")] * 10,
        [(SEND, b"*1\r\n$4\r\nPING\r\n"), (RECEIVE, b"+PONG\r\n")] * 10,
        [(SEND, b"\x00" * 2000)] * 300,
    ],
)
def test_what_is_not_http_is_let_go(calls: list[Call]) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.calls(calls)
    assert sensor.count(Count.FLOWS_NOT_HTTP) == 1
    assert sensor.count(Count.NOT_HTTP_BYTES) == sum(len(data) for _, data in calls)
    assert sensor.skips == [(1, SEND, END_OF_FLOW), (1, RECEIVE, END_OF_FLOW)]
    assert len(sensor.analyzer) == 0
    sensor.gap(SEND, 100, Cause.SKIPPED)
    bind(sensor)
    sensor.feed(End(sensor.tick(), 7, 1, SEND))
    assert len(sensor.analyzer) == 0
    sensor.close()
    # The id is forgotten with the flow, so that it can be seen anew.
    sensor.position = {SEND: 0, RECEIVE: 0}
    sensor.open()
    sensor.calls(CALLS)
    assert len(sensor.out) == 1


def test_ciphertext_is_let_go_at_once() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, bytes.fromhex("1603010100") + bytes(256))
    assert sensor.count(Count.FLOWS_CIPHERTEXT) == 1
    assert len(sensor.skips) == 2


def test_a_flow_joined_inside_a_long_body_is_recognised_later() -> None:
    sensor = Sensor()
    sensor.open()
    for _ in range(50):
        sensor.call(RECEIVE, b"\x07" * 16_000, call_start=False)
    sensor.calls(CALLS)
    assert [found.incomplete_reason for found in sensor.out] == [None]


# Bounds


def test_flows_are_bounded_and_the_oldest_goes() -> None:
    sensor = Sensor(Limits(max_flows=10))
    for flow in range(1, 31):
        sensor.flow, sensor.position = flow, {SEND: 0, RECEIVE: 0}
        sensor.open()
        sensor.call(SEND, CALLS[0][1])
    assert len(sensor.analyzer) == 10
    assert sensor.count(Count.FLOWS_EVICTED) == 20
    assert [found.flow for found in sensor.out] == list(range(1, 21))
    sensor.out += sensor.analyzer.finish(sensor.tick())
    assert {found.incomplete_reason for found in sensor.out} == {"response_not_seen"}
    assert sensor.balanced()


def test_ids_of_what_is_not_http_are_bounded() -> None:
    sensor = Sensor(Limits(max_flows=10))
    for flow in range(1, 101):
        sensor.flow, sensor.position = flow, {SEND: 0, RECEIVE: 0}
        sensor.call(SEND, bytes.fromhex("1603010100") + bytes(256))
    assert len(sensor.analyzer._ignored) == 10  # what is bounded is private


@pytest.mark.parametrize("kind", ["http1", "http2"])
def test_idle_flows_give_up_what_is_open_and_go_on(kind: str) -> None:
    sensor = Sensor(Limits(idle_ns=1_000_000_000))
    sensor.open()
    peers = Http2Peers()
    for number in range(2):
        truth = http2_truth(number)
        stream = peers.request(truth)
        peers.flush()
        if number:
            peers.respond(stream, truth)
            peers.flush()
    before = len(peers.calls) - 2
    calls = peers.calls if kind == "http2" else [CALLS[0], *CALLS]
    first, rest = (calls[:before], calls[before:]) if kind == "http2" else (calls[:1], calls[1:])
    sensor.calls(first)
    sensor.now += 2_000_000_000
    sensor.out += sensor.analyzer.expire(sensor.now)
    assert [found.incomplete_reason for found in sensor.out] == ["response_not_seen"]
    assert sensor.count(Count.FLOWS_IDLE) == 1
    assert sensor.analyzer.expire(sensor.now + 10**10) == []
    sensor.calls(rest)
    assert [found.incomplete_reason for found in sensor.out] == ["response_not_seen", None]
    assert sensor.out[1].connection == 101
    assert sensor.balanced()


def test_heads_are_bounded() -> None:
    sensor = Sensor(Limits(header_bytes=20_000, header_count=50))
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\n")
    for number in range(10_000):
        sensor.call(SEND, b"X-%d: y\r\n" % number, call_start=False)
    sensor.close()
    (found,) = sensor.out
    assert (found.incomplete_reason, found.anomalies) == ("limit", ["header-count-limit"])
    assert found.request.headers is not None
    assert len(found.request.headers) == 50
    sensor = Sensor(Limits(header_bytes=20_000))
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nX: ")
    for _ in range(100):
        sensor.call(SEND, b"y" * 1000, call_start=False)
    sensor.close()
    (found,) = sensor.out
    assert (found.incomplete_reason, found.anomalies) == ("limit", ["header-bytes-limit"])


def test_too_many_fields_in_one_chunk_are_cut() -> None:
    sensor = Sensor(Limits(header_count=50))
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 60 + b"\r\n")
    sensor.call(RECEIVE, CALLS[1][1])
    (found,) = sensor.out
    assert found.request.headers is not None
    assert len(found.request.headers) == 50
    assert (found.incomplete_reason, found.anomalies) == ("limit", ["header-count-limit"])
    sensor.calls(CALLS)
    assert sensor.out[1].incomplete_reason is None


def test_pipelining_is_bounded() -> None:
    sensor = Sensor(Limits(max_pipelined=100))
    sensor.open()
    sensor.call(SEND, CALLS[0][1] * 250)
    sensor.close()
    assert len(sensor.out) == 250
    assert sensor.count(Count.LIMIT_HITS) > 0
    assert any("pipeline-limit" in found.anomalies for found in sensor.out)
    assert {found.incomplete_reason for found in sensor.out} <= {"limit", "response_not_seen"}


def test_bodies_kept_by_one_flow_are_bounded() -> None:
    sensor = Sensor(Limits(body_capture=1000, flow_bytes=10_000))
    sensor.open()
    for _ in range(50):
        sensor.call(SEND, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    for _ in range(50):
        sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert {found.request.body_size for found in sensor.out} == {1000}
    assert sum(len(found.request.body) for found in sensor.out) == 10_000
    assert {tuple(found.anomalies) for found in sensor.out} == {(), ("flow-buffer-limit",)}
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000)
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert len(sensor.out[-1].request.body) == 1000


# Counters


def test_a_request_is_counted_before_it_is_parsed_and_in_memory_that_others_see() -> None:
    memory = bytearray(8 * len(Count))
    analyzer = Analyzer(Limits(), counts=memoryview(memory).cast("Q"))
    analyzer.feed(Open(1, 7, 1, 101, LOCAL, REMOTE, from_start=True))
    analyzer.feed(Chunk(2, 7, 1, SEND, 0, b"GET / HTTP/1.1\r\nHo", False))
    counts = memoryview(memory).cast("Q")
    assert (counts[Count.REQUESTS_BEGUN], counts[Count.EXCHANGES_EMITTED]) == (1, 0)
    assert len(analyzer.feed(Close(3, 7, 1))) == 1
    assert (counts[Count.REQUESTS_BEGUN], counts[Count.EXCHANGES_EMITTED]) == (1, 1)


def test_each_counter_and_each_cause_has_its_place() -> None:
    assert [count.value for count in Count] == list(range(len(Count)))
    for cause in Cause:
        assert Count(Count.BYTES_LOST_UNKNOWN + cause).name == f"BYTES_LOST_{cause.name}"
        sensor = Sensor()
        sensor.open()
        sensor.calls(CALLS)
        sensor.call(SEND, CALLS[0][1])
        sensor.gap(RECEIVE, 50, cause)
        sensor.close()
        assert sensor.count(Count(Count.BYTES_LOST_UNKNOWN + cause)) == 50
        assert sensor.out[1].incomplete_reason in INCOMPLETE_REASONS


# One bad flow


def test_a_failing_parser_costs_one_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, CALLS[0][1])
    good = Http1Pairing.data

    def fail(self: Http1Pairing, *arguments: Any) -> None:
        if self.flow.id == 1:
            raise RuntimeError("a bug")
        good(self, *arguments)

    monkeypatch.setattr(Http1Pairing, "data", fail)
    sensor.call(RECEIVE, CALLS[1][1])
    assert sensor.count(Count.FLOWS_FAILED) == 1
    assert [found.incomplete_reason for found in sensor.out] == ["response_not_seen"]
    sensor.calls(CALLS)
    assert len(sensor.out) == 1
    sensor.flow, sensor.position = 2, {SEND: 0, RECEIVE: 0}
    sensor.open()
    sensor.calls(CALLS)
    assert sensor.out[1].incomplete_reason is None


# Hostile input

FRAGMENTS = [
    b"GET / HTTP/1.1\r\n",
    b"POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n",
    b"Content-Length: 18446744073709551615\r\n\r\n",
    b"Content-Length:\r\n\r\n",
    b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\n\r\n",
    b"HTTP/1.1 101 X\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 204 OK\r\nContent-Length: 3\r\n\r\n",
    b"HEAD / HTTP/1.1\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    b"\r\n\r\n",
    b"5\r\nabcde\r\n",
    b"ffffffffffffffff\r\n",
    b"0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    bytes.fromhex("000000 04 00 00000000"),
    bytes.fromhex("000003 01 05 00000001 828487"),
    bytes.fromhex("000003 01 00 00000003 828487"),
    bytes.fromhex("000001 01 05 00000001 88"),
    bytes.fromhex("000004 09 04 00000003 be828487"),
    bytes.fromhex("000005 00 09 00000001 03"),
    bytes.fromhex("ffffff 00 01 00000001"),
    bytes.fromhex("000004 03 00 00000001 00000008"),
    bytes.fromhex("000008 07 00 00000000 0000000000000000"),
    bytes.fromhex("000006 05 04 00000001 00000002 8284"),
]


@st.composite
def hostile_events(draw: st.DrawFn) -> list[Event]:
    position = {SEND: 0, RECEIVE: 0}
    events: list[Event] = []
    pieces = st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=40))
    for time in range(draw(st.integers(1, 25))):
        direction = draw(st.sampled_from([SEND, RECEIVE]))
        kind = draw(
            st.sampled_from(["chunk"] * 12 + ["gap", "jump", "bind", "open", "end", "close", "unknown", "back"])
        )
        if kind == "gap":
            length = draw(st.sampled_from([0, 1, 5, 100, 2**62]))
            events.append(Gap(time, 7, 1, direction, position[direction], length, draw(st.sampled_from(list(Cause)))))
            position[direction] += length
        elif kind == "unknown":
            events.append(Gap(time, 7, 1, direction, position[direction], None, Cause.DETACHED))
        elif kind == "jump":
            position[direction] += draw(st.integers(1, 50))
        elif kind == "back":
            position[direction] = max(0, position[direction] - draw(st.integers(1, 50)))
        elif kind == "bind":
            events.append(Bind(time, 7, 1, 2, LOCAL, REMOTE, Binding.NESTED))
        elif kind == "open":
            events.append(Open(time, 7, 1, 2, LOCAL, REMOTE, from_start=draw(st.booleans())))
        elif kind == "end":
            events.append(End(time, 7, 1, direction))
        elif kind == "close":
            events.append(Close(time, 7, 1))
            position = {SEND: 0, RECEIVE: 0}
        else:
            data = b"".join(draw(st.lists(pieces, min_size=1, max_size=4)))
            events.append(Chunk(time, 7, 1, direction, position[direction], data, False, draw(st.booleans())))
            position[direction] += len(data)
    return events


@settings(max_examples=300, deadline=None)
@given(hostile_events())
def test_hostile_events_break_nothing(events: list[Event]) -> None:
    analyzer = Analyzer(Limits())
    out = []
    for event in events:
        out += analyzer.feed(event)
        if event.time_ns % 7 == 0:
            out += analyzer.expire(event.time_ns + 10**12)
    out += analyzer.finish(10**13)
    assert analyzer.counts[Count.FLOWS_FAILED] == 0
    assert analyzer.counts[Count.REQUESTS_BEGUN] == analyzer.counts[Count.EXCHANGES_EMITTED] == len(out)
    assert analyzer.counts[Count.EXCHANGES_INCOMPLETE] == sum(found.incomplete_reason is not None for found in out)
    assert {found.incomplete_reason for found in out} <= {None, *INCOMPLETE_REASONS}
    assert len(analyzer) == 0


def test_memory_stays_bounded_whatever_comes() -> None:
    rng = random.Random(1)
    limits = Limits(
        max_flows=50, header_bytes=10_000, body_capture=1000, flow_bytes=20_000, max_streams=50, max_held=50
    )
    analyzer = Analyzer(limits)
    position: dict[tuple[int, int], int] = {}

    def storm(chunks: int) -> None:
        for number in range(chunks):
            flow, direction = rng.randrange(500), rng.choice((SEND, RECEIVE))
            data = b"".join(rng.choice(FRAGMENTS) for _ in range(3)) + rng.randbytes(rng.randrange(200))
            at = position.get((flow, direction), 0)
            position[flow, direction] = at + len(data)
            analyzer.feed(Chunk(number, 7, flow, direction, at, data, True, rng.random() < 0.7))

    storm(3_000)
    gc.collect()
    tracemalloc.start()
    storm(500)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    storm(5_000)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert analyzer.counts[Count.FLOWS_FAILED] == 0
    assert after - before < 3_000_000
