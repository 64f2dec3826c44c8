"""HTTP/2: the streams of one connection (RFC 9113 section 5) become exchanges.

The stream identifier pairs request and response, so order does not matter and a loss concerns only the streams that
were open. A stream is emitted when both directions ended it, when RST_STREAM did, or when it is given up. A reset or
the connection's end takes nothing away where the content of both messages is known to be whole by then.

A connection joined late has streams whose request was not seen. Identifiers rise with the requests, so a response to
one that is not higher than the last request's is an orphan; a response to a higher one waits for its request, which
another thread may be about to report.
"""

from __future__ import annotations

from typing import Final

from apisensor.protocols import anomalies
from apisensor.protocols.http2 import FrameReader
from apisensor.protocols.message import Field, Message, count_unseen, held_by, value_of
from apisensor.protocols.pieces import MOST, join
from apisensor.protocols.websocket import WebSocketReader
from apisensor.transactions import http2_heads as heads
from apisensor.transactions.counts import Count
from apisensor.transactions.flow import Flow, Peer, Side, side_of
from apisensor.transactions.websocket_pairing import read_frames

_ORPHANS: Final = int(Count.ORPHAN_RESPONSES)

_ROUGHLY: Final = 16 * 1024
"""Bytes up to which it is not worth counting what a header list takes exactly."""

_CLOSED: Final = 1024
"""Stream identifiers remembered after a reset: what was in flight towards them is no orphan."""


class Stream:
    """One stream while it is open."""

    request: Message | None = None
    headed: bool = False
    """The request's header block is over; another one is its trailers."""
    response: Message | None = None
    lost: str | None = None
    """Why the response may have been missed."""

    def __init__(self, id_: int, peer: Peer | None) -> None:
        self.id = id_
        self.peer = peer


def _answered(stream: Stream) -> bool:
    """Whether all of the response's content has passed."""
    request, response = stream.request, stream.response
    if response is None:
        return False
    return response.ended or heads.is_whole(request.method if request is not None else None, response)


