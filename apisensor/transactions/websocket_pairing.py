"""A flow that became a WebSocket (RFC 6455): one transaction of the request that opened it, told when it ends.

A connection may live for days. After Limits.websocket_part_ns, and when nothing passed for Limits.idle_ns, what has
passed is told ("websocket-part"); what passes later is told in another transaction with the same head, so that the
parts of a connection add up to it.
"""

from __future__ import annotations

from apisensor.protocols import anomalies
from apisensor.protocols.counted import NOT_CAPTURED
from apisensor.protocols.message import Message, value_of
from apisensor.protocols.websocket import WebSocketReader
from apisensor.transactions.flow import Flow, Peer, Side, side_of


class WebSocketPairing:
    """The engine of such a flow.

    Args:
        request: The request that asked for it; begun in `flow`, and not emitted.
        response: The response that granted it.
    """

    def __init__(
        self, flow: Flow, request_direction: int, request: Message, response: Message, peer: Peer | None
    ) -> None:
        self.flow = flow
        self.request_direction = request_direction
        self.side: Side = side_of(request_direction)
        self._peer = peer
        self._readers = (read_frames(flow, request, of_client=True), read_frames(flow, response, of_client=False))
        for reader in self._readers:
            reader.negotiated(value_of(response.fields, b"sec-websocket-extensions"))
        request.version = "websocket"
        self._messages = (request, response)
        self._open = True
        """A transaction is under way."""
        self._over = [False, False]

    # Engine

    def data(self, direction: int, data: bytes, now: int, call_start: bool) -> None:  # noqa: ARG002 - frames go on
        which = int(direction != self.request_direction)
        reader = self._readers[which]
        before = reader.lost  # feeding it may change that
        if before is not None:
            self.flow.unread(len(data))
            return
        self._resume(now)
        self._messages[which].end_ns = now
        reader.feed(data)
        if reader.lost is not None:
            self._messages[which].reason = self._messages[which].reason or "parse_error"
            self.flow.rejected()
        elif now - self._messages[0].start_ns >= self.flow.shared.limits.websocket_part_ns:
            self._tell(anomalies.WEBSOCKET_PART)

    def gap(self, direction: int, length: int | None, reason: str, counted: bool, now: int) -> None:
        self._resume(now)
        which = int(direction != self.request_direction)
        message, reader = self._messages[which], self._readers[which]
        message.end_ns = now
        if length is None:
            reader.lose(reason)
        else:
            reader.skip(length, NOT_CAPTURED if counted else reason)
        if not counted or reader.lost is not None:
            message.reason = message.reason or reason
        elif anomalies.NOT_CAPTURED not in message.anomalies:
            message.anomalies.append(anomalies.NOT_CAPTURED)

    def end(self, direction: int, now: int) -> None:  # noqa: ARG002 - it ends when its last byte was seen
        self._over[direction] = True
        if all(self._over):
            self._tell(None)

    def close(self, now: int, *, closed: bool, reset: bool) -> None:  # noqa: ARG002
        self._tell(None if closed else anomalies.WEBSOCKET_PART)

    def idle(self, now: int) -> None:  # noqa: ARG002
        self._tell(anomalies.WEBSOCKET_PART)

    def rest(self, now: int) -> None:
        """It holds nothing that is not needed to go on."""

    def release(self) -> None:
        """Nothing refers to it but its flow."""

    def held(self) -> int:
        parts = (*self._messages, *self._readers) if self._open else self._readers
        return sum(part.held() for part in parts)

    # Transactions

    def _tell(self, anomaly: str | None) -> None:
        if not self._open:
            return
        self._open = False
        request, response = self._messages
        for message, reader in zip(self._messages, self._readers, strict=True):
            message.ended = reader.over = anomaly is None
        if anomaly is not None:
            request.anomalies.append(anomaly)
        self.flow.emit(self._peer, self.side, "websocket", request, response, None)

    def _resume(self, now: int) -> None:
        """Something passes: it belongs to a transaction."""
        if self._open:
            return
        self._open = True
        flow = self.flow
        parts = []
        for message, reader in zip(self._messages, self._readers, strict=True):
            reader.start()
            reason = None if reader.lost is None else message.reason
            part = message.same_head(now, reader.room, reason)
            flow.kept += part.kept
            parts.append(part)
        self._messages = (parts[0], parts[1])
        flow.begin(parts[0])


def read_frames(flow: Flow, message: Message, *, of_client: bool) -> WebSocketReader:
    """Has a message's content read as frames; the room is taken from what the flow may keep until it is emitted."""
    room = flow.room(message)
    message.counter = reader = WebSocketReader(of_client=of_client, room=room)
    message.kept += room
    message.room = 0
    flow.kept += room
    return reader
