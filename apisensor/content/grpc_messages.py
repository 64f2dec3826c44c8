"""gRPC's messages in the captured beginning of a body: their text, and the numbers of their fields.

Without the service's description nobody knows types, but the wire format (protobuf's encoding guide) tells lengths:
what has a length is text, a message, or octets. What reads as text is text; else what is a message from end to end is
one; the rest is searched as it is. A message that is cut is read as far as it goes.
"""

from __future__ import annotations

import binascii

from apisensor.content.codings import UNKNOWN, decoded
from apisensor.content.identifiers import FIELDS
from apisensor.protocols.grpc import COMPRESSED, PREFIX, TRAILERS, from_base64

NESTED = 12
"""Depth of messages in messages; real ones have a handful."""
VISITED = 4_000
"""Fields of one body that are looked at, some 2 us each."""
DECOMPRESSED = 64
"""Compressed messages of one body that are decompressed: each has its own limit of size and ratio (codings)."""

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}
"""Wire types; bytes of those that have always as many."""
_CONTROL = bytes(set(range(0x20)) - {0x09, 0x0A, 0x0D}) + b"\x7f"
_CODINGS = {b"gzip": "gzip", b"deflate": "deflate", b"zstd": "zstd"}


class Messages:
    """What the messages of one body hold."""

    __slots__ = ("_visited", "anomaly", "cut", "fields", "texts", "whole")

    named = False
    """The texts have the names of their fields beside them, as JSON."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []
        """Values of fields that may be text."""
        self.fields: list[bytes] = []
        """Fields at the top of the first message, in order, by number; none where it is not whole."""
        self.whole = False
        """The body is one message, and all of it was read."""
        self.anomaly: str | None = None
        """What kept a message from being looked at (codings.ANOMALIES)."""
        self.cut = False
        """There was more than the limits of this module allow."""
        self._visited = 0

    def read(self, body: bytes, encoding: bytes | None, *, text_form: bool) -> None:
        """Reads the captured beginning of a body.

        Args:
            body: what was captured.
            encoding: grpc-encoding's value.
            text_form: gRPC-Web's base64.
        """
        if text_form:
            try:
                body = from_base64(body[: len(body) & ~3])
            except binascii.Error:
                return
        at = compressed = 0
        first = True
        while len(body) - at >= PREFIX and not self.cut:
            flag = body[at]
            size = int.from_bytes(body[at + 1 : at + PREFIX], "big")
            message = body[at + PREFIX : at + PREFIX + size]
            whole = len(message) == size
            at += PREFIX + size
            if flag & TRAILERS:
                return
            if flag & COMPRESSED:
                coding = _CODINGS.get((encoding or b"").lower())
                compressed += 1
                if compressed > DECOMPRESSED:
                    self.cut = True
                    return
                if coding is None:
                    self.anomaly = UNKNOWN
                    continue
                message, anomaly = decoded(message, (coding,), whole)
                whole = whole and anomaly is None
                self.anomaly = self.anomaly or anomaly
            fields = self._top(message, whole)
            if first and whole:
                self.fields = fields
            self.whole = first and whole and not self.cut
            first = False

    def _top(self, message: bytes, whole: bool) -> list[bytes]:
        """Reads a message that is in no other; its fields."""
        numbers: dict[int, None] = {}
        return [b"%d" % number for number in numbers] if self._message(message, 0, whole, numbers) else []

    def _message(self, data: bytes, depth: int, whole: bool, numbers: dict[int, None] | None) -> bool:
        """Reads one message from end to end, or as far as it was captured where not `whole`.

        Returns: whether it is one; what is none becomes a text.
        """
        at, end = 0, len(data)
        texts = len(self.texts)
        while at < end:
            self._visited += 1
            if self._visited > VISITED:
                self.cut = True
                return False
            tag, at = varint_at(data, at, end)
            number, wire = tag >> 3, tag & 7
            if at < 0 or not number or number >= 1 << 29:
                break
            if numbers is not None and len(numbers) < FIELDS:
                numbers[number] = None
            if wire == LENGTH:
                size, at = varint_at(data, at, end)
                if at < 0 or (whole and at + size > end):
                    break
                self._octets(data[at : at + size], depth, at + size <= end)
                at += size
            elif wire == VARINT:
                _, at = varint_at(data, at, end)
                if at < 0:
                    break
            elif wire in FIXED and (not whole or at + FIXED[wire] <= end):
                at += FIXED[wire]
            else:
                break
        else:
            return True
        if whole:
            del self.texts[texts:]
            self.texts.append(data)
        return False

    def _octets(self, value: bytes, depth: int, whole: bool) -> None:
        """Text, a message, or neither."""
        if not value:
            return
        if _is_text(value, whole) or depth >= NESTED:
            self.texts.append(value)
        else:
            self._message(value, depth + 1, whole, None)


def varint_at(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The number at `at` and where what follows it is; -1 where it does not end before `end`."""
    value = shift = 0
    for index in range(at, min(at + 10, end)):
        byte = data[index]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, index + 1
        shift += 7
    return 0, -1


def _is_text(value: bytes, whole: bool) -> bool:
    if len(value.translate(None, _CONTROL)) != len(value):
        return False
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return not whole and error.start >= len(value) - 3  # cut inside a character
    return True
