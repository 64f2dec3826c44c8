"""One TCP connection of a packet capture, reassembled: segments in any order in, events in stream order out.

Theory of operation. A segment's bytes are delivered when everything before them in their direction has been, and when
everything their sender had received (its acknowledgement number) has been delivered in the other direction: so a
request comes before its response even where the capture has them the other way round.

What is missing is given up, as a Gap of its exact length, when it is certain that it was not captured:
- the receiver acknowledged it and a window for capture disorder has passed (limits.reorder_packets, reorder_ns): a
  retransmission will not come;
- too much waits behind it (limits.flow_bytes, total_bytes);
- the connection is over.
A byte that nobody acknowledged is waited for: its retransmission may come any time later.

An acknowledgement that covers one byte more than was captured, with nothing after it, may stand for a FIN that was not
captured; no byte is claimed missing for it until one that follows proves it.

A direction whose SYN was not seen settles after the same window: bytes that were captured first need not be first.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

from apisensor.events.model import Binding, Cause, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.replay.half import NOWHERE, Half, Piece
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.segment import ACK, FIN, RST, SYN, Segment, address

_RESET_RANGE = 1 << 20
"""Bytes around the next expected one within which a RST's sequence number is believed (RFC 9293 section 3.5.3 asks for
the receive window, which is not known here; RFC 5961 for an exact match)."""

_WRAP = 1 << 32


def _probes(half: Half, start: int, end: int) -> bool:
    """Whether a segment is a keep-alive or window probe: one byte of no meaning at the end (RFC 9293 section 3.8.4)."""
    return end == start + 1 == half.next


class Connection:
    """State of one connection. `close` is the last call.

    Args:
        source: The end that sent the first captured segment: half 0 holds what it sends.
        new_id: Called once, when the connection carries its first bytes.
        out: Where events go.
        counts: Counters of losses and oddities.
        dispute: Told (flow, time in ns) when bytes of a flow were sent twice and differ.
        overlap: Which of them count (overlap.py).
    """

    __slots__ = (
        "_counts",
        "_dispute",
        "_ends",
        "_id",
        "_limits",
        "_new_id",
        "_now_ns",
        "_out",
        "_packets",
        "_reset",
        "client",
        "closed",
        "halves",
        "keys",
    )

    def __init__(
        self,
        source: bytes,
        destination: bytes,
        limits: ReplayLimits,
        new_id: Callable[[], int],
        out: list[Event],
        counts: MutableMapping[str, int],
        dispute: Callable[[int, int], None],
        overlap: str,
    ) -> None:
        self.keys = (source + destination, destination + source)
        self.halves = (Half(overlap), Half(overlap))
        self.client: int | None = None
        """Which half the client sends; None while no SYN says it."""
        self.closed = False
        self._ends = (source, destination)
        self._limits = limits
        self._new_id = new_id
        self._out = out
        self._counts = counts
        self._dispute = dispute
        self._id = 0
        self._packets = 0
        self._now_ns = 0
        self._reset: tuple[int, int] | None = None
        """Time and packet number of a RST that has not taken effect yet."""

    @property
    def buffered(self) -> int:
        """Bytes of memory that what waits for earlier bytes takes, both directions."""
        return self.halves[0].buffered + self.halves[1].buffered

    @property
    def waiting(self) -> bool:
        """Whether a window is open that time must close."""
        return self._reset is not None or self.halves[0].target is not None or self.halves[1].target is not None

    def segment(self, index: int, segment: Segment) -> None:
        """A segment sent by half `index`."""
        half, peer = self.halves[index], self.halves[1 - index]
        flags = segment.flags
        self._packets += 1
        self._now_ns = max(self._now_ns, segment.time_ns)
        if flags & RST:
            self._on_reset(half, peer, segment)
            return
        sequence = segment.sequence
        if flags & SYN:
            self._on_syn(index, segment)
            sequence = (sequence + 1) % _WRAP
        known = half.base is not None
        acknowledges = NOWHERE
        if flags & ACK:
            peer_known = peer.base is not None
            acknowledges = peer.acknowledge(segment.acknowledgment, segment.time_ns)
            if not peer_known:
                self._open_window(peer)
        start = half.place(sequence)
        if not known:
            self._open_window(half)
        self._on_payload(half, peer, segment, start, acknowledges)
        if flags & FIN:
            half.finish(start + len(segment.payload) + segment.missing, segment.time_ns)
        self._advance()

    def _on_payload(self, half: Half, peer: Half, segment: Segment, start: int, acknowledges: int) -> None:
        payload = segment.payload
        end = start + len(payload)
        if payload:
            ready = half.settled and start == half.next and acknowledges <= peer.next
            if ready and not half.pending and half.fin is None:  # the usual case, without a detour
                half.next = end
                self._chunk(half, start, payload, segment.time_ns, True)
            else:
                if (
                    start < half.next
                    and self._id
                    and half.contradicts(start, payload)
                    and not _probes(half, start, end)
                ):
                    half.conflicts += 1
                    self._dispute(self._id, max(segment.time_ns, half.last_ns))
                seen = half.insert(start, end, payload, segment.time_ns, acknowledges, True)
                self._count("retransmitted_bytes", seen)
        if segment.missing:
            cut_end = end + segment.missing
            seen = half.insert(end, cut_end, None, segment.time_ns, acknowledges, False)
            self._count("snap_length_bytes", cut_end - end - seen)

    def _on_syn(self, index: int, segment: Segment) -> None:
        half, peer = self.halves[index], self.halves[1 - index]
        if half.isn is None:
            half.begin(segment.sequence)
        if segment.flags & ACK:
            if peer.isn is None:
                peer.begin((segment.acknowledgment - 1) % _WRAP)
            if self.client is None:
                self.client = 1 - index
        elif self.client is None:
            self.client = index

    def _on_reset(self, half: Half, peer: Half, segment: Segment) -> None:
        """A RST ends the connection: at once if everything else is here, else when late packets had their time."""
        if half.distance(segment.sequence) > _RESET_RANGE:
            self._count("resets_out_of_window", 1)
            return
        if self._reset is None:
            self._reset = (segment.time_ns, self._packets)
        in_order = (
            half.base is not None
            and peer.base is not None
            and segment.flags & ACK
            and half.settled
            and peer.settled
            and not (half.pending or peer.pending or half.lacks(half.acked) or peer.lacks(peer.acked))
            and half.place(segment.sequence) == half.next
            and peer.place(segment.acknowledgment) == peer.next
        )
        if in_order:
            self.close(segment.time_ns)

    def due(self, now_ns: int) -> None:
        """Capture time has come to `now_ns`: windows that it closes are acted upon."""
        self._now_ns = max(self._now_ns, now_ns)
        if not self.closed:
            self._advance()

    def drain(self) -> None:
        """Delivers all that waits, giving up all that is missing before it."""
        for half in self.halves:
            if half.base is not None and not half.settled:
                half.settle()
        self._deliver()
        while not self.closed and any(half.pending for half in self.halves):
            self._break_tie()
            self._deliver()

    def close(self, time_ns: int | None = None, *, over: bool = True) -> None:
        """The connection is over, for another reason than that both ends said so; not `over`: the capture is, and
        nobody knows of a connection, unless it was reset."""
        if self.closed:
            return
        self.drain()
        if self.closed:  # both directions reached their FIN
            return
        for half in self.halves:
            known = half.acked if half.fin is None else half.fin  # a FIN proves the bytes before it
            if half.lacks(known):
                self._give_up(half, known)
        self._deliver()
        if not self.closed:
            self._close(self._now_ns if time_ns is None else time_ns, reset=True, told=over or self._reset is not None)

    def _close(self, time_ns: int, *, reset: bool = False, told: bool = True) -> None:
        self.closed = True
        self._reset = None
        for half in self.halves:
            half.target = None
        if self._id and told:
            last_ns = max(time_ns, self.halves[0].last_ns, self.halves[1].last_ns)
            self._out.append(Close(last_ns, 0, self._id, reset))
        conflicts = self.halves[0].conflicts + self.halves[1].conflicts
        self._count("retransmissions_that_differ", conflicts)

    # Delivery

    def _advance(self) -> None:
        """Delivers what can be, then acts on windows that are over, then opens those that are needed."""
        if not (self.halves[0].pending or self.halves[1].pending) and not self.waiting and not self._unfinished():
            return
        self._deliver()
        for half in self.halves:
            if half.target is not None and self._passed(half.since_ns, half.since_packet):
                target, half.target = half.target, None
                if half.settled:
                    self._force(half, target)
                else:
                    half.settle()
                self._deliver()
        for half in self.halves:
            if half.base is None or not half.settled:
                continue
            if not half.lacks(half.acked):
                half.target = None
            elif half.target is None or half.next >= half.target:
                self._open_window(half)
        if self._reset is not None and not self.closed and self._passed(*self._reset):
            self.close(self._reset[0])

    def _unfinished(self) -> bool:
        first, second = self.halves
        return first.fin is not None or second.fin is not None or first.lacks(first.acked) or second.lacks(second.acked)

    def _open_window(self, half: Half) -> None:
        half.target = half.acked
        half.since_ns = self._now_ns
        half.since_packet = self._packets

    def _passed(self, since_ns: int, since_packet: int) -> bool:
        limits = self._limits
        return self._packets - since_packet >= limits.reorder_packets or self._now_ns - since_ns >= limits.reorder_ns

    def _deliver(self) -> None:
        """Everything that can be delivered in order."""
        first, second = self.halves
        moved = True
        while moved and not self.closed:
            moved = False
            for half, peer in ((first, second), (second, first)):
                if not half.settled:
                    continue
                pending = half.pending
                while pending and pending[0].start == half.next and not peer.lacks(pending[0].acknowledges):
                    self._piece(half, half.pop())
                    moved = True
                if half.fin is not None and half.fin == half.next and not half.ended:
                    half.ended = moved = True
                    if self._id:
                        self._end(half)
            if first.ended and second.ended:
                self._close(self._now_ns)

    def _force(self, half: Half, target: int) -> None:
        """Gives up what is missing in one direction below `target`."""
        while half.lacks(target) and not self.closed:
            if half.pending and half.pending[0].start == half.next:
                # Not missing, but held back by the other direction, which has a window of its own; unless each holds
                # back the other, which retransmissions with newer acknowledgements can bring about.
                other = self.halves[1] if half is self.halves[0] else self.halves[0]
                if not (other.settled and other.pending and other.pending[0].start == other.next):
                    return
                self._break_tie()
            else:
                self._give_up(half, target)
            self._deliver()

    def _break_tie(self) -> None:
        """Nothing can be delivered in order and something waits: does the one thing that is closest to the truth."""
        held = [half for half in self.halves if half.pending and half.pending[0].start == half.next]
        if len(held) == 2:
            half = min(held, key=lambda half: half.pending[0].time_ns)
            self._piece(half, half.pop())
        elif held:
            other = self.halves[1] if held[0] is self.halves[0] else self.halves[0]
            self._give_up(other, held[0].pending[0].acknowledges)
        else:
            half = min((half for half in self.halves if half.pending), key=lambda half: half.pending[0].time_ns)
            self._give_up(half, half.pending[0].start)

    def _give_up(self, half: Half, position: int) -> None:
        """Bytes from `next` to `position`, or to the first that waits, were not captured."""
        if half.fin is not None and position > half.fin:
            position = half.fin
        if half.pending:
            position = min(position, half.pending[0].start)
            time_ns = half.pending[0].time_ns
        elif half.fin is None and position == half.next + 1:
            half.excused = position
            return
        else:
            time_ns = half.acked_ns
        self._gap(half, half.next, position - half.next, time_ns)
        self._count("segments_missing_bytes", position - half.next)
        half.next = position

    # Events

    def _piece(self, half: Half, piece: Piece) -> None:
        if piece.data is None:
            self._gap(half, piece.start, piece.end - piece.start, piece.time_ns)
        else:
            self._chunk(half, piece.start, piece.data, piece.time_ns, piece.first)
            if piece.disputed:
                self._dispute(self._id, half.last_ns)

    def _chunk(self, half: Half, start: int, data: bytes, time_ns: int, first: bool) -> None:
        if not self._id:
            self._introduce(time_ns)
        time_ns = half.last_ns = max(time_ns, half.last_ns)
        direction = self._direction(half)
        half.deliver(start, data)
        self._out.append(Chunk(time_ns, 0, self._id, direction, start - half.origin, data, False, first))

    def _gap(self, half: Half, start: int, length: int, time_ns: int) -> None:
        if not self._id:
            self._introduce(time_ns)
        time_ns = half.last_ns = max(time_ns, half.last_ns)
        direction = self._direction(half)
        self._out.append(Gap(time_ns, 0, self._id, direction, start - half.origin, length, Cause.SEGMENT_MISSING))

    def _end(self, half: Half) -> None:
        half.last_ns = max(half.last_ns, half.fin_ns)
        self._out.append(End(half.last_ns, 0, self._id, self._direction(half)))

    def _direction(self, half: Half) -> Direction:
        return Direction.SEND if self.halves[self.client or 0] is half else Direction.RECEIVE

    def _introduce(self, time_ns: int) -> None:
        """The connection's first bytes: it gets its id, and its roles if no SYN gave them."""
        from_start = self.halves[0].isn is not None and self.halves[1].isn is not None
        self._count("connections_joined_late", not from_start)
        if self.client is None:
            # An ephemeral port is higher than the one it calls; between equals, who spoke first.
            ports = [int.from_bytes(end[-2:], "big") for end in self._ends]
            self.client = 1 if ports[1] > ports[0] else 0
        self._id = self._new_id()
        local, remote = address(self._ends[self.client]), address(self._ends[1 - self.client])
        self._out.append(Open(time_ns, 0, self._id, self._id, local, remote, Binding.PACKET, from_start))
        for half in self.halves:
            if half.ended:
                self._end(half)

    def _count(self, name: str, amount: int) -> None:
        if amount:
            self._counts[name] = self._counts.get(name, 0) + amount
