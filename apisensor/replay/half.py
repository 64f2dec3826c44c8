"""One direction of a TCP connection: sequence numbers as positions, and the pieces that wait for earlier ones.

Positions are plain integers that do not wrap. Position 0 is the byte after the SYN where that was seen, else the first
byte known of; until such a direction has settled, earlier bytes may turn up and positions may be negative, and
`origin` is what the public positions count from.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from operator import attrgetter

import msgspec

from apisensor.replay.overlap import OVERLAP, Span

_WRAP = 1 << 32
_HALF_WRAP = 1 << 31

NOWHERE = -(1 << 62)
"""A position before every other: nothing was acknowledged yet."""

PIECE_OVERHEAD = 200
"""Bytes of memory that a waiting piece takes besides its own: limits on what waits must hold for tiny segments, too."""

SENT_SEGMENTS, SENT_BYTES = 64, 256 << 10
"""Delivered segments kept until they are acknowledged, so that repetitions can be compared with them. More are under
way on fast paths and where only one direction was captured; the oldest go."""

_start = attrgetter("start")


class Piece(msgspec.Struct, gc=False):
    """Bytes that were captured, or known to be cut off, and are not delivered yet."""

    start: int
    end: int
    time_ns: int
    acknowledges: int
    """Position in the other direction up to which the sender had received when it sent this."""
    data: bytes | None
    """None: the snapshot length cut these bytes off."""
    first: bool
    """data[0] was the first byte of a segment."""
    segment: Span
    """What its bytes came with; pieces may share it."""
    disputed: bool = False
    """Other bytes were sent for the same place."""


def _weight(piece: Piece) -> int:
    return PIECE_OVERHEAD + (0 if piece.data is None else piece.end - piece.start)


class Half:
    """Bytes sent by one end of a connection."""

    __slots__ = (
        "acked",
        "acked_ns",
        "base",
        "buffered",
        "conflicts",
        "ended",
        "excused",
        "fin",
        "fin_ns",
        "isn",
        "last_ns",
        "next",
        "origin",
        "overlap",
        "pending",
        "reached",
        "sent",
        "sent_bytes",
        "settled",
        "since_ns",
        "since_packet",
        "target",
    )

    def __init__(self, overlap: str = "linux") -> None:
        self.overlap = OVERLAP[overlap]
        """Whose bytes count where segments that wait overlap and differ."""
        self.base: int | None = None
        """Sequence number of position 0; None: nothing is known of this direction yet."""
        self.isn: int | None = None
        """Initial sequence number, where a SYN (or the SYN's acknowledgement) told it."""
        self.settled = False
        """No earlier byte will be accepted any more: bytes may be delivered."""
        self.origin = 0
        self.next = 0
        """Position of the next byte to deliver."""
        self.acked = NOWHERE
        """Highest position that the other end acknowledged."""
        self.acked_ns = 0
        """Capture time of that acknowledgement."""
        self.excused = NOWHERE
        """Position up to which an acknowledgement covers no byte that could be missed: a FIN that was not captured."""
        self.fin: int | None = None
        """Position of the FIN: the stream's length."""
        self.fin_ns = 0
        """Capture time of the FIN."""
        self.ended = False
        """Delivered up to the FIN."""
        self.pending: list[Piece] = []
        """Sorted by start; never overlapping."""
        self.buffered = 0
        """Bytes of memory that `pending` takes."""
        self.conflicts = 0
        """Segments whose bytes differ from those sent before for the same place."""
        self.reached = 0
        """Everything from `next` to here is here, so the receiver has it in order and takes no other bytes for it."""
        self.sent: deque[tuple[int, bytes]] = deque()
        """Delivered and not acknowledged: (position, bytes)."""
        self.sent_bytes = 0
        self.last_ns = 0
        """Time of the last event of this direction; its events never go back in time."""
        self.target: int | None = None
        """While a window for late packets is open: what is missing below this position will be given up."""
        self.since_ns = 0
        self.since_packet = 0

    def place(self, sequence: int) -> int:
        """The position of a sequence number, taken as the nearest one to `next`. The first number placed becomes 0."""
        if self.base is None:
            self.base = sequence
            return 0
        delta = (sequence - self.base - self.next) % _WRAP
        return self.next + (delta if delta < _HALF_WRAP else delta - _WRAP)

    def distance(self, sequence: int) -> int:
        """How far a sequence number is from the next byte expected, in bytes, either way; 0 if nothing is expected."""
        return 0 if self.base is None else abs(self.place(sequence) - self.next)

    def begin(self, isn: int) -> None:
        """A SYN with this initial sequence number was seen: the first byte is the one after it."""
        self.isn = isn
        if self.settled:
            return
        self.next = self.place((isn + 1) % _WRAP)
        self.settle()
        before = [piece for piece in self.pending if piece.start < self.next]
        for piece in before:  # not of this connection
            self.pending.remove(piece)
            self.buffered -= _weight(piece)

    def settle(self) -> None:
        """From here on `next` is where delivery starts."""
        self.settled = True
        self.origin = self.next
        self.target = None

    def acknowledge(self, sequence: int, time_ns: int) -> int:
        """The other end has received everything before this sequence number. Returns its position."""
        position = self.place(sequence)
        if not self.settled:
            self.next = min(self.next, position)
        if position > self.acked:
            self.acked = position
            self.acked_ns = time_ns
            while self.sent and self.sent[0][0] + len(self.sent[0][1]) <= position:
                self.sent_bytes -= len(self.sent.popleft()[1])
        return position

    def lacks(self, position: int) -> bool:
        """Whether bytes before `position` exist that have not been delivered."""
        if self.fin is not None and position > self.fin:
            position = self.fin
        return position > self.next and position > self.excused

    def deliver(self, start: int, data: bytes) -> None:
        """These bytes were told; they are compared with repetitions until they are acknowledged."""
        self.sent.append((start, data))
        self.sent_bytes += len(data)
        while len(self.sent) > SENT_SEGMENTS or self.sent_bytes > SENT_BYTES:
            self.sent_bytes -= len(self.sent.popleft()[1])

    def contradicts(self, start: int, data: bytes) -> bool:
        """Whether a segment differs from bytes that were delivered and not acknowledged."""
        end = min(start + len(data), self.next)
        for at, sent in self.sent:
            low, high = max(start, at, self.acked), min(end, at + len(sent))
            if low < high and sent[low - at : high - at] != data[low - start : high - start]:
                return True
        return False

    def insert(self, start: int, end: int, data: bytes | None, time_ns: int, acknowledges: int, first: bool) -> int:
        """Keeps what is new of a segment: neither delivered nor waiting already. Of bytes that differ from those that
        wait, `overlap` says which count.

        Returns:
            How many of its bytes were already there.
        """
        if not self.settled and start < self.next:
            self.next = self.reached = start
        if self.fin is not None and end > self.fin:
            end = self.fin
        at = max(start, self.next)
        seen = max(0, min(at, end) - start)
        pending = self.pending
        if pending:
            self._reach()
        index = bisect_right(pending, at, key=_start)
        span = Span(start, end)
        if index and pending[index - 1].segment.end == start:  # Linux makes them one (tcp_ooo_try_coalesce)
            span = pending[index - 1].segment
            span.end = end
        if index and pending[index - 1].end > at:
            index -= 1
        disputed = False
        while at < end:
            following = pending[index] if index < len(pending) else None
            stop = end if following is None else min(end, following.start)
            if stop > at:
                part = None if data is None else data[at - start : stop - start]
                self._wait(index, Piece(at, stop, time_ns, acknowledges, part, first and at == start, span))
                index += 1
                at = stop
            if following is None or at >= end:
                break
            stop = min(end, following.end)
            if data is not None and following.data is not None:
                part = data[at - start : stop - start]
                if part != following.data[at - following.start : stop - following.start]:
                    disputed = True
                    following.disputed = True
                    taken = following.start < max(self.reached, self.acked)
                    if not taken and self.overlap(following.segment, span.start, end):
                        piece = Piece(at, stop, time_ns, acknowledges, part, first and at == start, span, True)
                        index = self._replace(index, piece)
                        seen, at = seen + stop - at, stop
                        continue
            seen += stop - at
            at = stop
            index += 1
        self.conflicts += disputed
        self._reach()
        return seen

    def _wait(self, index: int, piece: Piece) -> None:
        self.pending.insert(index, piece)
        self.buffered += _weight(piece)

    def _replace(self, index: int, piece: Piece) -> int:
        """Puts a piece over a part of the one at `index`. Returns the index behind it."""
        old = self.pending.pop(index)
        self.buffered -= _weight(old)
        assert old.data is not None
        before, behind = old.data[: piece.start - old.start], old.data[piece.end - old.start :]
        if before:
            self._wait(index, msgspec.structs.replace(old, end=piece.start, data=before))
            index += 1
        self._wait(index, piece)
        if behind:
            self._wait(index + 1, msgspec.structs.replace(old, start=piece.end, data=behind, first=False))
        return index + 1

    def _reach(self) -> None:
        self.reached = max(self.reached, self.next)
        if not self.settled:
            return
        index = bisect_left(self.pending, self.reached, key=_start)
        while index < len(self.pending) and self.pending[index].start == self.reached:
            self.reached = self.pending[index].end
            index += 1

    def pop(self) -> Piece:
        """Takes the first waiting piece; the position moves past it."""
        piece = self.pending.pop(0)
        self.next = piece.end
        self.buffered -= _weight(piece)
        return piece

    def finish(self, position: int, time_ns: int) -> None:
        """A FIN at this position was seen; what lies beyond it was never part of the stream."""
        if self.fin is not None or position < self.next:
            return
        self.fin = position
        self.fin_ns = time_ns
        self.excused = NOWHERE
        while self.pending and self.pending[-1].end > position:
            self.buffered -= _weight(self.pending.pop())
