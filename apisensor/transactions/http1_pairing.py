"""HTTP/1: which response answers which request.

Responses come in the order of their requests (RFC 9112 section 9.3), so pairing is counting, and a loss that may have
swallowed a message makes every later pair doubtful. The flow is then out of step, and stays so until the order is
certain again. Nothing is paired meanwhile: a request that cannot be paired is emitted without a response, a response
that cannot be paired is counted as an orphan.

    in step, a request begins
        nothing pending            pending (a response that came before it is its own: threads report out of order)
        others pending             pending, and the client is known to pipeline
    in step, a response begins
        one pending                belongs to the oldest without a response
        nothing pending            waits for its request, at most early_ns; unless bytes of the response direction are
                                   missing before it, for then it may be none
    bytes of the request direction are lost
                                   out of step; what is pending still gets its responses, which are not affected
    bytes of the response direction are lost
        in a response              it is cut; its request is done with it
        others pending             out of step; none of them can be paired any more. But those that began after the
                                   bytes had passed are not affected, and stay in step
        nothing pending            doubtful: the lost response may have been early, so that the next request, if another
                                   follows it, has lost its own
    out of step, a request begins
        nothing pending            in step again: a client that does not pipeline has seen all earlier responses
        ... but it pipelines       never paired again: nobody can count what is outstanding
        others pending             it cannot be paired

A flow is out of step at first, unless its beginning was seen: a response that comes first belongs to a request that
passed before the sensor looked. The one case that cannot be told apart is a client that pipelines, joined between two
of its requests.
"""

from __future__ import annotations

from typing import Final

from apisensor.events.model import Direction
from apisensor.protocols import anomalies
from apisensor.protocols.http1 import Mode
from apisensor.protocols.http1_reader import Reader
from apisensor.protocols.http1_request import RequestReader
from apisensor.protocols.http1_response import BODILESS, ResponseReader
from apisensor.protocols.message import Message, value_of
from apisensor.transactions.counts import Count
from apisensor.transactions.flow import Flow, Peer, Side, side_of
from apisensor.transactions.http1_resting import Resting
from apisensor.transactions.http2_pairing import Http2Pairing
from apisensor.transactions.websocket_pairing import WebSocketPairing

_ORPHANS: Final = int(Count.ORPHAN_RESPONSES)

_CONTINUE: Final = 100
_SWITCHING_PROTOCOLS: Final = 101


class Pair:
    """A request that waits for its response, or for its own end."""

    response: Message | None = None
    bodiless: bool = False
    """Its response may have no content whatever its fields say."""
    continued: bool = False
    """The client was told to go on with its content (100)."""
    unpaired: str | None = None
    """Why its response cannot be told from others."""

    def __init__(self, request: Message, peer: Peer | None) -> None:
        self.request = request
        self.peer = peer


