"""One flow: who its ends are, where its two directions stand, what parses it, and what it has found.

A request enters the books of its flow in `Flow.begin` and leaves them in `Flow.emit`, or in `Flow.abandon` where the
engine failed: so each that was counted becomes one exchange, whatever an engine does. The exchanges of a flow whose
peer is not known yet wait in `Shared.held`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple, Protocol

from apisensor.events.model import Address, Binding, Direction
from apisensor.protocols import anomalies
from apisensor.protocols.http1_engine import Engine as Http1Engine
from apisensor.protocols.message import Message, held_by
from apisensor.streams.lane import Lane
from apisensor.streams.limits import Limits
from apisensor.transactions.candidate import Opening
from apisensor.transactions.counts import Count
from apisensor.transactions.model import Exchange, Request, Response

Side = Literal["client", "server"]

_BEGUN: Final = int(Count.REQUESTS_BEGUN)
_EMITTED: Final = int(Count.EXCHANGES_EMITTED)
_INCOMPLETE: Final = int(Count.EXCHANGES_INCOMPLETE)
_UNREAD: Final = int(Count.UNREAD_BYTES)
_LIMIT_HITS: Final = int(Count.LIMIT_HITS)
_PARSE_ERRORS: Final = int(Count.PARSE_ERRORS)
_SHED_BODIES: Final = int(Count.SHED_BODIES)

_FLOW: Final = 2_000
"""Bytes that a flow, or a finished exchange, takes when it holds nothing."""

_CUT: Final = frozenset((anomalies.HEADER_BYTES, anomalies.HEADER_COUNT))
"""Heads that were not read to their end, or not all of them kept."""


class Peer(NamedTuple):
    """The socket that carries a flow, and how that is known."""

    connection: int
    local: Address
    remote: Address
    binding: Binding


class Counters(Protocol):
    """A sequence of integers: a list, or a memoryview of shared memory."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Engine(Protocol):
    """What turns the bytes of a flow into exchanges."""

    side: Side

    def data(self, direction: int, data: bytes, now: int, call_start: bool) -> None: ...
    def gap(self, direction: int, length: int | None, reason: str, counted: bool, now: int) -> None:
        """Bytes are missing; counted: exactly so many, which were deliberately not captured."""

    def end(self, direction: int, now: int) -> None:
        """One direction is over."""

    def held(self) -> int:
        """Bytes of memory that it takes, roughly."""

    def release(self) -> None:
        """Behind `close`: it is not used any more, and its parts let go of each other."""

    def close(self, now: int, *, closed: bool, reset: bool) -> None:
        """Emit whatever is open. closed: the flow is over, by a reset or as it should be; False: it is given up, or the
        source ended."""

    def idle(self, now: int) -> None:
        """Emit whatever is open; the flow may go on."""

    def rest(self, now: int) -> None:
        """Nothing has come for a moment: hold as little as may be, without giving up anything."""


def side_of(request_direction: int) -> Side:
    """Whose process was observed, by the direction that requests take."""
    return "server" if request_direction == Direction.RECEIVE else "client"


class Held:
    """A finished exchange that waits for its flow's peer."""

    __slots__ = ("exchange", "flow", "since")

    def __init__(self, flow: Flow, exchange: Exchange, since: int) -> None:
        self.flow = flow
        self.exchange: Exchange | None = exchange
        self.since = since


class Shared:
    """What all flows of an analyzer share."""

    __slots__ = (
        *("counts", "fresh", "held", "http1", "limits", "now", "out", "shed_bodies", "sheds_bodies", "skip", "waiting"),
    )

    def __init__(
        self,
        limits: Limits,
        counts: Counters,
        skip: Callable[[int, Direction, int], None] | None,
        http1: Http1Engine,
    ) -> None:
        self.limits = limits
        self.counts = counts
        self.skip = skip
        self.http1 = http1
        self.now = 0
        """Event time of the event in hand."""
        self.out: list[Exchange] = []
        self.held: deque[Held] = deque()
        """In the order in which they finished; those that found their peer in between have lost their exchange."""
        self.waiting = 0
        """Of `held`, how many still have theirs."""
        self.fresh = 0
        """Bytes that may have been kept since `Flow.memory` of all flows was last looked at."""
        self.sheds_bodies = False
        """Bodies that begin now are counted, and not kept: the governor says so."""
        self.shed_bodies = False
        """That was so for some message."""


