"""Counting messages in bodies: whole, byte by byte, at every split point, with gaps."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.protocols.counted import MESSAGE_CUT, Counter, Passed
from apisensor.protocols.counters import PLAIN, TYPES_KEPT, counter_of
from apisensor.protocols.event_stream import EventCounter
from apisensor.protocols.grpc import TRAILER_BYTES, MessageCounter, TextCounter

Message = tuple[bool, bytes]


def framed(messages: list[Message]) -> bytes:
    return b"".join(bytes([flag]) + len(body).to_bytes(4, "big") + body for flag, body in messages)


def lost(reason: str, protocol: str = "grpc") -> Passed:
    return Passed(protocol, reason=reason)


def truth(messages: list[Message], reason: str | None = None, protocol: str = "grpc") -> Passed:
    sizes = [len(body) for _, body in messages]
    return Passed(
        protocol, len(sizes), sum(sizes), max(sizes, default=0), sum(flag for flag, _ in messages), reason=reason
    )


def web() -> Counter:
    return MessageCounter(web=True)


def fed(counter: Counter, *pieces: bytes) -> Passed:
    for piece in pieces:
        counter.feed(piece)
    return counter.passed(None)


MESSAGES: list[Message] = [(False, b"hello"), (True, b""), (False, b"\0\0\0\0\x01x"), (True, b"z" * 300)]
MESSAGE = st.tuples(st.booleans(), st.binary(max_size=40))
TRAILERS = b"grpc-status: 5\r\ngrpc-message:not%20here\r\n"


def test_messages_however_they_are_cut() -> None:
    body = framed(MESSAGES)
    assert fed(MessageCounter(), body) == truth(MESSAGES)
    assert fed(MessageCounter(), *(body[i : i + 1] for i in range(len(body)))) == truth(MESSAGES)
    for at in range(len(body) + 1):
        assert fed(MessageCounter(), body[:at], body[at:]) == truth(MESSAGES)
    assert fed(MessageCounter()) == truth([])


def test_a_body_that_ends_early() -> None:
    body = framed(MESSAGES)
    ends = [len(framed(MESSAGES[:number])) for number in range(len(MESSAGES) + 1)]
    for at in range(len(body)):
        whole = sum(end <= at for end in ends) - 1
        assert fed(MessageCounter(), body[:at]) == truth(MESSAGES[:whole], None if at in ends else MESSAGE_CUT)
        counter = MessageCounter()
        counter.feed(body[:at])
        assert counter.passed("stream_reset") == truth(MESSAGES[:whole], "stream_reset")


@settings(max_examples=300)
@given(st.lists(MESSAGE, max_size=6), st.data())
def test_gaps_leave_the_counts_right_or_absent(messages: list[Message], data: st.DataObject) -> None:
    body = framed(messages)
    counter = MessageCounter()
    at = 0
    while at < len(body):
        size = data.draw(st.integers(1, len(body) - at))
        if data.draw(st.booleans()):
            counter.skip(size, "ring_full")
        else:
            counter.feed(body[at : at + size])
        at += size
    found = counter.passed(None)
    assert found in (truth(messages), lost("ring_full"))


def test_a_gap_inside_a_message_costs_nothing_and_one_over_its_end_all() -> None:
    body = framed([(False, b"a" * 100), (False, b"b" * 10)])
    counter = MessageCounter()
    counter.feed(body[:20])
    counter.skip(85, "ring_full")
    counter.feed(body[105:])
    assert counter.passed(None) == Passed("grpc", 2, 110, 100, 0)
    counter = MessageCounter()
    counter.feed(body[:20])
    counter.skip(86, "ring_full")
    counter.feed(body[106:])
    assert counter.passed(None) == lost("ring_full")


@pytest.mark.parametrize("make", [MessageCounter, web, TextCounter, EventCounter])
def test_a_loss_of_unknown_size(make: Callable[[], Counter]) -> None:
    counter = make()
    counter.lose("detached")
    counter.lose("ring_full")
    counter.feed(framed(MESSAGES))
    assert counter.passed("stream_reset") == lost("detached", counter.protocol)


def test_what_is_no_message() -> None:
    assert fed(MessageCounter(), b"\x02\0\0\0\0") == lost("parse_error")
    assert fed(MessageCounter(), b"\x80\0\0\0\0").reason == "parse_error"
    assert fed(TextCounter(), b"!!!!") == lost("parse_error", "grpc-web")


def test_a_length_of_four_gigabytes_holds_nothing() -> None:
    counter = MessageCounter()
    counter.feed(b"\0\xff\xff\xff\xff")
    for _ in range(100):
        counter.feed(bytes(65_536))
    assert counter.passed(None) == Passed("grpc", 0, 0, 0, 0, reason=MESSAGE_CUT)


# gRPC-Web


def test_web_trailers_however_they_are_cut() -> None:
    body = framed(MESSAGES) + b"\x80" + len(TRAILERS).to_bytes(4, "big") + TRAILERS
    for at in range(len(body) + 1):
        counter = MessageCounter(web=True)
        assert fed(counter, body[:at], body[at:]) == truth(MESSAGES, None, "grpc-web")
        assert counter.trailers == [(b"grpc-status", b"5"), (b"grpc-message", b"not%20here")]


def test_web_trailers_that_cannot_be_read() -> None:
    for skipped in (1, len(TRAILERS)):
        counter = MessageCounter(web=True)
        counter.feed(b"\x80" + len(TRAILERS).to_bytes(4, "big") + TRAILERS[skipped:])
        counter.skip(skipped, "ring_full")
        assert counter.passed(None) == truth([], None, "grpc-web")
        assert counter.trailers == []
    counter = MessageCounter(web=True)
    counter.feed(b"\x80" + (TRAILER_BYTES * 2).to_bytes(4, "big"))
    for _ in range(TRAILER_BYTES // 512):
        counter.feed(b"a: b\r\n" * 200)
    assert counter.trailers == []
    assert fed(MessageCounter(web=True), b"\x81\0\0\0\x01x") == truth([], None, "grpc-web")


@settings(max_examples=200)
@given(st.lists(MESSAGE, max_size=5), st.lists(st.integers(0, 60), max_size=4), st.integers(1, 7))
def test_text_padded_wherever_it_was_flushed(messages: list[Message], cuts: list[int], step: int) -> None:
    body = framed(messages) + b"\x80" + len(TRAILERS).to_bytes(4, "big") + TRAILERS
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    text = b"".join(base64.b64encode(body[a:b]) for a, b in itertools.pairwise(places))
    for size in (step, len(text)):
        counter = TextCounter()
        assert fed(counter, *(text[i : i + size] for i in range(0, len(text), size))) == truth(
            messages, None, "grpc-web"
        )
        assert counter.trailers == [(b"grpc-status", b"5"), (b"grpc-message", b"not%20here")]
    counter = TextCounter()
    assert fed(counter, text[:-1]).reason == MESSAGE_CUT
    counter = TextCounter()
    counter.skip(4, "ring_full")
    assert fed(counter, text[4:]).reason == "ring_full"


# Server-sent events

STREAM = (
    b"\xef\xbb\xbfdata: one\n\n: comment\n\nevent: e\r\ndata:two\r\ndata\r\ndata: \xc3\xa9\r\n\r\n"
    b"id: 7\rretry: 5\r\rdata\r\rdataset: no\n\ndata: x\n\n\n"
)
EVENTS = Passed("sse", 4, 3 + 3 + 2 + 0 + 1, 5, 0)


def test_events_however_they_are_cut() -> None:
    assert fed(EventCounter(), STREAM) == EVENTS
    assert fed(EventCounter(), *(STREAM[i : i + 1] for i in range(len(STREAM)))) == EVENTS
    for at in range(len(STREAM) + 1):
        assert fed(EventCounter(), STREAM[:at], STREAM[at:]) == EVENTS


VALUES = st.lists(st.text(alphabet="abc: é", max_size=12), min_size=1, max_size=3)


@settings(max_examples=200)
@given(st.lists(VALUES, max_size=5), st.sampled_from(["\n", "\r", "\r\n"]), st.integers(1, 9))
def test_events_of_any_line_end(events: list[list[str]], end: str, step: int) -> None:
    text = "".join("".join(f"data: {value}{end}" for value in values) + end for values in events).encode()
    sizes = [sum(len(value.encode()) for value in values) for values in events]
    expected = Passed("sse", len(sizes), sum(sizes), max(sizes, default=0), 0)
    assert fed(EventCounter(), *(text[i : i + step] for i in range(0, len(text), step))) == expected
    assert fed(EventCounter(), text + f"data: unfinished{end}".encode()) == Passed(
        "sse", len(sizes), sum(sizes), max(sizes, default=0), 0, reason=MESSAGE_CUT
    )


def test_events_are_not_counted_beyond_a_loss() -> None:
    counter = EventCounter()
    counter.feed(b"data: 1\n\n")
    counter.skip(0, "ring_full")
    counter.skip(5, "ring_full")
    assert fed(counter, b"data: 1\n\n") == lost("ring_full", "sse")


# Types


@pytest.mark.parametrize(
    ("content_type", "protocol"),
    [
        (b"application/grpc", "grpc"),
        (b"application/grpc+proto", "grpc"),
        (b"application/grpc;charset=utf-8", "grpc"),
        (b"Application/GRPC-Web+proto", "grpc-web"),
        (b"application/grpc-web-text", "grpc-web"),
        (b"text/event-stream; charset=utf-8", "sse"),
    ],
)
def test_types(content_type: bytes, protocol: str) -> None:
    for _ in range(2):
        counter = counter_of(content_type)
        assert counter is not None
        assert counter.protocol == protocol
    assert counter is not counter_of(content_type)


def test_other_types() -> None:
    for number in range(TYPES_KEPT + 2):
        assert counter_of(b"application/grpcx%d" % number) is None
    assert [counter_of(kind) for kind in (b"", b"application/json", b"x" * 5000)] == [None] * 3
    assert b"application/json" in PLAIN
    assert len(PLAIN) <= TYPES_KEPT
