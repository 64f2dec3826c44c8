"""The TCP connections of a packet capture: which one a segment belongs to, when one begins, and when one is forgotten.

Two connections that follow each other on the same addresses and ports are told apart by their initial sequence numbers,
and where no SYN was captured by both directions' numbers jumping at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import MutableMapping

from apisensor.events.model import Event
from apisensor.replay.connection import Connection
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.overlap import Disputes
from apisensor.replay.segment import ACK, RST, SYN, Segment

_JUMP = 64 << 20
"""Bytes. Sequence numbers of both directions further off than this at once belong to another connection: no receive
window of practice is that large, and a capture that lost so much of both directions has lost the connection."""

_CLOSED_NS = 60_000_000_000
"""How long a closed connection is remembered so that late retransmissions do not look like a new one: TIME-WAIT as
Linux has it."""


class Reassembler:
    """Takes segments in capture order and returns events in stream order.

    Args:
        limits: Bounds; what they cost is counted.
        counts: Losses and oddities are added up in it, by name.
        overlap: Which bytes count where segments overlap and differ (overlap.py).
    """

    def __init__(self, limits: ReplayLimits, counts: MutableMapping[str, int], overlap: str = "linux") -> None:
        self._limits = limits
        self._overlap = overlap
        self.disputes = Disputes()
        """Where they did."""
        self._counts = counts
        self._ends: dict[bytes, tuple[Connection, int]] = {}
        """Source and destination of a segment: its connection and the half it is a part of."""
        self._open: OrderedDict[Connection, None] = OrderedDict()
        """Least recently seen first."""
        self._closed: OrderedDict[Connection, int] = OrderedDict()
        """Closed connections by the time they closed."""
        self._last_seen: dict[Connection, int] = {}
        self._waiting: OrderedDict[Connection, int] = OrderedDict()
        """Connections with a window open: capture time at which to look again."""
        self.buffered = 0
        """Bytes of memory that what waits takes, over all connections."""
        self._now_ns = 0
        self._out: list[Event] = []
        self.flows = 0
        """Connections that carried bytes so far; the latest flow's number."""

    def feed(self, segment: Segment) -> list[Event]:
        """What can be told now that this segment was captured, in order."""
        self._out.clear()
        if segment.time_ns > self._now_ns:
            self._now_ns = segment.time_ns
            self._expire()
        entry = self._ends.get(segment.source + segment.destination)
        if entry is not None and self._is_another(*entry, segment):
            self._forget(entry[0])
            entry = None
        if entry is None:
            if segment.flags & RST:
                return self._taken()  # of a connection that is not known: there is nothing to end
            entry = self._begin(segment)
        connection, index = entry
        if connection.closed:
            self._count("bytes_after_close", len(segment.payload))
            return self._taken()
        before = connection.buffered
        connection.segment(index, segment)
        self._bound(connection, before)
        self._after(connection)
        return self._taken()

    def finish(self) -> list[Event]:
        """The capture is over: everything that waits comes out. How connections that are open end, nobody knows."""
        self._out.clear()
        for connection in list(self._open):
            self._forget(connection, over=False)
        return self._taken()

    def _taken(self) -> list[Event]:
        return self._out.copy()

    def _new_flow(self) -> int:
        self.flows += 1
        return self.flows

    def _begin(self, segment: Segment) -> tuple[Connection, int]:
        if len(self._open) + len(self._closed) >= self._limits.connections:
            self._evict()
        connection = Connection(
            segment.source,
            segment.destination,
            self._limits,
            self._new_flow,
            self._out,
            self._counts,
            self.disputes.add,
            self._overlap,
        )
        self._ends[connection.keys[1]] = (connection, 1)
        entry = self._ends[connection.keys[0]] = (connection, 0)
        self._open[connection] = None
        return entry

    @staticmethod
    def _is_another(connection: Connection, index: int, segment: Segment) -> bool:
        """Whether the segment belongs to a later connection on the same addresses and ports."""
        half, peer = connection.halves[index], connection.halves[1 - index]
        flags, sequence = segment.flags, segment.sequence
        if flags & RST:
            return False
        if flags & SYN:
            if half.isn is not None:
                return half.isn != sequence
            first = (sequence + 1) % (1 << 32)
            if half.base is None:
                return connection.closed
            return half.place(first) != half.origin if half.settled else half.distance(first) > _JUMP
        if half.distance(sequence) > _JUMP and flags & ACK and peer.distance(segment.acknowledgment) > _JUMP:
            return True
        # Bytes beyond a FIN cannot be of the connection that it ended.
        return connection.closed and half.ended and bool(segment.payload) and half.place(sequence) > half.next

    def _bound(self, connection: Connection, before: int) -> None:
        """Keeps the bytes that wait within the limits, at the cost of the connection that went over one."""
        after = connection.buffered
        self.buffered += after - before
        if after > self._limits.flow_bytes:
            self._count("gaps_flow_buffer_limit", 1)
        elif self.buffered > self._limits.total_bytes and after:
            self._count("gaps_total_buffer_limit", 1)
        else:
            return
        connection.drain()
        self.buffered += connection.buffered - after

    def _after(self, connection: Connection) -> None:
        """Files the connection where its state says."""
        self._last_seen[connection] = self._now_ns
        if connection.closed:
            self._retire(connection)
            return
        self._open.move_to_end(connection)
        if connection.waiting:
            if connection not in self._waiting:
                self._waiting[connection] = self._now_ns + self._limits.reorder_ns
        else:
            self._waiting.pop(connection, None)

    def _retire(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        self._waiting.pop(connection, None)
        self._closed[connection] = self._now_ns

    def _expire(self) -> None:
        """Windows that are over, connections that are idle, closed ones that need not be remembered."""
        now = self._now_ns
        while self._waiting:
            connection, deadline = next(iter(self._waiting.items()))
            if deadline > now:
                break
            del self._waiting[connection]
            before = connection.buffered
            connection.due(now)
            self.buffered += connection.buffered - before
            if connection.closed:
                self._retire(connection)
            elif connection.waiting:
                self._waiting[connection] = now + self._limits.reorder_ns
        while self._closed:
            connection, since = next(iter(self._closed.items()))
            if since + _CLOSED_NS > now:
                break
            self._forget(connection)
        while self._open:
            connection = next(iter(self._open))
            if self._last_seen[connection] + self._limits.idle_ns > now:
                break
            self._forget(connection)

    def _evict(self) -> None:
        if self._closed:
            self._forget(next(iter(self._closed)))
        else:
            self._count("connections_evicted", 1)
            self._forget(next(iter(self._open)))

    def _forget(self, connection: Connection, *, over: bool = True) -> None:
        """Ends the connection if it is open, and frees its addresses; not `over`: the capture is."""
        before = connection.buffered
        connection.close(over=over)
        self.buffered += connection.buffered - before
        self._open.pop(connection, None)
        self._closed.pop(connection, None)
        self._waiting.pop(connection, None)
        self._last_seen.pop(connection, None)
        for key in connection.keys:
            self._ends.pop(key, None)

    def _count(self, name: str, amount: int) -> None:
        if amount:
            self._counts[name] = self._counts.get(name, 0) + amount
