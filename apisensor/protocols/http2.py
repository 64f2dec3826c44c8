"""HTTP/2 frames of one direction (RFC 9113), without keeping the rules of an endpoint: an observer has no flow control
and sends no errors.

    mode     bytes are                                                  leaves it
    HUNT     looked at only where an application call begins            preface, or a plausible chain of frames
    FRAMES   split into frames                                          a loss that is not inside one frame; nonsense

A loss inside a frame whose header was seen costs that frame. If it belongs to a header block, the HPACK table of this
direction is unknown from there on, and the block's stream has lost its fields. Any other loss costs in addition what
may have been in it: every stream of this direction that is still open.

Frame headers are unpacked here rather than by hyperframe: DATA frames need not be complete to be counted, and objects
for each frame cost more than the rest (the tests compare the two).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

from apisensor.protocols import frames
from apisensor.protocols.frames import END_HEADERS, END_STREAM, HEADER, HEADER_SIZE, PADDED, PRIORITY_FLAG
from apisensor.protocols.hpack_codec import HeaderBlockError, HeaderDecoder
from apisensor.protocols.identify import PREFACE, Start, frame_start, preface_start
from apisensor.protocols.message import Field
from apisensor.streams.limits import Limits

_STREAM_ID = 0x7FFFFFFF
_BLOCK_FRAMES = frozenset((frames.HEADERS, frames.PUSH_PROMISE, frames.CONTINUATION))


class Streams(Protocol):
    """What the two readers of a connection tell. `direction` is the reader's."""

    def preface(self, direction: int) -> None:
        """This direction is the client's, and it is seen from its beginning."""

    def opening(self, direction: int, stream: int, now: int) -> None:
        """The first octets of a HEADERS frame; its fields follow."""

    def headed(
        self, direction: int, stream: int, fields: list[Field] | None, end: bool, now: int, reason: str | None
    ) -> None:
        """A header block is complete; fields None: it could not be read, for this reason."""

    def content(self, direction: int, stream: int, data: bytes, begin: int, end: int, now: int) -> None:
        """data[begin:end] is content of this stream."""

    def content_missing(self, direction: int, stream: int, length: int, reason: str | None, now: int) -> None:
        """So much content is missing; reason None: it was counted exactly and deliberately not captured."""

    def ended(self, direction: int, stream: int, now: int) -> None:
        """The last frame of this direction of the stream (END_STREAM)."""

    def reset(self, direction: int, stream: int, now: int) -> None:
        """RST_STREAM."""

    def going_away(self, direction: int, last_stream: int, now: int) -> None:
        """GOAWAY: streams above last_stream that the other end opened will not be answered."""

    def lost(self, direction: int, reason: str) -> None:
        """Frames may be missing, nobody knows of which streams."""

    def rejected(self) -> None:
        """Nonsense where a frame was due."""

    def undecodable(self) -> None:
        """A header block was refused."""

    def unread(self, size: int) -> None:
        """Bytes passed over while out of step."""


