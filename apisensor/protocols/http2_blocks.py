"""HTTP/2: header blocks (RFC 9113 section 4.3) of one direction (`http2` has the theory of operation)."""

from __future__ import annotations

from typing import Final

from apisensor.protocols import frames
from apisensor.protocols.frames import END_HEADERS, END_STREAM, PADDED, PRIORITY_FLAG
from apisensor.protocols.hpack_codec import HeaderBlockError
from apisensor.protocols.http2_state import State
from apisensor.protocols.message import Field
from apisensor.protocols.pieces import MOST, join

BLOCK_FRAMES: Final = frozenset((frames.HEADERS, frames.PUSH_PROMISE, frames.CONTINUATION))


class BlockReader(State):
    """What a reader does with the frames of header blocks."""

    __slots__ = ()

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
        fragment = payload[begin:end]
        if flags & END_HEADERS:  # the whole block, as nearly always
            fields, reason = self._decode(fragment)
            self.streams.headed(self.direction, stream, fields, bool(flags & END_STREAM), self._block_ns, reason)
            return
        self._open_block(stream, fragment, bool(flags & END_STREAM))
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
        if self._block is not None and payload:  # empty ones, without end, are nothing to keep
            self._block.append(payload)
            if len(self._block) == MOST:
                join(self._block)
            self._block_size += len(payload)
            if self._block_size > self.limits.header_bytes:
                self._block = None
                self._dead = "limit"
                self._forget()
                self._tell_limit()
        self._close_block(flags)

    def _tell_limit(self) -> None:
        """The block will not be read: said at once, for there may be no end of it."""
        if not self._promise:
            end, begun = self._block_end, self._block_ns
            self.streams.headed(self.direction, self._block_stream, None, end, begun, "limit")
            self._promise = True

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
        if block is not None:
            fields, refused = self._decode(block[0] if len(block) == 1 else b"".join(block))
            reason = refused or reason
        if not self._promise:
            self.streams.headed(self.direction, self._block_stream, fields, self._block_end, self._block_ns, reason)

    def _decode(self, block: bytes) -> tuple[list[Field] | None, str | None]:
        """The fields of a whole block, or why there are none."""
        decoder = self._decoder
        if decoder is None:
            return None, None
        size = len(block)
        self._blocks += size
        if 2 * size > self.largest_entry:  # noqa: PLR1730 - once for each block, so without a call
            self.largest_entry = 2 * size
        try:
            return decoder.decode(block), None
        except HeaderBlockError as error:
            self.late = True
            self.streams.undecodable()
            return None, "limit" if error.limit else "parse_error"

    def _kill_block(self, kind: int, flags: int, stream: int, reason: str) -> None:
        """This frame of a header block will not be read: the block is lost, its end is still looked for."""
        if kind != frames.CONTINUATION:
            self._promise = kind == frames.PUSH_PROMISE
            self._block_end = kind == frames.HEADERS and bool(flags & END_STREAM)
        self._block = None
        self._block_stream = stream
        self._dead = reason
        self._forget()
        if reason == "limit":
            self._tell_limit()
        self._close_block(flags)

    def _forget(self) -> None:
        if self._decoder is not None:
            self._decoder.forget()
        self.late = True