class Flow:
    """State of one flow, see the module."""

    __slots__ = (
        "ending",
        "engine",
        "errors",
        "from_start",
        "held",
        "id",
        "kept",
        "lanes",
        "last_ns",
        "mistakes",
        "open",
        "opening",
        "peer",
        "pid",
        "shared",
        "tls",
        "tunnel",
    )

    def __init__(self, id_: int, pid: int, tls: bool, shared: Shared) -> None:
        self.id = id_
        self.pid = pid
        self.tls = tls
        self.shared = shared
        self.peer: Peer | None = None
        self.engine: Engine | None = None
        self.lanes = (Lane(), Lane())
        self.last_ns = 0
        self.from_start = False
        """The first byte seen of each direction is the connection's first."""
        self.ending: Count | None = None
        """Set by an engine: the flow is to be given up, for this cause."""
        self.errors = 0
        self.mistakes = 0
        self.kept = 0
        """Bytes of bodies in memory."""
        self.open: dict[Message, None] = {}
        """Requests that were counted and not emitted, in their order."""
        self.held: list[Held] = []
        self.opening: Opening | None = None
        """While the protocol is unknown, from the first byte on."""
        self.tunnel: tuple[bytearray, bytearray] | None = None
        """Set by an engine that ends with Count.TUNNELS: what it was given of the tunnel's inside, by direction."""

    def expect_start(self) -> None:
        """The sensor sees this flow for the first time, so both directions' positions begin at 0."""
        for lane in self.lanes:
            if lane.position is None and self.engine is None:
                lane.position = 0

    def unknown(self) -> Opening:
        """What came of it so far; the protocol is unknown."""
        opening = self.opening
        if opening is None:
            opening = self.opening = Opening()
        return opening

    def memory(self) -> int:
        """Bytes of memory that the flow takes, roughly."""
        engine = self.engine
        kept = 0 if self.opening is None else self.opening.size()
        waiting = sum(_held_by(held.exchange) for held in self.held if held.exchange is not None)
        return _FLOW + kept + waiting + (0 if engine is None else engine.held())

    def begin_tunnel(self) -> tuple[bytes, bytes]:
        """What follows in both directions is another conversation. Returns what has come of it already."""
        inside = (b"", b"") if self.tunnel is None else (bytes(self.tunnel[0]), bytes(self.tunnel[1]))
        self.engine = self.ending = self.tunnel = None
        self.opening = Opening()
        for direction, lane in enumerate(self.lanes):
            # Where the position is not known, what is identified does not follow what led to the tunnel.
            self.opening.prefix[direction] = -1 if lane.position is None else lane.position - len(inside[direction])
        return inside

    # For engines

    def into_tunnel(self, direction: int, data: bytes) -> None:
        """Bytes of the tunnel that begins."""
        if self.tunnel is None:
            self.tunnel = (bytearray(), bytearray())
        self.tunnel[direction].extend(data)

    def room(self, message: Message) -> int:
        """Bytes that may be kept of a body that begins now."""
        shared = self.shared
        if shared.sheds_bodies:
            message.shed = shared.shed_bodies = True
            return 0
        limits = shared.limits
        capture = limits.body_capture
        room = limits.flow_bytes - self.kept
        if room >= capture:
            return capture
        if room <= 0:
            message.anomalies.append(anomalies.FLOW_BUFFER)
            return 0
        return room

    def rejected(self) -> None:
        """A parser refused something: after max_rejects of them the flow is given up."""
        self.shared.counts[_PARSE_ERRORS] += 1
        self.errors += 1
        if self.errors >= self.shared.limits.max_rejects:
            self.ending = Count.FLOWS_REJECTED

    def mistaken(self) -> None:
        """Out of step, something looked like a message and was none: after max_mistakes the flow is given up."""
        self.mistakes += 1
        if self.mistakes >= self.shared.limits.max_mistakes:
            self.ending = Count.FLOWS_REJECTED

    def unread(self, size: int) -> None:
        """Bytes were passed over."""
        self.shared.counts[_UNREAD] += size

    def ask_skip(self, direction: int, length: int) -> None:
        """The next `length` bytes of this direction need not be copied."""
        shared = self.shared
        lane = self.lanes[direction]
        if shared.skip is not None and lane.position is not None:
            lane.skip_to = lane.position + length
            shared.skip(self.id, Direction(direction), lane.skip_to)

    def rest(self, engine: Engine) -> None:
        """Nothing is open, and `engine` waits for the next bytes."""
        self.engine = engine
        self.open = {}  # an emptied dictionary keeps its room

    def begin(self, request: Message) -> None:
        """A request begins: it is counted, and must be emitted."""
        self.shared.counts[_BEGUN] += 1
        self.open[request] = None

    def emit(
        self,
        peer: Peer | None,
        side: Side,
        protocol: str,
        request: Message,
        response: Message | None,
        reason: str | None,
        stream_id: int | None = None,
    ) -> None:
        """Hand an exchange on, or hold it until the flow's peer is known.

        Args:
            peer: The peer at the time of the request; None: the first one to become known.
            reason: Of the exchange as a whole; those of the messages come first.
        """
        shared = self.shared
        passed = None if request.counter is None else request.passed(reason)
        body = request.body
        answer = None
        found = request.anomalies
        reason = request.reason or reason
        self.kept -= request.kept
        if response is not None:
            answered = None if response.counter is None else response.passed(reason)
            parts = response.body
            answer = Response(
                response.start_ns,
                response.end_ns,
                response.status,
                response.fields,
                response.trailers,
                response.body_size,
                (parts[0] if len(parts) == 1 else b"".join(parts)) if parts else b"",
                answered,
            )
            self.kept -= response.kept
            reason = request.reason or response.reason or reason
            if response.anomalies:
                found = found + [name for name in response.anomalies if name not in found]
        if shared.shed_bodies:
            found = self._without_bodies(request, response, found)
        if found and not _CUT.isdisjoint(found):
            shared.counts[_LIMIT_HITS] += 1
        del self.open[request]
        peer = peer or self.peer
        connection, local, remote, binding = peer or (None, None, None, None)
        exchange = Exchange(
            self.id,
            connection,
            self.pid,
            protocol,
            side,
            self.tls,
            local,
            remote,
            binding,
            Request(
                request.start_ns,
                request.end_ns,
                request.method,
                request.scheme,
                request.authority,
                request.target,
                request.fields,
                request.trailers,
                request.body_size,
                (body[0] if len(body) == 1 else b"".join(body)) if body else b"",
                passed,
            ),
            answer,
            stream_id,
            found,
            reason,
        )
        if peer is None:
            self._hold(exchange)
            return
        counts = shared.counts
        counts[_EMITTED] += 1
        if reason is not None:
            counts[_INCOMPLETE] += 1
        shared.out.append(exchange)

    def _without_bodies(self, request: Message, response: Message | None, found: list[str]) -> list[str]:
        """The anomalies of an exchange, with the one that a body has been left out for the governor."""
        shed = sum(message is not None and message.shed and message.body_size > 0 for message in (request, response))
        self.shared.counts[_SHED_BODIES] += shed
        return [*found, anomalies.NOT_CAPTURED] if shed and anomalies.NOT_CAPTURED not in found else found

    def abandon(self) -> None:
        """The engine is through with this flow: emit what it left behind, which is something only if it failed."""
        engine = self.engine
        while self.open and engine is not None:
            request = next(iter(self.open))
            self.emit(None, engine.side, request.version, request, None, "parse_error")

    # Binding

    def bind(self, peer: Peer) -> None:
        """The peer is known: what waited for it can go."""
        self.peer = peer
        if self.held:
            waiting, self.held = self.held, []
            for held in waiting:
                self._release(held, peer)

    def release_unbound(self) -> None:
        """The flow is over and its peer never became known."""
        waiting, self.held = self.held, []
        for held in waiting:
            self._release(held, None)

    def _hold(self, exchange: Exchange) -> None:
        shared = self.shared
        held = Held(self, exchange, shared.now)
        self.held.append(held)
        shared.held.append(held)
        shared.waiting += 1
        if len(shared.held) > 2 * shared.limits.max_held:
            # Those that have found their peer are passed over lazily; behind one that waits they would pile up.
            shared.held = deque(waiting for waiting in shared.held if waiting.exchange is not None)
        while shared.waiting > shared.limits.max_held:
            oldest = shared.held.popleft()
            if oldest.exchange is not None:
                shared.counts[Count.HELD_OVER] += 1
                oldest.flow.give_up_binding(oldest)

    def give_up_binding(self, held: Held) -> None:
        """This exchange has waited long enough."""
        self.held.remove(held)
        self._release(held, None)

    def _release(self, held: Held, peer: Peer | None) -> None:
        exchange, held.exchange = held.exchange, None
        if exchange is None:
            return
        shared = self.shared
        shared.waiting -= 1
        if peer is None:
            shared.counts[Count.UNBOUND] += 1
            exchange.incomplete_reason = exchange.incomplete_reason or "unbound"
        else:
            exchange.connection, exchange.local, exchange.remote, exchange.binding = peer
        shared.counts[_EMITTED] += 1
        if exchange.incomplete_reason is not None:
            shared.counts[_INCOMPLETE] += 1
        shared.out.append(exchange)


def _held_by(exchange: Exchange) -> int:
    """Bytes of memory that a finished exchange takes, roughly."""
    request, response = exchange.request, exchange.response
    size = _FLOW + len(request.target or b"") + len(request.body) + held_by(request.headers)
    if response is not None:
        size += len(response.body) + held_by(response.headers)
    return size
