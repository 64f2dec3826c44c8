"""IP fragments, put together as Linux does (net/ipv4/inet_fragment.c, since 4.20 for both versions of IP).

A fragment that lies within what is there already is a repetition and is ignored; one that overlaps it partly makes the
receiver discard the whole packet (RFC 5722 says so for IPv6), and so it is discarded here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import MutableMapping
from operator import itemgetter

import msgspec

from apisensor.replay.limits import ReplayLimits

_LONGEST = 65_535
"""Bytes of a whole packet's payload at most; what claims more is a "ping of death"."""

_OVERHEAD, _RUN = 400, 120
"""Bytes of memory of a packet under way, and of each run of its bytes, besides the bytes."""

_start = itemgetter(0)

Whole = tuple[int, bytes]
"""Protocol number and payload of a packet whose fragments are all here."""


class _Datagram(msgspec.Struct, gc=False):
    since_ns: int
    buffer: bytearray
    runs: list[tuple[int, int]]
    """Where bytes are: (start, end), sorted, never touching."""
    protocol: int = 0
    """What the first fragment says that it carries."""
    end: int | None = None
    """Length, once the last fragment is here."""
    fragments: int = 0
    whole: bool = False
    """Was handed on; kept because the same fragments may have been captured on several interfaces."""

    @property
    def weight(self) -> int:
        return _OVERHEAD + len(self.buffer) + _RUN * len(self.runs)


class Fragments:
    """Packets whose fragments are not all here yet.

    Args:
        limits: `fragment_bytes`, `fragment_ns`.
        counts: Losses and oddities are added up in it (counters.py).
    """

    def __init__(self, limits: ReplayLimits, counts: MutableMapping[str, int]) -> None:
        self._limits = limits
        self._counts = counts
        self._under_way: OrderedDict[bytes, _Datagram] = OrderedDict()
        """Oldest first."""
        self._now_ns = 0
        self.buffered = 0
        """Bytes of memory in use."""

    def add(self, key: bytes, time_ns: int, protocol: int, offset: int, more: bool, payload: bytes) -> Whole | None:
        """A fragment was captured.

        Args:
            key: Addresses, identification and, in IPv4, protocol.
            offset: Bytes before it in the packet.
            more: Others follow it.

        Returns:
            The packet, where this makes it whole.
        """
        self._now_ns = max(self._now_ns, time_ns)
        self._expire()
        end = offset + len(payload)
        if not payload or end > _LONGEST or (more and len(payload) % 8):
            self._count("fragments_malformed", 1)
            return None
        datagram = self._under_way.get(key)
        if datagram is not None and datagram.whole and not self._repeats(datagram, offset, end, payload):
            self._drop(key)  # another packet with the same identification: there are only 65,536
            datagram = None
        if datagram is None:
            datagram = self._under_way[key] = _Datagram(self._now_ns, bytearray(), [])
            self.buffered += datagram.weight
        elif self._known(key, datagram, offset, end, more, payload):
            return None
        before = datagram.weight
        self._insert(datagram, offset, end, payload)
        if not offset:
            datagram.protocol = protocol
        if not more:
            datagram.end = end
        self.buffered += datagram.weight - before
        datagram.whole = datagram.runs == [(0, datagram.end)]
        out = (datagram.protocol, bytes(datagram.buffer)) if datagram.whole else None
        self._bound()
        return out

    def finish(self) -> None:
        """The capture is over: what is not whole never will be."""
        while self._under_way:
            self._give_up("fragments_incomplete")

    def _repeats(self, datagram: _Datagram, offset: int, end: int, payload: bytes) -> bool:
        return end <= len(datagram.buffer) and datagram.buffer[offset:end] == payload

    def _known(self, key: bytes, datagram: _Datagram, offset: int, end: int, more: bool, payload: bytes) -> bool:
        """Whether the fragment adds nothing: it is there already, or contradicts what is there."""
        runs = datagram.runs
        index = bisect_right(runs, offset, key=_start)
        if index and end <= runs[index - 1][1]:
            same = self._repeats(datagram, offset, end, payload)
            self._count("fragments_repeated" if same else "fragments_that_differ", 1)
            return True
        known = datagram.end
        reached = runs[-1][1] if runs else 0
        length_differs = (known is not None and (end > known or not more)) or (not more and reached > end)
        if length_differs or (index and runs[index - 1][1] > offset) or (index < len(runs) and runs[index][0] < end):
            self._count("fragments_overlapping", datagram.fragments + 1)
            self._drop(key)
            return True
        return False

    @staticmethod
    def _insert(datagram: _Datagram, offset: int, end: int, payload: bytes) -> None:
        buffer, runs = datagram.buffer, datagram.runs
        if len(buffer) < end:
            buffer.extend(bytes(end - len(buffer)))
        buffer[offset:end] = payload
        datagram.fragments += 1
        index = bisect_right(runs, offset, key=_start)
        first = index
        if index and runs[index - 1][1] == offset:
            first, offset = index - 1, runs[index - 1][0]
        if index < len(runs) and runs[index][0] == end:
            index, end = index + 1, runs[index][1]
        runs[first:index] = [(offset, end)]

    def _expire(self) -> None:
        while self._under_way:
            oldest = next(iter(self._under_way.values()))
            if oldest.since_ns + self._limits.fragment_ns > self._now_ns:
                return
            self._give_up("fragments_incomplete")

    def _bound(self) -> None:
        while self.buffered > self._limits.fragment_bytes:
            self._give_up("fragments_evicted")

    def _give_up(self, name: str) -> None:
        key, oldest = next(iter(self._under_way.items()))
        if not oldest.whole:
            self._count(name, oldest.fragments)
        self._drop(key)

    def _drop(self, key: bytes) -> None:
        self.buffered -= self._under_way.pop(key).weight

    def _count(self, name: str, amount: int) -> None:
        self._counts[name] = self._counts.get(name, 0) + amount
