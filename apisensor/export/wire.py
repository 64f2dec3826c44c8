"""The part of the protobuf wire format that OTLP spans need, with everything constant encoded once.

A span is some twenty attributes whose keys never change, so an attribute is an object that holds its encoded key and,
for strings, a table of complete heads by value length: encoding one costs an index and a concatenation. Field numbers
are those of opentelemetry-proto (common.proto, stable since 1.0); tests compare every byte with the generated classes.

    KeyValue   { string key = 1; AnyValue value = 2; }
    AnyValue   { string = 1 | bool = 2 | int64 = 3 | double = 4 | ArrayValue = 5 }
    ArrayValue { repeated AnyValue values = 1; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5
"""Wire types."""

SHORT: Final = 128
"""Values below this many bytes use the table of heads: most paths, and all names and addresses."""

NUMBERS: Final = 1024
"""Values of an attribute that stay encoded, the first ones that come: sizes and ports repeat. Some 100 KB."""

_pack_double: Final = struct.Struct("<d").pack
_SMALL: Final = [bytes((n,)) for n in range(128)]
_LOW: Final = [bytes((n | 128,)) for n in range(128)]
"""The first byte of two or more."""


def varint(n: int) -> bytes:
    """A non-negative integer; seven bits a byte, least significant first."""
    if n < 128:
        return _SMALL[n]
    if n < 1 << 14:
        return _LOW[n & 127] + _SMALL[n >> 7]
    encoded = bytearray()
    while n > 127:
        encoded.append(n & 127 | 128)
        n >>= 7
    encoded.append(n)
    return bytes(encoded)


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def length_delimited(field: int, payload: bytes) -> bytes:
    """A string, bytes or message field."""
    return tag(field, LENGTH) + varint(len(payload)) + payload


def utf8(text: str) -> bytes:
    """UTF-8; a lone surrogate, which proto3 strings cannot hold, becomes "?"."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


class Attribute:
    """One KeyValue of a repeated field. `of` of a subclass encodes a value with it."""

    def __init__(self, key: str, field: int) -> None:
        """field: number of the repeated field that holds the attributes (9 in Span, 1 in Resource)."""
        self.key = key
        self._tag = tag(field, LENGTH)
        self._key = length_delimited(1, utf8(key))

    def _head(self, value_length: int, value_head: bytes) -> bytes:
        """All before the last `value_length` bytes of an AnyValue that begins with value_head."""
        value = varint(len(value_head) + value_length) + value_head
        body_length = len(self._key) + 1 + len(value) + value_length
        return self._tag + varint(body_length) + self._key + b"\x12" + value


class StringAttribute(Attribute):
    def __init__(self, key: str, field: int = 9) -> None:
        super().__init__(key, field)
        self._heads = [self._head(n, b"\x0a" + varint(n)) for n in range(SHORT)]

    def of(self, text: str) -> bytes:
        value = text.encode() if text.isascii() else utf8(text)
        n = len(value)
        return (self._heads[n] if n < SHORT else self._head(n, b"\x0a" + varint(n))) + value


class IntAttribute(Attribute):
    def __init__(self, key: str, field: int = 9) -> None:
        super().__init__(key, field)
        self._heads = [self._head(n, b"\x18") for n in range(11)]
        self._encoded: dict[int, bytes] = {}

    def of(self, n: int) -> bytes:
        """n: -2**63 to 2**63 - 1."""
        return self._encoded.get(n) or self._encode(n)

    def _encode(self, n: int) -> bytes:
        value = varint(n if n >= 0 else n & 0xFFFF_FFFF_FFFF_FFFF)
        encoded = self._heads[len(value)] + value
        if len(self._encoded) < NUMBERS:
            self._encoded[n] = encoded
        return encoded


class BoolAttribute(Attribute):
    def __init__(self, key: str, field: int = 9) -> None:
        super().__init__(key, field)
        head = self._head(1, b"\x10")
        self._encoded = (head + b"\x00", head + b"\x01")

    def of(self, value: bool) -> bytes:
        return self._encoded[value]


class DoubleAttribute(Attribute):
    def __init__(self, key: str, field: int = 9) -> None:
        super().__init__(key, field)
        self._double_head = self._head(8, b"\x21")

    def of(self, value: float) -> bytes:
        return self._double_head + _pack_double(value)


class StringsAttribute(Attribute):
    """An array of strings."""

    def of(self, texts: Iterable[str]) -> bytes:
        array = b"".join(length_delimited(1, length_delimited(1, utf8(text))) for text in texts)
        return self._head(len(array), b"\x2a" + varint(len(array))) + array
