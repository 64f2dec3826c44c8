"""WebSocket frames of one direction (RFC 6455 section 5): messages counted, text kept within a limit.

    in a frame's head    2 to 14 octets are collected
    in its payload       octets are counted down; unmasked only where they are wanted: text, close codes, and whatever
                         must be inflated
    lost                 nothing is read any more: a frame's beginning cannot be told from payload

So many octets may be missing as are left of a payload; more may hide a head. permessage-deflate (RFC 7692) is inflated
up to INFLATED octets of a direction. Beyond, and after a hole, what follows is counted and not looked at, unless each
message is compressed by itself.
"""

from __future__ import annotations

import struct
import zlib

from apisensor.protocols import anomalies
from apisensor.protocols.counted import MESSAGE_CUT, Field, Passed
from apisensor.protocols.pieces import MOST, PIECE, join

INFLATED = 256 * 1024
"""Octets inflated of one direction: as many as content codings may decode to. It bounds the ratio, too."""
_PIECE = 16 * 1024
"""Octets inflated at once."""
CLOSE_BYTES = 125
"""Longest payload of a control frame (section 5.5)."""

_CONTINUATION, _TEXT, _CLOSE = 0x0, 0x1, 0x8
_DATA = frozenset((_CONTINUATION, _TEXT, 0x2))
_CONTROL = frozenset((_CLOSE, 0x9, 0xA))
_FIN, _RSV1, _RSV, _MASKED = 0x80, 0x40, 0x30, 0x80
_LONG, _LONGEST = 126, 127
_KEY = 4
_TAIL = b"\x00\x00\xff\xff"
"""What the sender cut off each compressed message (RFC 7692 section 7.2.1)."""
_INFLATING = 48 << 10
"""Bytes of memory that inflating takes: a window of 32 KiB and zlib's tables."""
_UINT16, _UINT64 = struct.Struct(">H"), struct.Struct(">Q")


