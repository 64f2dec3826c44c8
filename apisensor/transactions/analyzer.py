"""Events in, exchanges out: the analysis of one worker, composed.

    event -> flow table -> lane (position) -> protocol, once identified -> pairing -> exchange, once bound

An `Analyzer` knows no clock, socket or thread: time comes with the events. One flow that misbehaves costs itself only.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final

from apisensor.events.model import Bind, Cause, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.protocols.http1_engine import Engine as Http1Engine
from apisensor.protocols.identify import Start, identify
from apisensor.protocols.proxy import header_length
from apisensor.streams.lane import END_OF_FLOW, Hole
from apisensor.streams.limits import Limits
from apisensor.transactions.candidate import WAIT, Opening
from apisensor.transactions.counts import Count
from apisensor.transactions.flow import Counters, Engine, Flow, Peer, Shared
from apisensor.transactions.http1_pairing import Http1Pairing
from apisensor.transactions.http2_pairing import Http2Pairing
from apisensor.transactions.model import Exchange
from apisensor.transactions.shedding import Left, Shedding

try:
    from apisensor.protocols.http1_llhttp import ENGINE
except ImportError:  # httptools is not installed
    from apisensor.protocols.http1_h11 import ENGINE

__all__ = ["Analyzer", "Count", "Limits"]

_NOT_HTTP_BYTES: Final = int(Count.NOT_HTTP_BYTES)
_SHED_BYTES: Final = int(Count.SHED_BYTES)
_LOST: Final = int(Count.BYTES_LOST_UNKNOWN)

_NONE: Final[list[Exchange]] = []
"""What `feed` returns when nothing finished."""

_REASONS: Final = {cause: cause.name.lower() for cause in Cause}
_REASONS[Cause.SKIPPED] = "unknown"  # only said of what lies outside of bodies, where nothing is declined

_COUNTED: Final = frozenset((Cause.SKIPPED, Cause.NOT_IN_USER_MEMORY, Cause.CALL_LIMIT))
"""Bytes that passed while the sensor looked, and that it did not copy."""


class Analyzer:
    """Turns the events of many flows into exchanges.

    Args:
        limits: What may be held.
        counts: Counters, indexed by `Count`, of at least len(Count) items; may lie in shared memory. Own ones if None.
        skip: Told (flow, direction, position) when payload below this position of this direction need not be copied
            any more; END_OF_FLOW when nothing more of the flow is wanted.
        http1: What parses HTTP/1 messages.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        counts: Counters | None = None,
        skip: Callable[[int, Direction, int], None] | None = None,
        http1: Http1Engine = ENGINE,
    ) -> None:
        self.limits = limits
        self.counts: Counters = [0] * len(Count) if counts is None else counts
        self._shared = Shared(limits, self.counts, skip, http1)
        self._unlooked = limits.total_bytes // 8
        """Bytes after which what all flows hold is looked at again."""
        self._flows: OrderedDict[int, Flow] = OrderedDict()
        """Those with events in the last moment. In each of the three the one without events for longest is first."""
        self._quiet: OrderedDict[int, Flow] = OrderedDict()
        """Flows without events for rest_ns."""
        self._parked: OrderedDict[int, Flow] = OrderedDict()
        """Flows without events for idle_ns."""
        self._ages = (self._parked, self._quiet, self._flows)
        self._ignored: OrderedDict[int, Left | None] = OrderedDict()
        """Flows that are not HTTP, and those that are left out for the governor."""
        self._shedding = Shedding(
            self._shared,
            self._flows,
            self._ignored,
            lambda flow, now: self._drop(flow, now, closed=False),
            self.__len__,
        )
        self.govern = self._shedding.govern
        self._handlers: dict[type, Callable[[Any], None]] = {
            Chunk: self._chunk,
            Gap: self._gap,
            Open: self._open,
            Bind: self._bind,
            End: self._end,
            Close: self._close,
        }

    # Input

    def feed(self, event: Event) -> list[Exchange]:
        """Take one event.

        Returns:
            The exchanges that finished because of it. The list is not to be changed.
        """
        shared = self._shared
        shared.now = event.time_ns
        try:
            self._handlers[type(event)](event)
        except Exception:  # noqa: BLE001 - an error in a parser ends the parsing of one flow, nothing else
            self._failed(event.flow)
        out = shared.out
        if out:
            shared.out = []
            return out
        return _NONE

    def expire(self, now_ns: int) -> list[Exchange]:
        """Give up what has waited too long at event time `now_ns`: for its peer, or for its end."""
        shared = self._shared
        shared.now = now_ns
        held = shared.held
        oldest = now_ns - self.limits.bind_wait_ns
        while held and (held[0].exchange is None or held[0].since <= oldest):
            waiting = held.popleft()
            if waiting.exchange is not None:
                waiting.flow.give_up_binding(waiting)
        self._shedding.sweep(now_ns)
        limits = self.limits
        for flow in _aged(self._flows, self._quiet, now_ns - min(limits.rest_ns, limits.idle_ns)):
            if flow.engine is not None:
                self._guard(flow, "rest", now_ns)
        for flow in _aged(self._quiet, self._parked, now_ns - limits.idle_ns):
            self._guard(flow, "idle", now_ns)
        return self._take()

    def finish(self, now_ns: int) -> list[Exchange]:
        """The source ended: emit whatever is open, marked incomplete with its reason."""
        self._shared.now = now_ns
        for flows in self._ages:
            while flows:
                _, flow = flows.popitem(last=False)
                self._drop(flow, now_ns, closed=False)
        self._ignored.clear()
        return self._take()

    def __len__(self) -> int:
        """Flows followed at present, those that are not HTTP left out."""
        return sum(map(len, self._ages))

    # Events

    def _bound(self, now: int) -> None:
        """Drop the largest flows where all together hold too much."""
        self._shared.fresh = 0
        sizes = [(flow.memory(), flow) for flows in self._ages for flow in flows.values()]
        total = sum(size for size, _ in sizes)
        if total <= self.limits.total_bytes:
            return
        for size, flow in sorted(sizes, key=lambda row: row[0], reverse=True):
            self._forget(flow.id)
            self.counts[Count.FLOWS_OVER_MEMORY] += 1
            self._drop(flow, now, closed=False)
            total -= size
            if total <= self.limits.total_bytes // 2:
                return

    def _chunk(self, event: Chunk) -> None:
        id_ = event.flow
        data = event.data
        shared = self._shared
        shared.fresh += len(data)
        if shared.fresh > self._unlooked:
            self._bound(event.time_ns)
        flow = self._flows.get(id_)
        if flow is None:
            if id_ in self._ignored:
                self._pass_over(id_, len(data))
                return
            flow = self._flow(id_, event.pid, event.tls)
        else:
            self._flows.move_to_end(id_)
        now = flow.last_ns = event.time_ns
        direction = event.direction
        if not event.position:
            flow.expect_start()
        lane = flow.lanes[direction]
        if lane.position == event.position:
            lane.position += len(data)
        else:
            holes, repeated = lane.place(event.position, len(data))
            for hole in holes:
                self._lose(flow, direction, hole, now)
            if repeated:
                self.counts[Count.REPEATED_BYTES] += repeated
                data = data[repeated:]
        if not data:
            return
        engine = flow.engine
        if engine is not None:
            engine.data(direction, data, now, event.call_start)
        else:
            self._identify(flow, direction, data, now, event.call_start)
        if flow.ending is not None:
            self._end_engine(flow, flow.ending)

    def _gap(self, event: Gap) -> None:
        if event.flow in self._ignored:
            self._pass_over(event.flow, event.length or 0)
            return
        flow = self._flow(event.flow, event.pid, event.tls)
        flow.last_ns = event.time_ns
        for hole in flow.lanes[event.direction].gap(event.position, event.length, event.cause):
            self._lose(flow, event.direction, hole, event.time_ns)
        if flow.ending is not None:
            self._end_engine(flow, flow.ending)

    def _open(self, event: Open) -> None:
        if event.flow in self._ignored:
            self._shedding.bound(event.flow, Peer(event.connection, event.local, event.remote, event.binding))
            return
        flow = self._flow(event.flow, event.pid, False)
        flow.last_ns = event.time_ns
        flow.from_start = event.from_start
        flow.expect_start()
        flow.bind(Peer(event.connection, event.local, event.remote, event.binding))

    def _bind(self, event: Bind) -> None:
        if event.flow in self._ignored:
            self._shedding.bound(event.flow, Peer(event.connection, event.local, event.remote, event.binding))
            return
        flow = self._flow(event.flow, event.pid, True)
        flow.last_ns = event.time_ns
        flow.bind(Peer(event.connection, event.local, event.remote, event.binding))

    def _end(self, event: End) -> None:
        flow = self._known(event.flow)
        if flow is not None and flow.engine is not None:
            flow.last_ns = event.time_ns
            flow.engine.end(event.direction, event.time_ns)

    def _close(self, event: Close) -> None:
        self._ignored.pop(event.flow, None)
        flow = self._forget(event.flow)
        if flow is not None:
            self._drop(flow, event.time_ns, closed=True, reset=event.reset)

    # Flows

    def _known(self, id_: int) -> Flow | None:
        return self._flows.get(id_) or self._quiet.get(id_) or self._parked.get(id_)

    def _forget(self, id_: int) -> Flow | None:
        """The flow with this id, which is not followed any more."""
        return self._flows.pop(id_, None) or self._quiet.pop(id_, None) or self._parked.pop(id_, None)

    def _flow(self, id_: int, pid: int, tls: bool) -> Flow:
        """The flow with this id, most recent from now on; a new one where there is none."""
        flows = self._flows
        flow = flows.get(id_)
        if flow is not None:
            flows.move_to_end(id_)
            return flow
        flow = self._quiet.pop(id_, None) or self._parked.pop(id_, None)
        if flow is None:
            flow = Flow(id_, pid, tls, self._shared)
            self.counts[Count.FLOWS_BEGUN] += 1
            if len(self) >= self.limits.max_flows:
                _, oldest = (self._parked or self._quiet or flows).popitem(last=False)
                self.counts[Count.FLOWS_EVICTED] += 1
                self._drop(oldest, self._shared.now, closed=False)
        flows[id_] = flow
        return flow

    def _drop(self, flow: Flow, now: int, *, closed: bool, reset: bool = False) -> None:
        """A flow is over: emit what is open."""
        self._guard(flow, "close", now, closed=closed, reset=reset)
        flow.abandon()
        if flow.opening is not None:
            self.counts[_NOT_HTTP_BYTES] += flow.opening.size()
        flow.engine = None
        flow.release_unbound()

    def _guard(self, flow: Flow, what: str, now: int, **arguments: bool) -> None:
        """Call the engine's close or idle; its failure costs this flow only."""
        engine, opening = flow.engine, flow.opening
        if engine is None and not (opening is not None and opening.frames_alone()):
            return
        before = self.counts[Count.EXCHANGES_EMITTED] + self._shared.waiting
        try:
            if engine is None:
                engine = self._begin_http2(flow, flow.unknown(), 0)
            getattr(engine, what)(now, **arguments)
            if what == "close":
                engine.release()
        except Exception:  # noqa: BLE001
            self.counts[Count.FLOWS_FAILED] += 1
            flow.abandon()
            flow.engine = None
        emitted = self.counts[Count.EXCHANGES_EMITTED] + self._shared.waiting - before
        if what == "idle" and emitted:
            self.counts[Count.FLOWS_IDLE] += 1

    def _pass_over(self, id_: int, size: int) -> None:
        """Bytes of a flow that is ignored."""
        self.counts[_NOT_HTTP_BYTES if self._ignored[id_] is None else _SHED_BYTES] += size

    def _failed(self, id_: int) -> None:
        """A parser raised: this flow is not parsed any more."""
        flow = self._known(id_)
        if flow is not None:
            self._ignore(flow, Count.FLOWS_FAILED)

    def _end_engine(self, flow: Flow, cause: Count) -> None:
        """The engine is through with this flow."""
        if cause is not Count.TUNNELS:
            self._ignore(flow, cause)
            return
        self.counts[cause] += 1
        flow.abandon()
        for direction, inside in zip(Direction, flow.begin_tunnel(), strict=True):
            if inside and flow.engine is not None:
                flow.engine.data(direction, inside, flow.last_ns, True)
            elif inside and flow.id not in self._ignored:
                self._identify(flow, direction, inside, flow.last_ns, True)
            elif inside:
                self.counts[_NOT_HTTP_BYTES] += len(inside)
        if flow.ending is not None:
            self._end_engine(flow, flow.ending)

    def _ignore(self, flow: Flow, cause: Count) -> None:
        """Nothing more of this flow is wanted: its id is all that stays."""
        self.counts[cause] += 1
        self._forget(flow.id)
        self._drop(flow, self._shared.now, closed=False)
        ignored = self._ignored
        ignored[flow.id] = None
        if len(ignored) > self.limits.max_flows:
            ignored.popitem(last=False)
        skip = self._shared.skip
        if skip is not None:
            for direction in Direction:
                skip(flow.id, direction, END_OF_FLOW)

    # Bytes

    def _lose(self, flow: Flow, direction: Direction, hole: Hole, now: int) -> None:
        length, cause = hole
        if length is None:
            self.counts[Count.GAPS_OF_UNKNOWN_LENGTH] += 1
        else:
            self.counts[_LOST + cause] += length
        if flow.engine is not None:
            flow.engine.gap(direction, length, _REASONS[cause], length is not None and cause in _COUNTED, now)
        else:
            candidate = flow.unknown().candidates[direction]
            self.counts[_NOT_HTTP_BYTES] += candidate.size
            candidate.clear()
            flow.from_start = False

    def _identify(self, flow: Flow, direction: Direction, data: bytes, now: int, call_start: bool) -> None:
        """Look at the first bytes of each direction until they say what the flow speaks, or for long enough."""
        opening = flow.unknown()
        candidate = opening.candidates[direction]
        if not opening.prefix[direction]:
            rest = self._pass_proxy_header(flow, opening, direction, data, now, call_start)
            if not rest:
                return
            call_start = call_start or rest is not data
            data = rest
        elif flow.lanes[direction].position == opening.prefix[direction] + len(data):
            call_start = True  # whatever the call was, this follows the header
        size = opening.prefix[direction] + candidate.size + len(data)
        first = flow.from_start and flow.lanes[direction].position == size
        verdict = Start.OTHER
        if candidate.frames:
            verdict = Start.FRAMES
        elif candidate.size:
            verdict = candidate.look(data, first=first)
            if verdict is Start.OTHER:
                self.counts[_NOT_HTTP_BYTES] += candidate.size
                candidate.clear()
        if verdict is Start.OTHER and call_start:
            verdict = identify(data, first=first and not candidate.size)
        if verdict is Start.MORE:
            if candidate.size + len(data) <= WAIT:
                candidate.add(data, now, call_start)
                return
            self.counts[_NOT_HTTP_BYTES] += candidate.size
            candidate.clear()
            verdict = Start.OTHER
        if verdict is Start.FRAMES and not opening.candidates[1 - direction].frames:
            # Of one direction alone they are no proof: any body may hold nine such octets.
            if candidate.size + len(data) <= WAIT:
                candidate.add(data, now, call_start)
                candidate.frames = True
                return
            if not candidate.only_frames(data):
                self.counts[_NOT_HTTP_BYTES] += candidate.size
                candidate.clear()
                verdict = Start.OTHER
        if verdict is Start.TLS:
            self.counts[_NOT_HTTP_BYTES] += len(data)
            self._ignore(flow, Count.FLOWS_CIPHERTEXT)
            return
        if verdict is Start.OTHER:
            self._look(flow, opening, direction, data, call_start)
            return
        candidate.add(data, now, call_start)
        if verdict is Start.PREFACE or verdict is Start.FRAMES:
            self._begin_http2(flow, opening, direction, late=verdict is Start.FRAMES)
            return
        kept, flow.opening = opening.candidates, None
        self.counts[Count.FLOWS_HTTP1] += 1
        requests = direction if verdict is Start.REQUEST else 1 - direction
        seen = opening.prefix[requests] + kept[requests].size
        flow.engine = engine = Http1Pairing(flow, requests, late=flow.lanes[requests].position != seen)
        if verdict is Start.RESPONSE:
            self.counts[Count.FLOWS_JOINED_LATE] += 1
        for way in (1 - direction, direction):
            for piece in kept[way].take():
                engine.data(way, *piece)

    def _begin_http2(self, flow: Flow, opening: Opening, direction: int, *, late: bool = True) -> Engine:
        """Read what is kept as HTTP/2; late: it did not begin with this direction's preface."""
        self.counts[Count.FLOWS_HTTP2] += 1
        self.counts[Count.FLOWS_JOINED_LATE] += late
        kept, flow.opening = opening.candidates, None
        other = 1 - direction
        flow.engine = engine = Http2Pairing(flow, None, opening.prefix[other] + kept[other].size)
        for way in (other, direction) if late else (direction, other):
            for piece in kept[way].take():
                engine.data(way, *piece)
        return engine

    def _pass_proxy_header(
        self, flow: Flow, opening: Opening, direction: Direction, data: bytes, now: int, call_start: bool
    ) -> bytes:
        """What there is to identify: all of data, or what follows a PROXY header; b"" where nothing is there yet."""
        candidate = opening.candidates[direction]
        size = candidate.size + len(data)
        if flow.lanes[direction].position != size or not (call_start or candidate.size):
            return data
        length = header_length(candidate.head(data), size)
        if length == 0:
            return data
        if length is None:
            candidate.add(data, now, call_start)
            return b""
        self.counts[_NOT_HTTP_BYTES] += length
        opening.prefix[direction] = length
        rest = data[length - candidate.size :]
        candidate.clear()
        return rest

    def _look(self, flow: Flow, opening: Opening, direction: Direction, data: bytes, call_start: bool) -> None:
        """These bytes are no message's beginning."""
        self.counts[_NOT_HTTP_BYTES] += len(data)
        opening.total_looks += 1
        if call_start:
            opening.looks[direction] += 1
        enough = self.limits.identify_calls
        if min(opening.looks) >= enough or opening.total_looks >= self.limits.identify_chunks:
            if opening.frames_alone():
                self._begin_http2(flow, opening, direction)
                return
            self._ignore(flow, Count.FLOWS_NOT_HTTP)

    def _take(self) -> list[Exchange]:
        shared = self._shared
        out, shared.out = shared.out, []
        return out


def _aged(younger: OrderedDict[int, Flow], older: OrderedDict[int, Flow], before_ns: int) -> Iterator[Flow]:
    """Moves the flows without events since then from one to the other, and yields them."""
    while younger:
        id_, flow = next(iter(younger.items()))
        if flow.last_ns > before_ns:
            return
        del younger[id_]
        older[id_] = flow
        yield flow
