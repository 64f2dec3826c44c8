"""From any bytes to the events of one flow, so that a fuzzer can mutate a conversation: calls, losses, ends.

step    1 byte: bit 7 the direction, bits 0 to 2 what happens (`_STEPS`), bit 3 "not the start of a call"
length  2 bytes, little endian
bytes   that many for a chunk, none for everything else
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from apisensor.events.model import Bind, Binding, Cause, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.transactions.analyzer import Analyzer, Count, Limits
from apisensor.transactions.model import INCOMPLETE_REASONS, Exchange
from tests.transactions.conversation import LOCAL, REMOTE, Call

_CHUNK, _GAP, _JUMP, _END, _UNKNOWN, _IDLE, _BIND = range(7)
_CONTINUED = 0x08
_RECEIVED = 0x80

SMALL = Limits(
    header_bytes=2_000,
    header_count=20,
    body_capture=200,
    flow_bytes=500,
    max_pipelined=20,
    max_streams=20,
    start_line=1_000,
    max_held=10,
    hpack_table=1_000,
)
"""Limits that inputs of a few kilobytes reach."""


def encoded(calls: Iterable[Call]) -> bytes:
    """A conversation as a fuzzer's input."""
    return b"".join(
        bytes((_RECEIVED if direction else 0,)) + len(data).to_bytes(2, "little") + data for direction, data in calls
    )


def events(data: bytes) -> Iterator[Event]:
    """The events that an input stands for. Its first byte says whether the flow's beginning was seen."""
    now, at = 1_000, 1
    position = [0, 0]
    if data[:1] < b"\x80":
        yield Open(now, 7, 1, 2, LOCAL, REMOTE, Binding.SOCKET, from_start=True)
    while at + 3 <= len(data):
        step = data[at]
        length = data[at + 1] | data[at + 2] << 8
        at += 3
        direction = Direction(step >> 7)
        now += 1_000
        kind = step & 7
        if kind == _GAP:
            yield Gap(now, 7, 1, direction, position[direction], length, Cause(length % len(Cause)))
            position[direction] += length
        elif kind == _JUMP:
            position[direction] += length
        elif kind == _END:
            yield End(now, 7, 1, direction)
        elif kind == _UNKNOWN:
            yield Gap(now, 7, 1, direction, position[direction], None, Cause.DETACHED)
        elif kind == _IDLE:
            now += length * 100_000_000
        elif kind == _BIND:
            yield Bind(now, 7, 1, 2, LOCAL, REMOTE, Binding.NESTED)
        else:
            piece = data[at : at + length]
            at += length
            if piece:
                yield Chunk(now, 7, 1, direction, position[direction], piece, False, not step & _CONTINUED)
                position[direction] += len(piece)
    yield Close(now, 7, 1)


_OUT_OF_STEP = (
    *(Count.PARSE_ERRORS, Count.HPACK_ERRORS, Count.LIMIT_HITS, Count.UNREAD_BYTES, Count.NOT_HTTP_BYTES),
    *(Count.FLOWS_JOINED_LATE, Count.GAPS_OF_UNKNOWN_LENGTH, *range(Count.BYTES_LOST_UNKNOWN, len(Count))),
)
"""Where any of these rose the analysis had to look for the next message, which starts of calls help to find."""


def analysed(told: Iterable[Event], limits: Limits) -> tuple[list[Exchange], bool]:
    """What the analysis makes of events; checks what holds of any.

    Returns:
        The exchanges, and whether every byte was read as part of one.
    """
    analyzer = Analyzer(limits)
    out: list[Exchange] = []
    now = 0
    for event in told:
        if event.time_ns > now + 250_000_000:
            out += analyzer.expire(event.time_ns)
        now = event.time_ns
        out += analyzer.feed(event)
    out += analyzer.finish(now)
    counts = analyzer.counts
    assert counts[Count.FLOWS_FAILED] == 0
    assert counts[Count.REQUESTS_BEGUN] == counts[Count.EXCHANGES_EMITTED] == len(out)
    assert counts[Count.EXCHANGES_INCOMPLETE] == sum(found.incomplete_reason is not None for found in out)
    assert len(analyzer) == 0
    for found in out:
        assert found.incomplete_reason in {None, *INCOMPLETE_REASONS}
        for message in (found.request, found.response):
            if message is not None:
                assert len(message.body) <= limits.body_capture
                assert len(message.headers or ()) <= limits.header_count
    return out, not any(counts[count] for count in _OUT_OF_STEP)