class Http1Pairing:
    """The engine of a flow that speaks HTTP/1.

    Args:
        late: Bytes of the direction that carries requests have passed before.
    """

    def __init__(self, flow: Flow, request_direction: int, *, late: bool) -> None:
        self.flow = flow
        self.request_direction = request_direction
        limits, engine = flow.shared.limits, flow.shared.http1
        self.requests = RequestReader(self, limits, engine)
        self.responses = ResponseReader(self, limits, engine)
        self.readers: tuple[Reader, Reader] = (
            (self.requests, self.responses) if request_direction == Direction.SEND else (self.responses, self.requests)
        )
        self.side: Side = side_of(request_direction)
        self.bodiless = 0
        self.room = flow.room
        self._counts = flow.shared.counts
        # Short as these are, lists: a deque takes 760 bytes when it is empty.
        self._pending: list[Pair] = []
        self._early: list[Message] = []
        """Responses, complete or under way, whose request was not seen yet."""
        self._answering: Pair | None = None
        """Whose response is under way."""
        self.requests.late = late
        # What passed before may have been a request that nobody would have known for one, and was answered.
        self._in_step = flow.from_start and not late
        self.requests.in_doubt = self.responses.in_doubt = not self._in_step
        self._crossed = False
        """While the request was in doubt another was pending, or a response began: nobody can tell which is its own."""
        self._reason = "joined_late"
        """Why the flow is out of step."""
        self._doubt: str | None = None
        """The loss that may have swallowed the next response."""
        self._pipelines = False
        self._overtaking: Pair | None = None
        """What the client is taken to pipeline for; None where that is certain."""

    # Engine

    def data(self, direction: int, data: bytes, now: int, call_start: bool) -> None:
        self.readers[direction].feed(data, now, call_start)

    def gap(self, direction: int, length: int | None, reason: str, counted: bool, now: int) -> None:
        self.readers[direction].gap(length, reason, counted, now)
        if length is None and direction == self.request_direction:
            if self.requests.mode == Mode.HOLD:
                self.requests.forget()
            self._response_missed(reason, now)  # the sensor was away, for both directions

    def end(self, direction: int, now: int) -> None:
        reader = self.readers[direction]
        reader.now = now
        if direction == self.request_direction:
            self.requests.end()
            return
        self.responses.end()
        self._unpair("response_not_seen")

    def close(self, now: int, *, closed: bool, reset: bool = False) -> None:
        self.requests.now = self.responses.now = now
        self.responses.end(closed=closed and not reset)
        self.requests.end(closed=closed)
        self._unpair("response_not_seen")
        self._drop_early()
        # What is left waits for nothing but the end of its request, and there is none any more.
        self._drain()

    def release(self) -> None:
        for reader in self.readers:
            reader.release()

    def held(self) -> int:
        messages = [pair.request for pair in self._pending] + list(self._early)
        messages += [pair.response for pair in self._pending if pair.response is not None]
        return sum(message.held() for message in messages) + self.requests.held() + self.responses.held()

    def idle(self, now: int) -> None:
        self.close(now, closed=False)
        self.requests.forget()
        self.responses.forget()
        self._out_of_step("joined_late")

    def rest(self, now: int) -> None:  # noqa: ARG002
        requests, responses = self.requests, self.responses
        between = requests.message is None and responses.message is None and not (self._pending or self._early)
        parsing = requests.mode == responses.mode == Mode.PARSE
        certain = self._in_step and self._doubt is None and not (requests.in_doubt or responses.in_doubt)
        if between and parsing and certain:
            self.release()
            self.flow.rest(Resting(self.flow, self.request_direction, requests.late, self._pipelines, awake))

    def go_on(self, *, pipelines: bool) -> None:
        """The next byte of each direction is the first of a message, and the order is certain."""
        self._in_step = True
        self._pipelines = self.requests.pipelines = pipelines
        for reader in self.readers:
            reader.in_doubt = False
            reader.start()

    # What the request reader tells

    def request_in_doubt(self) -> None:
        self._crossed = bool(self._pending)

    def request_begun(self, message: Message) -> None:
        self.flow.begin(message)
        pair = Pair(message, self.flow.peer)
        pending = self._pending
        if pending:
            self._begun_behind(pair)
        elif not self._in_step:
            self._step_in(pair)
        elif self._early:
            self._take_early(pair)
        self._crossed = False
        pending.append(pair)
        if len(pending) > self.flow.shared.limits.max_pipelined:
            message.anomalies.append(anomalies.PIPELINE)
            self._counts[Count.LIMIT_HITS] += 1
            self._unpair("limit")

    def request_headed(self, message: Message) -> None:
        if message.method in BODILESS and self._pending:
            pair = self._pending[-1]
            if pair.bodiless or pair.request is not message:
                return
            self.bodiless += 1
            pair.bodiless = True
            response = pair.response
            if response is not None and not response.ended and response is self.responses.message:
                self.responses.answered_bodiless()

    def request_ended(self, message: Message) -> None:
        flow = self.flow
        flow.kept += message.kept
        pair = self._pending[0]
        if pair.response is not None and pair.response.ended and self.requests.mode == Mode.HOLD:
            self._decided(pair)
        elif pair.request is not message or pair.unpaired or (pair.response is not None and pair.response.ended):
            self._drain()

    def request_lost(self, message: Message | None, reason: str) -> None:
        self._out_of_step(reason)
        self._drop_early()  # their requests may be what was lost
        if message is not None:
            self.request_ended(message)
            self.request_headed(message)  # of a head that was cut the method may be known

    # What the response reader tells

    def response_begun(self, message: Message) -> None:
        if self.requests.in_doubt and self.requests.message is not None:
            self._crossed = True
        for pair in self._pending:
            if pair.unpaired:
                if self._in_step:
                    continue  # its response was missed before the later requests began
                break
            if pair.response is None:
                pair.response = message
                self._answering = pair
                self._doubt = None
                return
        else:
            # In doubt about what was lost before it, nobody can tell what it answers, or whether it is a response.
            if self._in_step and self._doubt is None and len(self._early) < self.flow.shared.limits.max_early:
                self._early.append(message)

    def response_headed(self, message: Message) -> bool:
        status = message.status or 0
        pair = self._answering
        if pair is None:
            if status >= 200 and not (self._early and self._early[-1] is message):
                self._orphans(1)
            return False
        method = pair.request.method
        return method == b"HEAD" or (method == b"CONNECT" and 200 <= status < 300)

    def response_ended(self, message: Message) -> None:
        pair, self._answering = self._answering, None
        status = message.status
        if status is not None and status < 200:
            self._informed(pair, message)
            return
        if pair is None:
            if self._early and self._early[-1] is message:
                self.flow.kept += message.kept
            return
        self.flow.kept += message.kept
        if self.requests.mode == Mode.HOLD and pair is self._pending[-1]:
            self._decided(pair)
            return
        if not pair.request.ended and not pair.continued and pair.request is self.requests.message:
            self.requests.refused()
        self._drain()

    def response_lost(self, message: Message | None, reason: str) -> None:
        pair, self._answering = self._answering, None
        early = self._early
        if message is not None and early and early[-1] is message:
            early.pop()
            self._orphans(1)
            self._out_of_step(reason)
        if message is not None and pair is not None:
            self.flow.kept += message.kept
            if message.status is not None and message.status < 200:
                pair.response = None
        if self.requests.mode == Mode.HOLD:
            self.requests.forget()  # nobody can tell any more whether the protocol was switched
            self._out_of_step(reason)
        others = "response_not_seen" if reason == "response_not_finished" else reason
        self._response_missed(others, self.responses.now)
        self._drain()

    # What both tell

    def mistaken(self, reader: object, size: int) -> None:
        self.flow.unread(size)
        self.flow.mistaken()
        if reader is self.responses:
            self.response_lost(None, "parse_error")

    def rejected(self) -> None:
        self.flow.rejected()

    def unread(self, reader: object, size: int) -> None:
        self.flow.unread(size)
        if not self._in_step:
            return
        if reader is self.responses:
            self._response_missed("parse_error", self.responses.now)
            return
        # It may have been a request that nobody knew for one, and what answers it belongs to nothing.
        self._out_of_step("parse_error")
        self._drop_early()
        self.requests.in_doubt = self.requests.late = True

    def ask_skip(self, reader: object, length: int) -> None:
        self.flow.ask_skip(0 if reader is self.readers[0] else 1, length)

    def switched(self, rest: bytes) -> None:
        engine = self.flow.engine
        if self.flow.ending is Count.TUNNELS:
            self.flow.into_tunnel(1 - self.request_direction, rest)
        elif engine is not self and engine is not None:
            engine.data(1 - self.request_direction, rest, self.responses.now, True)

    # Order

    def _begun_behind(self, pair: Pair) -> None:
        """A request begins while others are pending."""
        pending = self._pending
        doubt = self._doubt
        if doubt is not None:
            self._doubt = None
            front = pending[0]
            if len(pending) == 1 and not self._pipelines and front.request.ended and front.response is None:
                # The response was lost with what was lost: the client would not go on without it.
                front.unpaired = doubt
                self._drain()
                if not self._in_step:
                    self._step_in(pair)
                return
            self._unpair(doubt)
        if self._in_step:
            self._overtaking = None if self._pipelines else pair
            self._pipelines = self.requests.pipelines = True
        else:
            pair.unpaired = self._reason

    def _step_in(self, pair: Pair) -> None:
        """A request begins, nothing is pending, and the flow is out of step."""
        if self._pipelines or self._crossed:
            pair.unpaired = self._reason
            return
        if self.responses.message is not None:
            self.responses.forget()  # an orphan that has no end in sight, for instance an answer to HEAD
        self._in_step = True
        self._doubt = None

    def _take_early(self, pair: Pair) -> None:
        """A request begins, and a response has been seen that no request was there for."""
        early = self._early
        oldest = pair.request.start_ns - self.flow.shared.limits.early_ns
        while early and early[0].start_ns < oldest:
            stale = early.pop(0)
            self._orphans(1)
            if stale is self.responses.message:
                self.responses.forget()
            else:
                self.flow.kept -= stale.kept
        if early:
            pair.response = response = early.pop(0)
            if response is self.responses.message:
                self._answering = pair

    def _response_missed(self, reason: str, passed_ns: int) -> None:
        """A response may have passed unseen; if so, by this time."""
        later = [pair for pair in self._pending if pair.request.start_ns > passed_ns]
        if later and self._in_step:
            for pair in self._pending:
                if pair.response is None and pair not in later:
                    pair.unpaired = reason
            if [self._overtaking] == later:
                self._pipelines = self.requests.pipelines = False
            self._drain()
        elif any(pair.response is None for pair in self._pending):
            self._unpair(reason)
        else:
            self._doubt = reason

    def _drop_early(self) -> None:
        """What waits for its request waits in vain."""
        for response in self._early:
            if response.fields is not None:  # else it is counted when its head is complete
                self._orphans(1)
            if response.ended:
                self.flow.kept -= response.kept
        self._early.clear()

    def _out_of_step(self, reason: str) -> None:
        self._in_step = False
        self._reason = reason

    def _unpair(self, reason: str) -> None:
        """The responses of all that is pending cannot be told apart any more, or will not come."""
        self._out_of_step(reason)
        for pair in self._pending:
            if pair.response is None:
                pair.unpaired = pair.unpaired or reason
        self._drain()

    def _drain(self) -> None:
        """Emit what is finished, in order."""
        pending = self._pending
        while pending:
            pair = pending[0]
            request = pair.request
            response = pair.response
            if not request.ended or ((response is None or not response.ended) and not pair.unpaired):
                return
            del pending[0]
            if pair.bodiless:
                self.bodiless -= 1
            self.flow.emit(pair.peer, self.side, request.version, request, response, pair.unpaired)

    def _orphans(self, number: int) -> None:
        self._counts[_ORPHANS] += number

    # Informational responses and switches

    def _informed(self, pair: Pair | None, message: Message) -> None:
        """A 1xx response is over; the final one is still to come (RFC 9110 section 15.2)."""
        if pair is None:
            if self._early and self._early[-1] is message:
                self._early.pop()
        elif message.status == _SWITCHING_PROTOCOLS:
            self._switch(pair)
        else:
            pair.response = None
            pair.continued = pair.continued or message.status == _CONTINUE

    def _decided(self, pair: Pair) -> None:
        """The final response to a request that may switch the protocol is over."""
        status = pair.response.status if pair.response is not None else None
        if pair.request.method != b"CONNECT" or status is None or status >= 300:
            self._drain()
            self.requests.resume()
            return
        held, lost = self.requests.take_held(), self.requests.held_lost()
        self.requests.mode = self.responses.mode = Mode.STOP
        self._drain()
        self._unpair("response_not_seen")
        flow = self.flow
        flow.ending = Count.TUNNELS
        flow.from_start = not lost
        for data, _, _ in held:
            flow.into_tunnel(self.request_direction, data)

    def _switch(self, pair: Pair) -> None:
        """The connection speaks something else from here on."""
        held = self.requests.take_held()
        self.requests.mode = self.responses.mode = Mode.STOP
        response = pair.response
        assert response is not None
        upgrade = (value_of(response.fields, b"upgrade") or b"").strip().lower()
        if upgrade == b"websocket":
            self._pending.remove(pair)
            flow = self.flow
            flow.engine = websocket = WebSocketPairing(flow, self.request_direction, pair.request, response, pair.peer)
            self._counts[Count.FLOWS_WEBSOCKET] += 1
            self._unpair("response_not_seen")
            for data, now, call_start in held:
                websocket.data(self.request_direction, data, now, call_start)
            lost = self.requests.held_lost()
            if lost is not None:
                websocket.gap(self.request_direction, None, lost, False, self.requests.now)
            return
        if upgrade == b"h2c":
            # The response comes on stream 1 (RFC 7540 section 3.2; obsolete, and still what Java's client asks for).
            self._pending.remove(pair)
            flow = self.flow
            flow.engine = engine = Http2Pairing(flow, self.request_direction)
            self._counts[Count.FLOWS_HTTP2] += 1
            self._unpair("response_not_seen")
            engine.upgraded(pair.request, pair.peer)
            for data, now, call_start in held:
                engine.data(self.request_direction, data, now, call_start)
            return
        self._drain()
        self._unpair("response_not_seen")
        self.flow.ending = Count.FLOWS_SWITCHED


def awake(resting: Resting) -> Http1Pairing:
    """The engine that goes on where one has rested."""
    engine = Http1Pairing(resting.flow, resting.request_direction, late=resting.late)
    engine.go_on(pipelines=resting.pipelines)
    return engine