class WebSocketReader:
    """One direction.

    Args:
        of_client: It is the client's, whose frames are masked; the server's are not (section 5.1).
        room: Octets of text that may be kept.
    """

    __slots__ = (
        "_begin", "_close", "_compressed", "_compressible", "_control", "_count", "_deflated", "_fin", "_head",
        "_in_message", "_inflate", "_inflated", "_key", "_key_at", "_largest", "_left", "_masked", "_message",
        "_opcode", "_reason", "_resets", "_text", "anomalies", "over", "protocol", "room", "size", "text", "trailers",
    )  # fmt: skip

    def __init__(self, *, of_client: bool, room: int) -> None:
        self.protocol = "websocket"
        self.trailers: list[Field] = []
        self.anomalies: list[str] = []
        self.text: list[bytes] = []
        """Text that passed, a line for each message, as far as there was room."""
        self.size = 0
        """Octets of payload that passed, control frames left out."""
        self.room = room
        self.over = True
        """Nothing more comes when the counts are asked for, so that a message under way is cut."""
        self._masked = of_client
        self._resets = False
        self._compressible = False
        self._inflate: zlib._Decompress | None = None
        self._inflated = 0
        self._head = b""
        self._opcode = 0
        self._fin = False
        self._key = b""
        self._key_at = 0
        self._left = 0
        self._in_message = False
        self._message = 0
        """Octets of the message under way."""
        self._text = False
        """It is text."""
        self._begin = 0
        """Where its text begins in `text`."""
        self._deflated = False
        self._close = b""
        self._count = self._largest = self._compressed = self._control = 0
        self._reason: str | None = None

    def negotiated(self, extensions: bytes | None) -> None:
        """What the response's Sec-WebSocket-Extensions says."""
        first, *parameters = (part.strip().lower() for part in (extensions or b"").partition(b",")[0].split(b";"))
        self._compressible = first == b"permessage-deflate"
        own = b"client_no_context_takeover" if self._masked else b"server_no_context_takeover"
        self._resets = own in parameters
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if self._compressible else None

    def start(self) -> None:
        """Another transaction begins: counts and text start from nothing, the frame and message under way go on."""
        self.text = []
        self._begin = 0
        self.size = self._count = self._largest = self._compressed = self._control = 0
        self.anomalies = []

    def held(self) -> int:
        """Bytes of memory that it takes beside its text, roughly."""
        return len(self._close) + PIECE * len(self.text) + (_INFLATING if self._inflate is not None else 0)

    @property
    def lost(self) -> str | None:
        """Why nothing is read any more."""
        return self._reason

    # Input

    def feed(self, data: bytes) -> None:
        """The next octets of this direction."""
        at = 0
        size = len(data)
        while at < size and self._reason is None:
            if self._left:
                step = min(self._left, size - at)
                self._payload(data[at : at + step] if at or step < size else data)
                at += step
                continue
            at = self._collect(data, at)

    def skip(self, size: int, reason: str) -> None:
        """So many octets were not captured, or are lost."""
        if size > self._left:
            self.lose(reason)
            return
        if not size:
            return
        self._left -= size
        self._key_at += size
        if self._opcode in _DATA:
            self.size += size
            self._message += size
            if self._deflated:
                self._inflate = None
        if not self._left:
            self._end_frame()

    def lose(self, reason: str) -> None:
        """Nobody knows how many octets are lost."""
        self._reason = self._reason or reason

    def passed(self, reason: str | None) -> Passed:
        """The counts; the direction is over, or not, for this reason."""
        code = _UINT16.unpack_from(self._close)[0] if len(self._close) >= 2 else None
        if self._reason is not None:
            return Passed(self.protocol, close_code=code, reason=self._reason)
        if reason is None and self.over and (self._left or self._head or self._in_message):
            reason = MESSAGE_CUT
        counts = (self._count, self.size, self._largest, self._compressed, self._control)
        return Passed(self.protocol, *counts, code, reason)

    # Frames

    def _collect(self, data: bytes, at: int) -> int:
        """Adds to a frame's head; where the next octet of interest is."""
        head = self._head
        need = 2 if len(head) < 2 else _head_size(head[1])
        piece = data[at : at + need - len(head)]
        head += piece
        self._head = head
        if len(head) == 2:
            need = _head_size(head[1])
        if len(head) == need:
            self._head = b""
            self._begin_frame(head)
        return at + len(piece)

    def _begin_frame(self, head: bytes) -> None:
        first, second = head[0], head[1]
        opcode = first & 0x0F
        length = second & 0x7F
        key_at = 2
        if length == _LONG:
            length, key_at = _UINT16.unpack_from(head, 2)[0], 4
        elif length == _LONGEST:
            length, key_at = _UINT64.unpack_from(head, 2)[0], 10
        self._opcode = opcode
        self._fin = bool(first & _FIN)
        self._key, self._key_at = head[key_at:], 0
        self._left = length
        if first & _RSV or bool(second & _MASKED) != self._masked or not self._fits(first, opcode, length):
            self._left = 0
            self.lose("parse_error")
            return
        if opcode in _DATA and not self._in_message:
            self._in_message = True
            self._message = 0
            if len(self.text) >= MOST:
                join(self.text)
            self._begin = len(self.text)
            self._text = opcode == _TEXT
            self._deflated = bool(first & _RSV1)
            if self._deflated and self._inflated >= INFLATED:
                self._note_limit()
            if self._deflated and self._resets and self._inflated < INFLATED:
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        if not length:
            self._end_frame()

    def _fits(self, first: int, opcode: int, length: int) -> bool:
        """Whether a frame like this may come here (sections 5.2, 5.4, 5.5)."""
        if opcode in _CONTROL:
            return bool(first & _FIN) and length <= CLOSE_BYTES and not first & _RSV1
        if opcode not in _DATA or length >> 63 or (opcode == _CONTINUATION) != self._in_message:
            return False
        return not first & _RSV1 or (self._compressible and opcode != _CONTINUATION)

    def _payload(self, piece: bytes) -> None:
        size = len(piece)
        self._left -= size
        if self._opcode in _DATA:
            self.size += size
            self._message += size
            if self._deflated:
                if self._inflate is not None:
                    self._inflated_text(self._unmasked(piece))
            elif self._text and self.room:
                self._keep(self._unmasked(piece[: self.room]))
        elif self._opcode == _CLOSE and self._key_at == len(self._close) < _UINT16.size:
            self._close += self._unmasked(piece)[: _UINT16.size - self._key_at]
        self._key_at += size
        if not self._left:
            self._end_frame()

    def _end_frame(self) -> None:
        if self._opcode in _CONTROL:
            self._control += 1
            return
        if not self._fin:
            return
        if self._deflated and self._inflate is not None:
            self._inflated_text(_TAIL)
        if self._text and self.room:
            self._keep(b"\n")
        if not self.room:
            self._inflate = None
        self._in_message = False
        self._count += 1
        self._compressed += self._deflated
        self._largest = max(self._largest, self._message)

    # Content

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._masked:
            return piece
        size = len(piece)
        turn = self._key_at % _KEY
        key = self._key[turn:] + self._key[:turn]
        stretched = (key * (size // _KEY + 1))[:size]
        return (int.from_bytes(piece, "little") ^ int.from_bytes(stretched, "little")).to_bytes(size, "little")

    def _inflated_text(self, data: bytes) -> None:
        inflate = self._inflate
        assert inflate is not None
        while True:
            piece = min(_PIECE, INFLATED - self._inflated)
            try:
                text = inflate.decompress(data, piece)
            except zlib.error:
                self._inflate = None
                # What came out before the error depends on how the octets were cut.
                self.room += sum(map(len, self.text[self._begin :]))
                del self.text[self._begin :]
                if anomalies.DEFLATE_INVALID not in self.anomalies:
                    self.anomalies.append(anomalies.DEFLATE_INVALID)
                return
            self._inflated += len(text)
            if self._text and self.room and text:
                self._keep(text)
            if self._inflated >= INFLATED:
                self._inflate = None
                self._note_limit()
                return
            data = inflate.unconsumed_tail
            if not data and len(text) < piece:
                return

    def _keep(self, text: bytes) -> None:
        text = text[: self.room]
        self.room -= len(text)
        self.text.append(text)
        if len(self.text) - self._begin == MOST:
            join(self.text, self._begin)

    def _note_limit(self) -> None:
        """Text that would have been kept is not inflated."""
        if self._text and self.room and anomalies.INFLATE_LIMIT not in self.anomalies:
            self.anomalies.append(anomalies.INFLATE_LIMIT)


def _head_size(second: int) -> int:
    """Octets of a frame's head, by its second one."""
    length = second & 0x7F
    extended = 2 if length == _LONG else 8 if length == _LONGEST else 0
    return 2 + extended + (_KEY if second & _MASKED else 0)
