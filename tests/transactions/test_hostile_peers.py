"""Peers that want to cost: for each, memory stays bounded, work grows with the bytes and no faster, and the limit that
is hit is named.

Elsewhere: HPACK bombs, CONTINUATION floods (test_http2.py, tests/protocols/test_hpack_codec.py), codings that decode
to much (tests/content/test_codings.py), flows without end (test_analyzer.py), packets (tests/replay/test_reassembly.py,
test_fragments.py, test_tunnels.py).
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from apisensor.events.model import Binding, Cause, Chunk, Direction, Event, Gap, Open
from apisensor.transactions.analyzer import Analyzer, Count, Limits
from tests.transactions.conversation import LOCAL, RECEIVE, REMOTE, SEND, Sensor

Step = tuple[Direction, bytes | int, bool]
"""Direction, bytes or the length of a gap, whether a call starts."""

SMALL, LARGE = 1_500, 12_000
GROWTH = 24
"""Work of LARGE over that of SMALL, of which it has 8 times as much: quadratic work would be 64."""
MEMORY = 4 << 20
"""Bytes kept of one flow: 2,000 open streams or pipelined requests have 1.6 MB."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


REQUEST = bytes.fromhex("828487")
START2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def repeated(first: bytes, direction: Direction, data: bytes, call: bool = False) -> Callable[[int], list[Step]]:
    return lambda n: [(SEND, first, True), *[(direction, data, call)] * n]


def numbered(first: bytes, direction: Direction, data: Callable[[int], bytes]) -> Callable[[int], list[Step]]:
    return lambda n: [(SEND, first, True), *((direction, data(number), False) for number in range(n))]


def holed(first: bytes, data: Callable[[int], bytes]) -> Callable[[int], list[Step]]:
    """Every second step is a gap."""
    return lambda n: [(SEND, first, True), *((SEND, 7 if k % 2 else data(k), True) for k in range(n))]