class FrameReader:
    """One direction of a connection."""

    __slots__ = (
        "_block",
        "_block_end",
        "_block_ns",
        "_block_size",
        "_block_stream",
        "_candidate",
        "_content",
        "_data_end",
        "_data_stream",
        "_dead",
        "_decoder",
        "_have",
        "_need",
        "_pad",
        "_pieces",
        "_promise",
        "_skip",
        "_unpadded",
        "direction",
        "hunting",
        "late",
        "limits",
        "now",
        "streams",
    )

    def __init__(self, streams: Streams, direction: int, limits: Limits) -> None:
        self.streams = streams
        self.direction = direction
        self.limits = limits
        self.now = 0
        self.hunting = True
        self.late = True
        """Frames may have passed before the first one seen."""
        self._decoder: HeaderDecoder | None = None
        self._candidate: list[bytes] = []
        # A frame other than DATA that is not complete: its pieces from its header on, and the size they are to reach.
        self._pieces: list[bytes] = []
        self._have = 0
        self._need = HEADER_SIZE
        # The payload under way: content and padding of a DATA frame, or octets of no interest.
        self._content = 0
        self._pad = 0
        self._unpadded = 0
        """Octets of a padded DATA frame of which not even the pad length was seen."""
        self._data_stream = 0
        self._data_end = False
        self._skip = 0
        # The header block under way.
        self._block: list[bytes] | None = None
        self._block_stream = 0
        self._block_size = 0
        self._block_end = False
        self._block_ns = 0
        self._promise = False
        self._dead: str | None = None
        """Part of the block is missing: why."""

    # Input

    def feed(self, data: bytes, now: int, call_start: bool) -> None:
        """The next bytes of this direction, seen at event time `now`."""
        self.now = now
        if self.hunting:
            self._hunt(data, call_start)
        else:
            self._split(data)

    def start(self, *, late: bool) -> None:
        """The next byte is the first of a frame (or of the preface)."""
        self.hunting = False
        if self._decoder is None:
            self.late = late
            self._decoder = HeaderDecoder(self.limits.header_bytes, self.limits.hpack_table, joined_late=late)

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

    def lose(self, reason: str) -> None:
        """Out of step: header blocks may be missing, and frames of any stream."""
        self.hunting = True
        self._candidate = []
        self._pieces, self._have, self._need = [], 0, HEADER_SIZE
        self._content = self._pad = self._skip = self._unpadded = 0
        if self._block is not None or self._dead is not None:
            self._block, self._dead = None, None
            if not self._promise:
                self.streams.headed(self.direction, self._block_stream, None, False, self._block_ns, reason)
        if self._decoder is not None:
            self._decoder.forget()
        self.late = True
        self.streams.lost(self.direction, reason)

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

    def _frame(self, data: bytes, position: int) -> int:
        """A frame header is complete at `position`. Returns where the next octet of interest is."""
        high, low, kind, flags, stream = HEADER.unpack_from(data, position)
        length: int = high << 8 | low
        stream &= _STREAM_ID
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
        handler = self._HANDLERS.get(kind)
        if handler is None:
            self._skip = length
            return payload
        if kind == frames.HEADERS:
            self._block_ns = self.now
            self.streams.opening(self.direction, stream, self.now)
        if length > self.limits.header_bytes:
            self._skip = length
            if kind in _BLOCK_FRAMES:
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
        self._have += len(piece)
        if self._have < self._need:
            return len(data)
        whole = b"".join(self._pieces)
        self._pieces = []
        if self._need == HEADER_SIZE:
            self._frame(whole, 0)
        else:
            _, _, kind, flags, stream = HEADER.unpack_from(whole)
            self._HANDLERS[kind](self, flags, stream & _STREAM_ID, whole[HEADER_SIZE:])
        return position + len(piece)

    def _nonsense(self) -> None:
        self.lose("parse_error")
        self.streams.rejected()

    # DATA

    def _padded_data(self, pad: int, length: int) -> None:
        if pad >= length:
            self._nonsense()  # RFC 9113 section 6.1
            return
        self._content = length - 1 - pad
        self._pad = pad
        if not self._content and not pad:
            self._end_data()

    def _pass_content(self, data: bytes, position: int) -> int:
        size = len(data)
        if self._content:
            end = min(position + self._content, size)
            self.streams.content(self.direction, self._data_stream, data, position, end, self.now)
            self._content -= end - position
            position = end
        if self._pad and position < size:
            step = min(self._pad, size - position)
            self._pad -= step
            position += step
        if not self._content and not self._pad:
            self._end_data()
        return position

    def _end_data(self) -> None:
        if self._data_end:
            self.streams.ended(self.direction, self._data_stream, self.now)

    # Header blocks

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        begin, end = 0, len(payload)
        if flags & PADDED:
            begin = 1
            end -= payload[0] if payload else 1
        if flags & PRIORITY_FLAG:
            begin += 5
        if not stream or begin > end:
            self._nonsense()
            return
        self._promise = False
        self._open_block(stream, payload[begin:end], bool(flags & END_STREAM))
        self._close_block(flags)

    def _push_promise(self, flags: int, stream: int, payload: bytes) -> None:
        begin, end = 4, len(payload)
        if flags & PADDED:
            begin = 5
            end -= payload[0] if payload else 1
        if not stream or begin > end:
            self._nonsense()
            return
        self._promise = True
        self._block_ns = self.now
        self._open_block(stream, payload[begin:end], False)
        self._close_block(flags)

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None and self._dead is None:
            # The block's beginning was lost, or this direction was joined in the middle of it.
            if not self.late:
                self._nonsense()
                return
            self._promise = True
            self._block_stream = stream
            self._dead = "joined_late"
            self._forget()
        if self._block is not None:
            self._block.append(payload)
            self._block_size += len(payload)
            if self._block_size > self.limits.header_bytes:
                self._block = None
                self._dead = "limit"
                self._forget()
        self._close_block(flags)

    def _open_block(self, stream: int, fragment: bytes, end: bool) -> None:
        self._block = [fragment]
        self._block_size = len(fragment)
        self._block_stream = stream
        self._block_end = end

    def _close_block(self, flags: int) -> None:
        if not flags & END_HEADERS:
            return
        block, self._block = self._block, None
        reason, self._dead = self._dead, None
        fields = None
        decoder = self._decoder
        if block is not None and decoder is not None:
            try:
                fields = decoder.decode(block[0] if len(block) == 1 else b"".join(block))
            except HeaderBlockError as error:
                reason = "limit" if error.limit else "parse_error"
                self.late = True
                self.streams.undecodable()
        if not self._promise:
            self.streams.headed(self.direction, self._block_stream, fields, self._block_end, self._block_ns, reason)

    def _kill_block(self, kind: int, flags: int, stream: int, reason: str) -> None:
        """This frame of a header block will not be read: the block is lost, its end is still looked for."""
        if kind != frames.CONTINUATION:
            self._promise = kind == frames.PUSH_PROMISE
            self._block_end = kind == frames.HEADERS and bool(flags & END_STREAM)
        self._block = None
        self._block_stream = stream
        self._dead = reason
        self._forget()
        self._close_block(flags)

    def _forget(self) -> None:
        if self._decoder is not None:
            self._decoder.forget()
        self.late = True

    # Others

    def _rst_stream(self, _flags: int, stream: int, _payload: bytes) -> None:
        self.streams.reset(self.direction, stream, self.now)

    def _goaway(self, _flags: int, _stream: int, payload: bytes) -> None:
        if len(payload) >= 8:
            last = int.from_bytes(payload[:4], "big") & _STREAM_ID
            self.streams.going_away(self.direction, last, self.now)

    _HANDLERS: ClassVar[dict[int, Callable[[FrameReader, int, int, bytes], None]]] = {
        frames.HEADERS: _headers,
        frames.PUSH_PROMISE: _push_promise,
        frames.CONTINUATION: _continuation,
        frames.RST_STREAM: _rst_stream,
        frames.GOAWAY: _goaway,
    }
    """The frames that an observer learns from. SETTINGS is none of them: an encoder announces the table size it uses in
    the header block itself (RFC 7541 section 4.2)."""

    # Loss

    def _gap_in_frame(self, length: int, reason: str, counted: bool) -> bool:
        """Whether the missing bytes lie inside one frame whose header was seen; then it is dealt with."""
        if self._content or self._pad:
            if length > self._content + self._pad:
                return False
            content = min(length, self._content)
            self._content -= content
            self._pad -= length - content
            if content:
                why = None if counted else reason
                self.streams.content_missing(self.direction, self._data_stream, content, why, self.now)
            if not self._content and not self._pad:
                self._end_data()
            return True
        if self._skip:
            if length > self._skip:
                return False
            self._skip -= length
            return True
        if self._unpadded:
            if length > self._unpadded:
                return False
            # How much of it was padding is lost with it.
            self.streams.content_missing(self.direction, self._data_stream, 0, reason, self.now)
            self._skip = self._unpadded - length
            self._unpadded = 0
            self._end_data()
            return True
        if self._pieces and self._need > HEADER_SIZE and length <= self._need - self._have:
            _, _, kind, flags, stream = HEADER.unpack_from(b"".join(self._pieces))
            self._skip = self._need - self._have - length
            self._pieces = []
            if kind in _BLOCK_FRAMES:
                self._kill_block(kind, flags, stream & _STREAM_ID, reason)
            return True
        return False


def _start(data: bytes) -> Start:
    verdict = preface_start(data)
    return frame_start(data) if verdict is Start.OTHER else verdict
