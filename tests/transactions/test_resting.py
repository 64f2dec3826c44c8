"""Flows between two exchanges hold next to nothing, and nobody can tell afterwards that they did."""

from __future__ import annotations

import tracemalloc

import pytest

from apisensor.events.model import Binding, Cause, Chunk, Direction, Open
from apisensor.transactions.analyzer import Analyzer, Limits
from apisensor.transactions.counts import Count
from apisensor.transactions.model import Exchange
from tests.transactions.conversation import LOCAL, RECEIVE, REMOTE, SEND, Http2Peers, Sensor, http2_truth

GET = b"GET /%d HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"
SECOND = 1_000_000_000
NEVER = 10**18

Step = tuple[Direction, bytes] | tuple[Direction, int]
"""Bytes that one call moved, or so many that were lost."""

CONVERSATIONS: dict[str, list[Step]] = {
    "calls": [(SEND, GET % 1), (RECEIVE, OK), (SEND, GET % 2), (RECEIVE, OK)],
    "in pieces": [
        (SEND, (GET % 1)[:9]),
        (SEND, (GET % 1)[9:]),
        (RECEIVE, OK[:30]),
        (RECEIVE, OK[30:]),
        (SEND, GET % 2),
    ],
    "pipelined": [
        (SEND, GET % 1 + GET % 2),
        (RECEIVE, OK),
        (RECEIVE, OK),
        (SEND, GET % 3 + GET % 4),
        (RECEIVE, OK + OK),
    ],
    "HEAD": [(SEND, GET.replace(b"GET", b"HEAD") % 1), (RECEIVE, OK[:-5]), (SEND, GET % 2), (RECEIVE, OK)],
    "chunked": [
        (SEND, b"POST /1 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        (SEND, b"0\r\n\r\n"),
        *((RECEIVE, OK), (SEND, GET % 2), (RECEIVE, OK)),
    ],
    "an empty line between two": [(SEND, GET % 1), (RECEIVE, OK), (SEND, b"\r\n"), (SEND, GET % 2), (RECEIVE, OK)],
    "closing, said": [
        (SEND, GET % 1),
        (RECEIVE, OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)),
        (SEND, GET % 2),
    ],
    "to the end": [(SEND, GET % 1), (RECEIVE, b"HTTP/1.1 200 OK\r\n\r\nall of"), (RECEIVE, b" it")],
    "unasked": [(SEND, GET % 1), (RECEIVE, OK), (RECEIVE, OK.replace(b"200 OK", b"408 Late")), (SEND, GET % 2)],
    "lost between two": [
        (SEND, GET % 1),
        (RECEIVE, OK),
        (RECEIVE, 700),
        (SEND, GET % 2),
        (RECEIVE, OK),
        (SEND, GET % 3),
    ],
    "a request lost": [(SEND, GET % 1), (RECEIVE, OK), (SEND, 300), (RECEIVE, OK), (SEND, GET % 2), (RECEIVE, OK)],
    "never certain again": [
        *((SEND, GET % 1 + GET % 2), (RECEIVE, 700), (RECEIVE, OK), (SEND, GET % 3), (RECEIVE, OK)),
        *((SEND, GET % 4), (RECEIVE, OK)),
    ],
    "a client that once pipelined": [
        *((SEND, GET % 1 + GET % 2), (RECEIVE, OK), (RECEIVE, OK), (SEND, GET % 3), (RECEIVE, 700)),
        *((SEND, GET % 4), (RECEIVE, OK)),
    ],
    "declined": [
        (SEND, GET.replace(b"Accept", b"Connection: Upgrade\r\nUpgrade: h2c\r\nAccept") % 1),
        *((RECEIVE, OK), (SEND, GET % 2), (RECEIVE, OK)),
    ],
    "a tunnel": [
        (SEND, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"),
        *((RECEIVE, b"HTTP/1.1 200 OK\r\n\r\n"), (SEND, GET % 2), (RECEIVE, OK), (SEND, GET % 3), (RECEIVE, OK)),
    ],
}


def heard(steps: list[Step], *, rest_ns: int, from_start: bool) -> list[Exchange]:
    """What an analyzer makes of it that looks three seconds after each step."""
    sensor = Sensor(Limits(rest_ns=rest_ns, idle_ns=NEVER))
    sensor.open(from_start=from_start)
    for direction, moved in steps:
        if isinstance(moved, int):
            sensor.gap(direction, moved, Cause.RING_FULL)
        else:
            sensor.call(direction, moved)
        sensor.now += 3 * SECOND
        sensor.out += sensor.analyzer.expire(sensor.now)
    sensor.close()
    return sensor.out


@pytest.mark.parametrize("from_start", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_what_is_told_of_a_flow_that_rested_is_what_is_told_of_one_that_did_not(name: str, from_start: bool) -> None:
    steps = CONVERSATIONS[name]
    assert steps
    told = heard(steps, rest_ns=2 * SECOND, from_start=from_start)
    assert told == heard(steps, rest_ns=NEVER, from_start=from_start)
    assert told


def test_a_joined_http2_connection_does_not_notice() -> None:
    peers, sensor = Http2Peers(), Sensor()
    sensor.open()
    for number in range(3):
        truth = http2_truth(number)
        stream = peers.request(truth)
        peers.flush()
        peers.respond(stream, truth)
        peers.flush()
    for call in peers.calls:
        sensor.calls([call])
        sensor.now += 3 * SECOND
        sensor.out += sensor.analyzer.expire(sensor.now)
    assert [exchange.incomplete_reason for exchange in sensor.out] == [None] * 3


def call(analyzer: Analyzer, flow: int, number: int, now: int) -> list[Exchange]:
    """One call on a connection, of which `number` were made before."""
    request = GET % flow
    analyzer.feed(Chunk(now, 7, flow, SEND, number * len(request), request, False))
    return analyzer.feed(Chunk(now, 7, flow, RECEIVE, number * len(OK), OK, False))


def test_two_thousand_open_connections_take_little() -> None:
    """Bytes of each, as Python counts its allocations: in use, and two seconds later."""
    count = 2_000
    analyzer = Analyzer(Limits())

    def begin(flow: int) -> None:
        analyzer.feed(Open(flow, 7, flow, flow, LOCAL, REMOTE, Binding.SOCKET, from_start=True))
        assert len(call(analyzer, flow, 0, flow)) == 1

    for flow in range(1, 101):  # what is made once
        begin(flow)
    tracemalloc.start()
    for flow in range(101, 101 + count):
        begin(flow)
    in_use = tracemalloc.get_traced_memory()[0] / count
    analyzer.expire(3 * SECOND)
    resting = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    assert in_use < 4_500
    assert resting < 1_000
    assert len(analyzer) == 100 + count
    told = [exchange for flow in range(1, 101 + count) for exchange in call(analyzer, flow, 1, 4 * SECOND)]
    assert len(told) == 100 + count
    assert all(exchange.incomplete_reason is None for exchange in told)


def test_the_one_that_rests_for_longest_makes_room() -> None:
    analyzer = Analyzer(Limits(max_flows=3))
    for flow in (1, 2, 3):
        analyzer.feed(Open(flow * SECOND, 7, flow, flow, LOCAL, REMOTE, Binding.SOCKET, from_start=True))
        call(analyzer, flow, 0, flow * SECOND)
    analyzer.expire(4 * SECOND)  # two of them rest
    call(analyzer, 1, 1, 4 * SECOND)
    analyzer.feed(Open(5 * SECOND, 7, 4, 4, LOCAL, REMOTE, Binding.SOCKET, from_start=True))
    assert analyzer.counts[Count.FLOWS_EVICTED] == 1
    assert len(analyzer) == 3
    begun = analyzer.counts[Count.FLOWS_BEGUN]
    for flow, number in ((1, 2), (3, 1)):
        assert len(call(analyzer, flow, number, 6 * SECOND)) == 1
    assert analyzer.counts[Count.FLOWS_BEGUN] == begun
    call(analyzer, 2, 1, 6 * SECOND)
    assert analyzer.counts[Count.FLOWS_BEGUN] == begun + 1
