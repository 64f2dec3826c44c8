"""Bytes that were sent twice and differ: which ones the receiver took, and which exchanges that touches.

An attacker who sends two versions of the same bytes shows one to whoever watches and another to the server (Ptacek and
Newsham, 1998). What a receiver has in order it keeps; of what still waits for earlier bytes systems differ.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

ANOMALIES = {
    "overlapping-segments-differ": "TCP segments of a packet capture overlap and their bytes differ, which hides "
    "requests from whoever watches; those are shown that the receiver took, as replay --overlap says",
}
"""name: what it says. docs/anomalies.md is tested against this table."""

(DIFFER,) = ANOMALIES

_FLOWS, _TIMES = 4096, 64
"""Connections, and moments of each, that are remembered; older ones are forgotten and stay counted
(`retransmissions_that_differ`)."""


class Span(msgspec.Struct, gc=False):
    """Where a segment that waits begins and ends; of several that followed each other directly, all of them."""

    start: int
    end: int


def _linux(old: Span, start: int, end: int) -> bool:
    """The bytes of the segment that begins first are read (tcp_data_queue_ofo and tcp_recvmsg); of two that begin at
    the same byte the longer one's, and of equals those that came first.

    Segments that follow each other directly are one to it. Where others overlap both, whether they are depends on the
    shape of its search tree, which is not rebuilt here: `overlapping-segments-differ` is said in any case.
    """
    return start < old.start or (start == old.start and end > old.end)


OVERLAP: dict[str, Callable[[Span, int, int], bool]] = {
    "linux": _linux,
    "first": lambda _old, _start, _end: False,
    "last": lambda _old, _start, _end: True,
}
"""Policy: whether a segment from `start` to `end` takes its place over one that waits already."""


class Disputes:
    """When bytes that differ were sent, by flow."""

    def __init__(self) -> None:
        self._times: OrderedDict[int, deque[int]] = OrderedDict()

    def add(self, flow: int, time_ns: int) -> None:
        times = self._times.get(flow)
        if times is None:
            times = self._times[flow] = deque(maxlen=_TIMES)
            if len(self._times) > _FLOWS:
                self._times.popitem(last=False)
        times.append(time_ns)

    def within(self, flow: int, start_ns: int, end_ns: int) -> bool:
        """Whether any were sent in this flow from `start_ns` to `end_ns`."""
        times = self._times.get(flow)
        return times is not None and any(start_ns <= time_ns <= end_ns for time_ns in times)