class Http2Pairing:
    """The engine of a flow that speaks HTTP/2.

    Args:
        client: The direction that carries requests; None: the first telling header block says.
        waiting: Octets of the server that came before the client's preface and are yet to be read.
    """

    def __init__(self, flow: Flow, client: int | None, waiting: int = 0) -> None:
        self.flow = flow
        limits = flow.shared.limits
        self.readers = (FrameReader(self, 0, limits), FrameReader(self, 1, limits))
        self.client: int | None = None
        self.side: Side = "client"
        """Known when `client` is, before any exchange."""
        self._counts = flow.shared.counts
        self._streams: dict[int, Stream] = {}
        """In the order in which they were opened."""
        self._last = 0
        """Highest stream identifier of a request."""
        self._waiting = 0
        """Streams whose request was not seen."""
        self._closed: dict[int, None] = {}
        self._early = waiting
        if client is not None:
            self._set_client(client)

    # Engine

    def data(self, direction: int, data: bytes, now: int, call_start: bool) -> None:
        self.readers[direction].feed(data, now, call_start)

    def gap(self, direction: int, length: int | None, reason: str, counted: bool, now: int) -> None:
        self.readers[direction].gap(length, reason, counted, now)

    def end(self, direction: int, now: int) -> None:
        if direction != self.client:
            self._give_up_all(now)
            return
        for stream in list(self._streams.values()):
            request = stream.request
            if request is not None and not request.ended:
                request.reason = request.reason or "request_not_finished"
                self._end(stream, request)

    def close(self, now: int, *, closed: bool, reset: bool) -> None:  # noqa: ARG002 - no body is completed by it
        self._give_up_all(now)

    def release(self) -> None:
        for reader in self.readers:
            reader.release()

    def held(self) -> int:
        messages = [part for stream in self._streams.values() for part in (stream.request, stream.response)]
        whole = sum(message.held() for message in messages if message is not None)
        return whole + sum(reader.held() for reader in self.readers)

    def idle(self, now: int) -> None:
        self._give_up_all(now)

    def rest(self, now: int) -> None:
        """It holds nothing that is not needed to go on."""

    def upgraded(self, request: Message, peer: Peer | None) -> None:
        """The connection began as HTTP/1 and `request` is what stream 1 answers (RFC 7540 section 3.2)."""
        stream = Stream(1, peer)
        stream.request = request
        stream.headed = True
        self._streams[1] = stream
        self._last = 1
        self.readers[1 - (self.client or 0)].start(late=False)

    # What the readers tell

    def preface(self, direction: int) -> None:
        if self.client is None:
            self._set_client(direction)
        other = 1 - direction
        if (self.flow.lanes[other].position or 0) == self._early:
            self.readers[other].start(late=False)

    def opening(self, direction: int, stream: int, now: int) -> None:
        # Before anything else, so that a request is known to have begun whatever happens to the rest of it. Joined
        # late, the block may be trailers of a request that passed: its fields will say.
        if direction != self.client or stream <= self._last or not stream & 1:
            return
        if self._last or not self.readers[direction].late:
            self._begin(stream, now)

    def headed(
        self, direction: int, stream: int, fields: list[Field] | None, end: bool, now: int, reason: str | None
    ) -> None:
        if fields is not None:
            # A block of a few octets may name large entries of the table many times.
            most = len(fields) * self.readers[direction].largest_entry
            self.flow.shared.fresh += held_by(fields) if most > _ROUGHLY else most
        if self.client is None:
            role = heads.role(fields)
            if role is None:
                return
            self._set_client(direction if role else 1 - direction)
        found = self._streams.get(stream)
        if direction == self.client:
            self._request_head(found, stream, fields, end, now, reason)
        else:
            self._response_head(found, stream, fields, end, now, reason)

    def content(self, direction: int, stream: int, data: bytes, begin: int, end: int, now: int) -> None:
        message = self._message(direction, stream)
        if message is None:
            return
        size = end - begin
        message.body_size += size
        message.end_ns = now
        if message.counter is not None:
            message.counter.feed(data[begin:end])
        if message.room:
            flow = self.flow
            if flow.kept >= flow.shared.limits.flow_bytes:
                message.room = 0
                message.anomalies.append(anomalies.FLOW_BUFFER)
                return
            size = min(size, message.room)
            message.body.append(data[begin : begin + size])
            if len(message.body) == MOST:
                join(message.body)
            message.room -= size
            message.kept += size
            flow.kept += size

    def content_missing(self, direction: int, stream: int, length: int, reason: str | None, now: int) -> None:
        message = self._message(direction, stream)
        if message is None:
            return
        message.end_ns = now
        if reason is None:
            count_unseen(message, length)
            return
        message.body_size += length
        message.room = 0
        message.reason = message.reason or reason
        if message.counter is None:
            return
        if length:
            message.counter.skip(length, reason)
        else:
            message.counter.lose(reason)

    def ended(self, direction: int, stream: int, now: int) -> None:
        message = self._message(direction, stream)
        if message is not None:
            message.end_ns = now
            self._end(self._streams[stream], message)

    def reset(self, direction: int, stream: int, now: int) -> None:  # noqa: ARG002 - both ends may reset
        found = self._streams.get(stream)
        if found is not None:
            # A client that has all it asked for resets rather than waits for END_STREAM, as curl does.
            whole = found.request is not None and found.request.ended and _answered(found)
            self._emit(found, None if whole else "stream_reset")
        self._close(stream)

    def going_away(self, direction: int, last_stream: int, now: int) -> None:  # noqa: ARG002
        if direction == self.client:
            return
        for stream in list(self._streams.values()):
            if stream.id > last_stream and stream.request is not None and stream.response is None:
                self._emit(stream, stream.lost or "response_not_seen")
                self._close(stream.id)

    def lost(self, direction: int, reason: str) -> None:
        if self.client is None:
            return
        for stream in list(self._streams.values()):
            if direction == self.client:
                message = stream.request
            else:
                message = stream.response
                if message is None:
                    stream.lost = stream.lost or reason
            if message is not None and not message.ended:
                message.reason = message.reason or reason
                message.room = 0  # what follows does not follow what is kept
                if message.counter is not None:
                    message.counter.lose(reason)
                response = stream.response
                if response is not None and response.ended:
                    self._emit(stream, None)  # the frame that ended its request may be what was lost

    def rejected(self) -> None:
        self.flow.rejected()

    def undecodable(self) -> None:
        self._counts[Count.HPACK_ERRORS] += 1
        self.flow.rejected()

    def unread(self, size: int) -> None:
        self.flow.unread(size)

    # Heads

    def _request_head(
        self, found: Stream | None, id_: int, fields: list[Field] | None, end: bool, now: int, reason: str | None
    ) -> None:
        if found is None or found.request is None:
            if id_ <= self._last or not id_ & 1 or not heads.role(fields):
                return  # trailers of a request that passed before, or nobody can tell what
            found = self._begin(id_, now)
        message = found.request
        assert message is not None
        message.end_ns = self.readers[self.client or 0].now
        if found.headed:
            heads.fill_trailers(message, fields, reason, self.flow.shared.limits.header_count)
        else:
            found.headed = True
            message.room = self.flow.room(message)
            heads.fill_request(message, fields, reason, self.flow.shared.limits.header_count)
            if message.tunnel == b"websocket":
                read_frames(self.flow, message, of_client=True)
        if end:
            self._end(found, message)

    def _response_head(
        self, found: Stream | None, id_: int, fields: list[Field] | None, end: bool, now: int, reason: str | None
    ) -> None:
        status = heads.status_of(fields)
        if found is None:
            if not id_ & 1 or id_ in self._closed or status is None or status < 200:
                return  # pushed, reset, or not the head of a final response
            if id_ <= self._last:
                self._counts[_ORPHANS] += 1
                self._close(id_)
                return
            found = self._open(Stream(id_, self.flow.peer))
            self._waiting += 1
        message = found.response
        if message is None:
            if status is not None and status < 200:
                return
            found.response = message = Message(now, now)
            message.room = self.flow.room(message)
            heads.fill_response(message, status, fields, reason, self.flow.shared.limits.header_count)
        elif message.fields is None and status is not None and status >= 200:
            # What was lost before was informational, or cannot be told from it.
            heads.fill_response(message, status, fields, reason, self.flow.shared.limits.header_count)
        else:
            heads.fill_trailers(message, fields, reason, self.flow.shared.limits.header_count)
        message.end_ns = self.readers[1 - (self.client or 0)].now
        request = found.request
        if request is not None and request.tunnel == b"websocket" and message.counter is None:
            self._granted(request, message)
        if end:
            self._end(found, message)

    def _granted(self, request: Message, response: Message) -> None:
        """The answer to a request for a WebSocket (RFC 8441 section 5): its content is frames, if it was granted."""
        asked = request.counter
        if response.status != 200 or not isinstance(asked, WebSocketReader):
            request.counter = None
            return
        extensions = value_of(response.fields, b"sec-websocket-extensions")
        for reader in (asked, read_frames(self.flow, response, of_client=False)):
            reader.negotiated(extensions)

    # Streams

    def _set_client(self, direction: int) -> None:
        self.client = direction
        self.side = side_of(direction)

    def _message(self, direction: int, stream: int) -> Message | None:
        found = self._streams.get(stream)
        if found is None:
            return None
        return found.request if direction == self.client else found.response

    def _begin(self, id_: int, now: int) -> Stream:
        """A request begins."""
        request = Message(now, now, version="h2")
        self.flow.begin(request)
        if self._waiting:
            for stream in [s for s in self._streams.values() if s.request is None and s.id < id_]:
                self._emit(stream, None)
        self._last = id_
        found = self._streams.get(id_)
        if found is None:
            found = self._open(Stream(id_, self.flow.peer))
        else:
            self._waiting -= 1
        found.request = request
        return found

    def _open(self, stream: Stream) -> Stream:
        streams = self._streams
        streams[stream.id] = stream
        if len(streams) > self.flow.shared.limits.max_streams:
            self._counts[Count.LIMIT_HITS] += 1
            oldest = next(iter(streams.values()))
            if oldest.request is not None:
                oldest.request.anomalies.append(anomalies.STREAMS)
                oldest.request.reason = oldest.request.reason or "limit"
            self._emit(oldest, "limit")
            self._close(oldest.id)
        return stream

    def _end(self, stream: Stream, message: Message) -> None:
        """One direction of a stream is over."""
        message.ended = True
        request, response = stream.request, stream.response
        if request is None or response is None or not response.ended:
            return
        if request.ended or request.reason is not None:
            self._emit(stream, None)

    def _give_up_all(self, now: int) -> None:  # noqa: ARG002
        for stream in list(self._streams.values()):
            request, response = stream.request, stream.response
            if request is not None and not request.ended:
                request.reason = request.reason or "request_not_finished"
            if response is not None and not _answered(stream):
                response.reason = response.reason or "response_not_finished"
            self._emit(stream, stream.lost or "response_not_seen" if response is None else None)
            self._close(stream.id)

    def _emit(self, stream: Stream, reason: str | None) -> None:
        """A stream is over; one without a request is an orphan."""
        del self._streams[stream.id]
        request, response = stream.request, stream.response
        if request is None:
            self._waiting -= 1
            if response is not None:
                self._counts[_ORPHANS] += 1
                self.flow.kept -= response.kept
            self._close(stream.id)
            return
        protocol = heads.protocol_of(request, response)
        self.flow.emit(stream.peer, self.side, protocol, request, response, reason, stream.id)

    def _close(self, id_: int) -> None:
        """Remember that this stream is over, whatever is still in flight."""
        closed = self._closed
        closed[id_] = None
        if len(closed) > _CLOSED:
            del closed[next(iter(closed))]
