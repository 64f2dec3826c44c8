"""HTTP/1: the content of messages, and holes in it (`http1` has the theory of operation)."""

from __future__ import annotations

from apisensor.protocols.http1 import Mode
from apisensor.protocols.http1_boundary import HEAD_END
from apisensor.protocols.http1_chunks import ChunkError, Chunks
from apisensor.protocols.http1_heads import HeadReader
from apisensor.protocols.message import Message, add_content, count_unseen
from apisensor.protocols.pieces import MOST, join


class ContentReader(HeadReader):
    """What a reader does with content."""

    __slots__ = ()

    def on_body(self, piece: bytes) -> None:
        message = self.message
        if message is not None:
            size = len(piece)
            if message.counter is not None:
                add_content(message, piece)
            elif message.room >= size:
                message.body_size += size
                message.body.append(piece)
                if len(message.body) == MOST:
                    join(message.body)
                message.room -= size
                message.kept += size
            elif message.room:
                add_content(message, piece)
            else:
                message.body_size += size

    def _count(self, data: bytes) -> None:
        message = self.message
        assert message is not None
        left = self._left
        message.end_ns = self.now
        if len(data) < left:
            add_content(message, data)
            self._left = left - len(data)
            return
        add_content(message, data[:left])
        self._end_counted()
        if len(data) > left:
            self.feed(data[left:], self.now, False)

    def _take_chunks(self, data: bytes, opened: Message | None, *, refused: bool = False) -> bool:
        """Whether the chunks of the message under way are read here from now on. Its head ended in `data`.

        Args:
            refused: The parser read no further; else it read everything.
        """
        message = self.message
        assert message is not None
        if opened is None and not refused:
            # Most often the message is the first one in data; if it is not, this does not agree with what was told.
            head_end = data.find(HEAD_END) + len(HEAD_END)
            if head_end >= len(HEAD_END) and self._walk_chunks(message, data[head_end:], refused):
                return True
        head = self._head_so_far(data, opened).lstrip(b"\r\n")
        head_end = head.find(HEAD_END) + len(HEAD_END)
        return head_end >= len(HEAD_END) and self._walk_chunks(message, head[head_end:], refused)

    def _walk_chunks(self, message: Message, content: bytes, refused: bool) -> bool:
        """Whether the content, of which the parser told a part, is in chunks; it is then read."""
        trailers, found = message.trailers[:], message.anomalies[:]
        message.trailers.clear()
        chunks = Chunks(message, self.limits, message.body_size)
        end = len(content)
        try:
            if refused:
                end = chunks.read(content)
                fits = True
            else:
                fits = chunks.locate(content)
        except ChunkError:
            fits = False
        if not fits:
            message.trailers[:], message.anomalies[:] = trailers, found
            return False
        self._chunks = chunks
        self._open_head = []
        self.mode = Mode.CHUNKS
        self._parser = None
        if chunks.ended:
            self._end_counted()
            if end < len(content):
                self.feed(content[end:], self.now, False)
        return True

    def _read_chunks(self, data: bytes) -> None:
        message, chunks = self.message, self._chunks
        assert message is not None
        assert chunks is not None
        message.end_ns = self.now
        try:
            end = chunks.read(data)
        except ChunkError as error:
            if error.limit is not None:
                self._limit(message, error.limit)
                return
            self.lose("parse_error")
            self.pairing.rejected()
            return
        if chunks.ended:
            self._end_counted()
            if end < len(data):
                self.feed(data[end:], self.now, False)

    def gap(self, length: int | None, reason: str, counted: bool, now: int) -> None:
        """Bytes of this direction are missing here.

        Args:
            length: None where it is unknown.
            reason: An INCOMPLETE_REASONS name.
            counted: They were counted exactly and deliberately not captured: no loss inside a body whose end is known.
        """
        self.now = now
        message = self.message
        if self.mode == Mode.CHUNKS and length is not None and self._gap_in_chunk(length, reason, counted=counted):
            return
        if message is None or message.fields is None or self.mode not in (Mode.PARSE, Mode.COUNT):
            self.lose(reason)
            return
        left = self._length - message.body_size if self._length is not None else None
        if self._until_end:
            left = length or 0  # whatever is missing was content
        elif left is None or length is None:
            self.lose(reason)
            return
        message.end_ns = now
        size = min(left, length or 0)
        if counted and size == length:
            count_unseen(message, size)
        else:
            message.room = 0
            message.body_size += size
            message.reason = message.reason or reason
            if message.counter is not None:
                message.counter.skip(size, reason)
        if self._until_end:
            return
        self._left = left - size
        self.mode = Mode.COUNT
        if not self._left:
            self._end_counted()
        if size != length:
            self.lose(reason)

    def _gap_in_chunk(self, length: int, reason: str, *, counted: bool) -> bool:
        """Whether the missing bytes are content of one chunk; then they are dealt with."""
        message, chunks = self.message, self._chunks
        if message is None or chunks is None or not chunks.skip(length):
            return False
        message.end_ns = self.now
        if counted:
            count_unseen(message, length)
        else:
            message.room = 0
            message.body_size += length
            message.reason = message.reason or reason
            if message.counter is not None:
                message.counter.skip(length, reason)
        return True
