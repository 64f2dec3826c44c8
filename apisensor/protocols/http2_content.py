"""HTTP/2: DATA frames of one direction, and holes in frames (`http2` has the theory of operation)."""

from __future__ import annotations

from apisensor.protocols.frames import HEADER, HEADER_SIZE
from apisensor.protocols.http2_blocks import BLOCK_FRAMES, BlockReader
from apisensor.protocols.http2_state import STREAM_ID


class ContentReader(BlockReader):
    """What a reader does with content and padding, and with bytes of a frame that are missing."""

    __slots__ = ()

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
            if kind in BLOCK_FRAMES:
                self._kill_block(kind, flags, stream & STREAM_ID, reason)
            return True
        return False
