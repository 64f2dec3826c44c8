"""What the governor has a worker leave out: bodies, and flows that began before it said so.

New flows are left out by the kernel side, from their first byte on. One that is there already is given up between two
exchanges, or after PATIENCE_NS in the middle of them (incomplete_reason "shed"): the kernel side is told to copy
nothing more of it. When the governor takes back a part of what is left out, its flows are as if joined late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from apisensor.events.model import Direction
from apisensor.streams.lane import FLOW_SHED
from apisensor.transactions.counts import Count
from apisensor.transactions.flow import Flow, Peer, Shared

PATIENCE_NS = 2_000_000_000
"""How long a flow may take to come to the end of its exchanges. A keep-alive connection is between two of them all the
time; an HTTP/2 connection with many streams, or a download, may never be."""

SHARES = 256
"""The governor counts in so many parts of all flows."""


def part_of(flow: int) -> int:
    """In which of SHARES parts a flow is: the upper bits of a multiplicative hash, as bpf/emit.h has it."""
    return (flow * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 56


class Left(NamedTuple):
    """A flow that was given up, as far as it must be known to be taken up again."""

    pid: int
    tls: bool
    peer: Peer | None


class Shedding:
    """One per analyzer.

    Args:
        shared: What all flows share.
        flows: Those that are followed and had events a moment ago; the one without for longest comes first.
        ignored: Those that are not; with a `Left` where that is for the governor.
        drop: Ends a flow: emits what it has open.
        followed: Flows that are followed, those without events for a moment, too.
    """

    def __init__(
        self,
        shared: Shared,
        flows: OrderedDict[int, Flow],
        ignored: OrderedDict[int, Left | None],
        drop: Callable[[Flow, int], None],
        followed: Callable[[], int],
    ) -> None:
        self._shared, self._flows, self._ignored, self._drop = shared, flows, ignored, drop
        self._followed = followed
        self._share = 0
        self._raised_ns = 0
        self._swept_ns = 0
        self._take_back = False

    def govern(self, share: int, *, bodies: bool, now: int) -> None:
        """From now on `share` of SHARES parts of the flows are left out and, where `bodies` is set, all bodies."""
        self._shared.sheds_bodies = bodies
        if share > self._share:
            self._raised_ns, self._swept_ns = now, 0
        elif share < self._share:
            self._take_back = True
        self._share = share

    def sweep(self, now: int) -> None:
        """Give up what is to be left out, take up what is not any more. Every fraction of a second."""
        if self._take_back:
            self._take_back = False
            self._take_up(now)
        if not self._share:
            return
        # Those without events since the last look cost nothing, and wait for it.
        active = []
        for flow in reversed(self._flows.values()):
            if flow.last_ns < self._swept_ns:
                break
            if flow.engine is not None and part_of(flow.id) < self._share:
                active.append(flow)
        self._swept_ns = now
        impatient = now - self._raised_ns >= PATIENCE_NS
        for flow in active:
            if impatient or not (flow.open or flow.held):
                self._leave(flow, now)

    def bound(self, id_: int, peer: Peer) -> None:
        """The peer of a flow in `ignored` is known, or another one."""
        left = self._ignored[id_]
        if left is not None:
            self._ignored[id_] = left._replace(peer=peer)

    def _leave(self, flow: Flow, now: int) -> None:
        shared = self._shared
        shared.counts[Count.FLOWS_SHED] += 1
        for request in flow.open:
            request.reason = request.reason or "shed"
        del self._flows[flow.id]
        self._drop(flow, now)
        self._ignored[flow.id] = Left(flow.pid, flow.tls, flow.peer)
        self._skip(flow.id, FLOW_SHED)

    def _take_up(self, now: int) -> None:
        shared, flows = self._shared, self._flows
        back = [(id_, left) for id_, left in self._ignored.items() if left is not None and part_of(id_) >= self._share]
        for id_, left in back:
            if self._followed() >= shared.limits.max_flows:
                self._take_back = True  # later: none that is followed shall make room for it
                return
            del self._ignored[id_]
            flow = flows[id_] = Flow(id_, left.pid, left.tls, shared)
            flow.peer, flow.last_ns = left.peer, now
            self._skip(id_, 0)

    def _skip(self, id_: int, position: int) -> None:
        skip = self._shared.skip
        if skip is not None:
            for direction in Direction:
                skip(id_, direction, position)
