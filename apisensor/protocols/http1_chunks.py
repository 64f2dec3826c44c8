"""The chunked coding (RFC 9112 section 7.1) of one message, read as servers read it.

llhttp reads it where a message comes in one call and keeps to the grammar it knows. For others this takes its place: it
takes blanks where the grammar has them (around extensions, which llhttp refuses) and where servers do, with an anomaly,
and always knows how much of a chunk is to come, so that a hole in one costs nothing but its bytes.

    state     octets are               then
    SIZE      a line with the size     DATA, or TRAILERS where it is zero
    DATA      content                  BEHIND
    BEHIND    an empty line            SIZE
    TRAILERS  lines of fields          an empty one ends the message
"""

from __future__ import annotations

from typing import Final

from apisensor.protocols import anomalies
from apisensor.protocols.message import Message, add_content
from apisensor.streams.limits import Limits

_LONGEST_LINE = 16 * 1024
"""Bytes of a line with a size: Node.js takes no more of extensions. Trailers have header_bytes."""
_MOST_DIGITS = 15
"""Of a size, zeros before it left out: no content is larger."""
_BLANKS = b" \t"
_HEX = b"0123456789abcdefABCDEF"

_SIZE: Final = 0
_DATA: Final = 1
_BEHIND: Final = 2
_TRAILERS: Final = 3


class ChunkError(Exception):
    """The bytes are not what the coding allows; `limit`: the anomaly that names the limit they exceed, if they do."""

    def __init__(self, why: str, limit: str | None = None) -> None:
        super().__init__(why)
        self.limit = limit


class Chunks:
    """Where in the coding a message is.

    Args:
        told: Bytes of content, at the beginning, that are in the message already.
    """

    __slots__ = (
        "_all_told",
        "_left",
        "_limits",
        "_line",
        "_message",
        "_state",
        "_told",
        "_trailer_bytes",
        "ended",
        "fresh",
    )

    def __init__(self, message: Message, limits: Limits, told: int = 0) -> None:
        self._message = message
        self._limits = limits
        self._told = told
        self._all_told = False
        """More content than was told is none of this message's."""
        self._state: int = _SIZE
        self._left = 0
        self._line = b""
        self._trailer_bytes = 0
        self.fresh = True
        """Nothing has been read."""
        self.ended = False

    def locate(self, data: bytes) -> bool:
        """Whether data, of which all content was told, is in the coding and leaves the message open; `read` goes on
        behind it."""
        self._all_told = True
        try:
            self.read(data)
        except ChunkError:
            return False
        self._all_told = False
        return not self._told and not self.ended

    def read(self, data: bytes) -> int:
        """Read what is there. Returns how many bytes belong to the message.

        Raises:
            ChunkError: They are not in the coding.
        """
        position = 0
        size = len(data)
        self.fresh = self.fresh and not size
        while position < size and not self.ended:
            if self._state == _DATA:
                end = min(position + self._left, size)
                self._content(data[position:end])
                self._left -= end - position
                position = end
                if not self._left:
                    self._state = _BEHIND
                continue
            end = data.find(b"\n", position) + 1
            if not end:
                self._keep(data[position:])
                return size
            line = self._line + data[position:end] if self._line else data[position:end]
            self._line = b""
            position = end
            self._take(line)
        return position

    def skip(self, length: int) -> bool:
        """Whether so many missing bytes are content of the chunk under way; then it goes on behind them."""
        if self._state != _DATA or length > self._left:
            return False
        self._left -= length
        if not self._left:
            self._state = _BEHIND
        return True

    def _content(self, piece: bytes) -> None:
        told = self._told
        if told:
            self._told = max(0, told - len(piece))
            piece = piece[told:]
        if piece:
            if self._all_told:
                raise ChunkError("more content than was told")
            add_content(self._message, piece)

    def _keep(self, piece: bytes) -> None:
        self._line += piece
        begun = self._line.removesuffix(b"\r")  # the rest of the line's end may come next
        if self._state != _TRAILERS:
            if len(begun) > _LONGEST_LINE:
                raise ChunkError("a line without an end")
        elif begun:
            self._bound_trailers(len(begun))

    def _take(self, line: bytes) -> None:
        """A whole line, with its end."""
        if line[-2:] == b"\r\n":
            line = line[:-2]
        else:
            line = line[:-1]
            self._note(anomalies.BARE_LINE_FEED)
        if b"\r" in line:
            raise ChunkError("a carriage return alone")
        if self._state != _TRAILERS and len(line) > _LONGEST_LINE:
            raise ChunkError("a line without an end")
        if self._state == _SIZE:
            self._take_size(line)
        elif self._state == _TRAILERS:
            self._take_trailer(line)
        elif line:
            raise ChunkError("content behind a chunk")
        else:
            self._state = _SIZE

    def _take_size(self, line: bytes) -> None:
        size, extension, _ = line.partition(b";")
        digits = size.rstrip(_BLANKS)
        if digits != size and not extension:
            self._note(anomalies.SPACE_BEHIND_CHUNK_SIZE)
        if not digits or digits.translate(None, _HEX) or len(digits.lstrip(b"0")) > _MOST_DIGITS:
            raise ChunkError("no size")
        self._left = int(digits, 16)
        self._state = _DATA if self._left else _TRAILERS

    def _take_trailer(self, line: bytes) -> None:
        if not line:
            self.ended = True
            return
        name, colon, value = line.partition(b":")
        if not colon or not name or name[:1] in _BLANKS:
            raise ChunkError("no field")
        self._trailer_bytes += len(line)
        self._bound_trailers(0)
        self._message.trailers.append((name, value.strip(_BLANKS)))

    def _bound_trailers(self, open_bytes: int) -> None:
        if len(self._message.trailers) >= self._limits.header_count:
            raise ChunkError("too many trailers", anomalies.HEADER_COUNT)
        if self._trailer_bytes + open_bytes > self._limits.header_bytes:
            raise ChunkError("too long trailers", anomalies.HEADER_BYTES)

    def _note(self, anomaly: str) -> None:
        found = self._message.anomalies
        if anomaly not in found:
            found.append(anomaly)