PEERS: dict[str, tuple[Callable[[int], list[Step]], set[str]]] = {
    "header, byte by byte": (repeated(b"GET / HTTP/1.1\r\nA: ", SEND, b"x"), set()),
    "header, a call each byte": (repeated(b"GET / HTTP/1.1\r\nA: ", SEND, b"x", True), set()),
    "request line, byte by byte": (repeated(b"GET /", SEND, b"x"), set()),
    "request line, a call each byte": (repeated(b"GET /", SEND, b"x", True), set()),
    "empty lines": (repeated(b"\r\n", SEND, b"\r\n", True), set()),
    "PROXY header, byte by byte": (
        repeated(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", SEND, b"\n"),
        set(),
    ),
    "frame, byte by byte": (repeated(b"\0\x40\0\0\0\0\0\0\1", SEND, b"\n"), set()),
    "status line, byte by byte": (repeated(GET, RECEIVE, b"H", True), set()),
    "headers without end": (repeated(b"GET / HTTP/1.1\r\n", SEND, b"A: b\r\n" * 10), {"header-count-limit"}),
    "long headers without end": (
        repeated(b"GET / HTTP/1.1\r\n", SEND, b"A: %b\r\n" % (b"b" * 900)),
        {"header-bytes-limit"},
    ),
    "chunks of one byte": (repeated(CHUNKED, SEND, b"1\r\nx\r\n"), set()),
    "chunk extension without end": (repeated(CHUNKED + b"1;", SEND, b"x" * 8), set()),
    "trailers without end": (repeated(CHUNKED + b"0\r\n", SEND, b"A: b\r\n"), {"header-count-limit"}),
    "interim responses without end": (repeated(GET, RECEIVE, b"HTTP/1.1 102 X\r\n\r\n", True), set()),
    "pipelining without end": (repeated(GET, SEND, GET, True), {"pipeline-limit"}),
    "responses without requests": (repeated(GET, RECEIVE, b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n", True), set()),
    "streams that stay open": (numbered(START2, SEND, lambda k: frame(1, 4, 2 * k + 1, REQUEST)), {"stream-limit"}),
    "rapid reset": (
        numbered(START2, SEND, lambda k: frame(1, 5, 2 * k + 1, REQUEST) + frame(3, 0, 2 * k + 1, bytes(4))),
        set(),
    ),
    "responses on streams nobody opened": (
        numbered(START2 + frame(1, 5, 1, REQUEST), RECEIVE, lambda k: frame(1, 4, 2 * k + 1, b"\x88")),
        {"stream-limit"},
    ),
    "pushes": (
        numbered(
            START2 + frame(1, 5, 1, REQUEST),
            RECEIVE,
            lambda k: frame(5, 4, 1, (2 * k + 2).to_bytes(4, "big") + REQUEST) + frame(1, 4, 2 * k + 2, b"\x88"),
        ),
        set(),
    ),
    "CONTINUATION without end": (
        repeated(START2 + frame(1, 1, 1, REQUEST), SEND, frame(9, 0, 1, b"\0\x01a\x7f\x81\x06" + b"b" * 900)),
        {"header-bytes-limit"},
    ),
    "CONTINUATION, empty": (repeated(START2 + frame(1, 1, 1, REQUEST), SEND, frame(9, 0, 1)), set()),
    "table size updates": (
        numbered(START2, SEND, lambda k: frame(1, 5, 2 * k + 1, b"\x20\x3f\xe1\x1f\x82\x84\x87")),
        {"stream-limit"},
    ),
    "SETTINGS": (repeated(START2, SEND, frame(4, 0, 0, b"\0\1\0\0\x10\0")), set()),
    "PING": (repeated(START2, SEND, frame(6, 0, 0, bytes(8))), set()),
    "PRIORITY": (numbered(START2, SEND, lambda k: frame(2, 0, 2 * k + 1, bytes(5))), set()),
    "unknown frames": (repeated(START2, SEND, frame(99, 0, 1, bytes(50))), set()),
    "DATA, empty": (repeated(START2 + frame(1, 4, 1, REQUEST), SEND, frame(0, 0, 1)), set()),
    "DATA of one byte": (repeated(START2 + frame(1, 4, 1, REQUEST), SEND, frame(0, 0, 1, b"x")), set()),
    "a window of gaps": (holed(GET, lambda _: b"GET / HT"), set()),
    "a window of gaps in a body": (
        holed(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n", lambda _: GET),
        set(),
    ),
    "quotes of messages": (lambda n: [(SEND, 7, True), *[(SEND, b"GET / HTTP/1.1\r\nA: b\r\n" * 3, True)] * n], set()),
}
"""What the peer does n times, and the anomalies that name what stopped it; none where nothing has to be stopped."""


def events(steps: list[Step]) -> Iterator[Event]:
    position, now = [0, 0], 1_000
    yield Open(now, 7, 1, 2, LOCAL, REMOTE, Binding.SOCKET, from_start=True)
    for direction, what, call in steps:
        now += 1_000
        at = position[direction]
        if isinstance(what, int):
            yield Gap(now, 7, 1, direction, at, what, Cause.RING_FULL)
            position[direction] += what
        else:
            yield Chunk(now, 7, 1, direction, at, what, False, call)
            position[direction] += len(what)


def work(steps: list[Step]) -> Iterator[float]:
    """CPU seconds that the analysis takes, in each of three tries, made as they are asked for."""
    told = list(events(steps))
    for _ in range(3):
        analyzer = Analyzer(Limits())
        gc.collect()
        start = time.process_time()
        for event in told:
            analyzer.feed(event)
        yield time.process_time() - start


@pytest.mark.parametrize("name", PEERS)
def test_memory_is_bounded_and_the_limit_is_named(name: str) -> None:
    make, named = PEERS[name]
    told = list(events(make(LARGE)))
    anomalies: Counter[str] = Counter()
    analyzer = Analyzer(Limits())
    tracemalloc.start()
    for event in told:
        for found in analyzer.feed(event):
            anomalies.update(found.anomalies)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert kept < MEMORY
    for found in analyzer.finish(told[-1].time_ns):
        anomalies.update(found.anomalies)
    assert set(anomalies) == named
    assert analyzer.counts[Count.FLOWS_FAILED] == 0
    assert bool(analyzer.counts[Count.LIMIT_HITS]) == bool(named)


@pytest.mark.parametrize("name", PEERS)
def test_work_grows_with_the_bytes(name: str) -> None:
    make, _ = PEERS[name]
    # A tenth of a millisecond more than it takes, so that nothing is compared with the resolution of the clock.
    most = GROWTH * (min(work(make(SMALL))) + 1e-4)
    assert any(seconds < most for seconds in work(make(LARGE)))


def test_a_head_of_many_fields_that_is_refused_is_cut_like_any_other() -> None:
    sensor = Sensor(Limits(header_count=20))
    sensor.open(from_start=True)
    sensor.call(SEND, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 50 + b"A: b\rc\r\n\r\n")
    sensor.close()
    (found,) = sensor.out
    assert found.request.headers is not None
    assert len(found.request.headers) == 20
    assert (found.incomplete_reason, found.anomalies) == ("parse_error", ["header-count-limit"])
