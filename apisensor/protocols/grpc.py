"""gRPC's messages in a body: a flag octet, four octets of length, the message (gRPC over HTTP/2, "Length-Prefixed-
Message"). They know nothing of DATA frames or calls. gRPC-Web adds trailers as a last message with the flag's highest
bit set, and a text form, which is base64 (gRPC's PROTOCOL-WEB.md).

    in the prefix     5 octets are collected
    in a message      its octets are counted down; so many may be missing as are left of it, more may hide a prefix
    lost              nothing is read any more
"""

from __future__ import annotations

import binascii

from apisensor.protocols.counted import MESSAGE_CUT, Field, Passed

PREFIX = 5
COMPRESSED = 0x01
TRAILERS = 0x80
_WEB_FLAGS = frozenset((0, COMPRESSED, TRAILERS, TRAILERS | COMPRESSED))
_FLAGS = frozenset((0, COMPRESSED))
TRAILER_BYTES = 16 * 1024
"""Trailers in a body beyond this are not read: servers limit field sections to 8 or 16 KiB."""
TRAILER_COUNT = 64
"""Field lines read of them; two are usual."""


class MessageCounter:
    """Counts length-prefixed messages.

    Args:
        web: The last message may be trailers.
    """

    __slots__ = (
        "_bytes", "_collected", "_compressed", "_count", "_flag", "_flags", "_largest", "_left", "_prefix", "_reason",
        "_size", "protocol", "trailers",
    )  # fmt: skip

    def __init__(self, *, web: bool = False) -> None:
        self.protocol = "grpc-web" if web else "grpc"
        self.trailers: list[Field] = []
        self._flags = _WEB_FLAGS if web else _FLAGS
        self._prefix = b""
        self._flag = 0
        self._size = 0
        self._left = 0
        self._count = self._bytes = self._largest = self._compressed = 0
        self._collected: bytes | None = None
        """What was read of the trailers, while they pass."""
        self._reason: str | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        at = 0
        size = len(data)
        while at < size and self._reason is None:
            if self._left:
                step = min(self._left, size - at)
                if self._collected is not None and len(self._collected) < TRAILER_BYTES:
                    self._collected += data[at : at + step]
                at += step
                self._left -= step
                if not self._left:
                    self._end()
                continue
            prefix = self._prefix + data[at : at + PREFIX - len(self._prefix)]
            at += len(prefix) - len(self._prefix)
            if len(prefix) < PREFIX:
                self._prefix = prefix
                return
            self._prefix = b""
            self._begin(prefix[0], int.from_bytes(prefix[1:], "big"))

    def skip(self, size: int, reason: str) -> None:
        """So many bytes of the body were not captured, or are lost."""
        if size > self._left:
            self.lose(reason)
            return
        self._left -= size
        self._collected = None if size else self._collected
        if size and not self._left:
            self._end()

    def lose(self, reason: str) -> None:
        """Nobody knows how many bytes are lost."""
        self._reason = self._reason or reason

    def passed(self, reason: str | None) -> Passed:
        """The counts; the body is over, whole or not, for this reason."""
        if self._reason is not None:
            return Passed(self.protocol, reason=self._reason)
        if reason is None and (self._left or self._prefix):
            reason = MESSAGE_CUT
        return Passed(self.protocol, self._count, self._bytes, self._largest, self._compressed, reason=reason)

    def _begin(self, flag: int, size: int) -> None:
        if flag not in self._flags:
            self.lose("parse_error")
            return
        self._flag = flag
        self._size = self._left = size
        self._collected = b"" if flag == TRAILERS else None
        if not size:
            self._end()

    def _end(self) -> None:
        if self._flag & TRAILERS:
            if self._collected is not None and len(self._collected) == self._size:
                self.trailers = _field_lines(self._collected)
            self._collected = None
            return
        self._count += 1
        self._bytes += self._size
        self._compressed += self._flag
        self._largest = max(self._largest, self._size)


class TextCounter:
    """The same of gRPC-Web's text form: base64, padded wherever the sender flushed."""

    __slots__ = ("_counter", "_rest", "protocol")

    def __init__(self) -> None:
        self.protocol = "grpc-web"
        self._counter = MessageCounter(web=True)
        self._rest = b""
        """Less than the four characters that stand for three octets."""

    @property
    def trailers(self) -> list[Field]:
        """Trailers that came inside the body."""
        return self._counter.trailers

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        text = self._rest + data
        whole = len(text) & ~3
        self._rest = text[whole:]
        try:
            self._counter.feed(from_base64(text[:whole]))
        except binascii.Error:
            self._counter.lose("parse_error")

    def skip(self, size: int, reason: str) -> None:
        """So many bytes of the body were not captured, or are lost: how many octets they stood for is unknown."""
        if size:
            self._counter.lose(reason)

    def lose(self, reason: str) -> None:
        """Nobody knows how many bytes are lost."""
        self._counter.lose(reason)

    def passed(self, reason: str | None) -> Passed:
        """The counts; the body is over, whole or not, for this reason."""
        if reason is None and self._rest:
            reason = MESSAGE_CUT
        return self._counter.passed(reason)


def from_base64(text: bytes) -> bytes:
    """The octets of whole groups of four characters, of which any may be padded.

    Raises:
        binascii.Error: It is something else.
    """
    pieces: list[bytes] = []
    begin = 0
    while begin < len(text):
        pad = text.find(b"=", begin)
        end = len(text) if pad < 0 else (pad & ~3) + 4
        pieces.append(binascii.a2b_base64(text[begin:end], strict_mode=True))
        begin = end
    return b"".join(pieces)


def _field_lines(text: bytes) -> list[Field]:
    """Trailers as HTTP/1 writes them."""
    found: list[Field] = []
    for line in text.split(b"\n", TRAILER_COUNT)[:TRAILER_COUNT]:
        name, colon, value = line.partition(b":")
        if colon:
            found.append((name.strip(), value.strip()))
    return found
