"""HTTP/2 frames of one direction (RFC 9113), without keeping the rules of an endpoint: an observer has no flow control
and sends no errors.

    mode     bytes are                                                  leaves it
    HUNT     looked at only where an application call begins            preface, or a plausible chain of frames
    FRAMES   split into frames                                          a loss that is not inside one frame; nonsense

A loss inside a frame whose header was seen costs that frame. If it belongs to a header block, the HPACK table of this
direction is unknown from there on, and the block's stream has lost its fields. Any other loss costs in addition what
may have been in it: every stream of this direction that is still open.

A reader is built in layers, each of which knows those before it: where a direction stands (`http2_state`), header
blocks (`http2_blocks`), content and holes (`http2_content`), and here how bytes become frames.

Frame headers are unpacked here rather than by hyperframe: DATA frames need not be complete to be counted, and objects
for each frame cost more than the rest (the tests compare the two).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apisensor.protocols import frames
from apisensor.protocols.frames import END_STREAM, HEADER, HEADER_SIZE, PADDED
from apisensor.protocols.http2_blocks import BLOCK_FRAMES
from apisensor.protocols.http2_content import ContentReader
from apisensor.protocols.http2_state import STREAM_ID
from apisensor.protocols.identify import PREFACE, Start, frame_start, preface_start
from apisensor.protocols.pieces import MOST, join


class FrameReader(ContentReader):
    """One direction of a connection."""

    __slots__ = ()

    def feed(self, data: bytes, now: int, call_start: bool) -> None:
        """The next bytes of this direction, seen at event time `now`."""
        self.now = now
        if self.hunting:
            self._hunt(data, call_start)
        else:
            self._split(data)

    def gap(self, length: int | None, reason: str, counted: bool, now: int) -> None:
        """Bytes of this direction are missing here.

        Args:
            length: None where it is unknown.
            reason: An INCOMPLETE_REASONS name.
            counted: They were counted exactly and deliberately not captured: no loss inside a DATA frame.
        """
        self.now = now
        if not self.hunting and length is not None and self._gap_in_frame(length, reason, counted):
            return
        self.lose(reason)

    # Out of step

    def _hunt(self, data: bytes, call_start: bool) -> None:
        if self._candidate:
            joined = b"".join(self._candidate) + data
            verdict = _start(joined)
            if verdict is Start.MORE:
                self._candidate = [joined]
                return
            self._candidate = []
            if verdict is not Start.OTHER:
                self._begin(joined, verdict)
                return
            self.streams.unread(len(joined) - len(data))
        if call_start:
            verdict = _start(data)
            if verdict is Start.MORE:
                self._candidate = [data]
                return
            if verdict is not Start.OTHER:
                self._begin(data, verdict)
                return
        self.streams.unread(len(data))

    def _begin(self, data: bytes, verdict: Start) -> None:
        if verdict is Start.PREFACE:
            self._decoder = None
            self.start(late=False)
            self.streams.preface(self.direction)
            data = data[len(PREFACE) :]
        else:
            self.start(late=True)
        self._split(data)

    # In step

    def _split(self, data: bytes) -> None:
        position = 0
        size = len(data)
        while position < size and not self.hunting:
            if self._content or self._pad:
                position = self._pass_content(data, position)
            elif self._skip:
                step = min(self._skip, size - position)
                self._skip -= step
                position += step
            elif self._unpadded:
                self._padded_data(data[position], self._unpadded)
                self._unpadded = 0
                position += 1
            elif self._pieces:
                position = self._complete(data, position)
            elif size - position < HEADER_SIZE:
                self._stash(data[position:], HEADER_SIZE)
                return
            else:
                position = self._frame(data, position)
        if position < size:
            self.streams.unread(size - position)

    def _frame(self, data: bytes, position: int) -> int:
        """A frame header is complete at `position`. Returns where the next octet of interest is."""
        high, low, kind, flags, stream = HEADER.unpack_from(data, position)
        length: int = high << 8 | low
        stream &= STREAM_ID
        payload = position + HEADER_SIZE
        if (self._block is not None or self._dead is not None) and (
            kind != frames.CONTINUATION or stream != self._block_stream
        ):
            self._nonsense()  # RFC 9113 section 6.2: nothing may come between
            return payload
        if kind == frames.DATA:
            if not stream:
                self._nonsense()
                return payload
            self._data_stream = stream
            self._data_end = bool(flags & END_STREAM)
            if flags & PADDED:
                if not length:
                    self._nonsense()
                self._unpadded = length
                return payload
            end = payload + length
            if end > len(data):
                self._content = length
                return payload
            if length:
                self.streams.content(self.direction, stream, data, payload, end, self.now)
            if flags & END_STREAM:
                self.streams.ended(self.direction, stream, self.now)
            return end
        handler = _HANDLERS.get(kind)
        if handler is None:
            if length > frames.LARGE:
                self._nonsense()  # no frame: a server of HTTP/1 that answers a preface in words
                return payload
            self._skip = length
            return payload
        if kind == frames.HEADERS:
            self._block_ns = self.now
            self.streams.opening(self.direction, stream, self.now)
        if length > self.limits.header_bytes:
            self._skip = length
            if kind in BLOCK_FRAMES:
                self._kill_block(kind, flags, stream, "limit")
            return payload
        if len(data) - payload < length:
            self._stash(data[position:], HEADER_SIZE + length)
            return len(data)
        handler(self, flags, stream, data[payload : payload + length])
        return payload + length

    def _stash(self, piece: bytes, need: int) -> None:
        self._pieces = [piece]
        self._have = len(piece)
        self._need = need

    def _complete(self, data: bytes, position: int) -> int:
        """Add to an incomplete frame, or to its header."""
        missing = self._need - self._have
        piece = data[position : position + missing]
        self._pieces.append(piece)
        if len(self._pieces) == MOST:
            join(self._pieces)
        self._have += len(piece)
        if self._have < self._need:
            return len(data)
        whole = b"".join(self._pieces)
        self._pieces = []
        if self._need == HEADER_SIZE:
            self._frame(whole, 0)
        else:
            _, _, kind, flags, stream = HEADER.unpack_from(whole)
            _HANDLERS[kind](self, flags, stream & STREAM_ID, whole[HEADER_SIZE:])
        return position + len(piece)

    # Others

    def _rst_stream(self, _flags: int, stream: int, _payload: bytes) -> None:
        self.streams.reset(self.direction, stream, self.now)

    def _goaway(self, _flags: int, _stream: int, payload: bytes) -> None:
        if len(payload) >= 8:
            last = int.from_bytes(payload[:4], "big") & STREAM_ID
            self.streams.going_away(self.direction, last, self.now)


_HANDLERS: Final[dict[int, Callable[[FrameReader, int, int, bytes], None]]] = {
    frames.HEADERS: FrameReader._headers,
    frames.PUSH_PROMISE: FrameReader._push_promise,
    frames.CONTINUATION: FrameReader._continuation,
    frames.RST_STREAM: FrameReader._rst_stream,
    frames.GOAWAY: FrameReader._goaway,
}
"""The frames that an observer learns from. SETTINGS is none of them: an encoder announces the table size it uses in the
header block itself (RFC 7541 section 4.2)."""


def _start(data: bytes) -> Start:
    verdict = preface_start(data)
    return frame_start(data) if verdict is Start.OTHER else verdict
