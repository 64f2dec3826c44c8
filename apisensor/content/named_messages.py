"""gRPC's messages whose description is known, as the JSON that protobuf would make of them, within limits.

protobuf's own classes do not read the messages themselves: they refuse one that was captured in part, or whose text is
not UTF-8, keep only the last of a field's values, and grow by a hundred bytes for two. Here a message is read as far as
it goes, each value where it stands; what the description does not know, or does not fit, is read by numbers
(grpc_messages). Members may repeat: a repeated field is several of one name.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import msgspec

from apisensor.content.described import Descriptions, Field, Form, Sort
from apisensor.content.grpc_messages import FIXED, FIXED32, FIXED64, LENGTH, VARINT, VISITED, Messages, varint_at
from apisensor.content.identifiers import FIELDS

NESTED = 40
"""Depth of messages in messages. Real ones have a handful, but a level of google.protobuf.Struct is three."""
ADDED = 256 << 10
"""Bytes that names and quotation may add to a body: a field of two bytes may have a name of a hundred."""

_GROUP, _END_GROUP = 3, 4
_WIRES = {
    Form.TEXT: LENGTH, Form.OCTETS: LENGTH, Form.MESSAGE: LENGTH,
    Form.SIGNED: VARINT, Form.UNSIGNED: VARINT, Form.ZIGZAG: VARINT, Form.SILENT: VARINT,
    Form.FIXED32: FIXED32, Form.SFIXED32: FIXED32, Form.FLOAT: FIXED32,
    Form.FIXED64: FIXED64, Form.SFIXED64: FIXED64, Form.DOUBLE: FIXED64,
}  # fmt: skip
"""How a value that is not packed is written."""
_VARINTS: dict[int, Callable[[int], int]] = {
    Form.SIGNED: lambda n: n - (1 << 64) if n >> 63 else n,
    Form.UNSIGNED: lambda n: n,
    Form.ZIGZAG: lambda n: n >> 1 ^ -(n & 1),
}
_STRUCTS = {
    Form.FIXED32: struct.Struct("<I"), Form.SFIXED32: struct.Struct("<i"), Form.FLOAT: struct.Struct("<f"),
    Form.FIXED64: struct.Struct("<Q"), Form.SFIXED64: struct.Struct("<q"), Form.DOUBLE: struct.Struct("<d"),
}  # fmt: skip
_FLOATS = frozenset((Form.FLOAT, Form.DOUBLE))
_LONG = frozenset((LENGTH, _GROUP))
"""What can be read as far as it was captured."""
_LENGTHS = frozenset((Form.TEXT, Form.OCTETS, Form.MESSAGE))
_PAIRS = frozenset((Sort.ENTRY, Sort.ANY))
_TYPE_KEY = b'"@type":'
_NULL = b"null"
_64_BITS = (1 << 64) - 1
_quoted = msgspec.json.encode

_Parts = list[bytes]
"""Members of a JSON object."""


class _NotOfThisTypeError(Exception):
    """The bytes are no message of the type that they should have."""


class _Found:
    """One occurrence of a field: where its value lies."""

    __slots__ = ("begin", "end", "number", "whole", "wire")

    def __init__(self, number: int, wire: int, begin: int, end: int, whole: bool) -> None:
        self.number, self.wire, self.begin, self.end = number, wire, begin, end
        self.whole = whole
        """It was captured to its end."""


class NamedMessages(Messages):
    """What the messages of one body hold, by the description of their type. `texts` has JSON documents."""

    __slots__ = ("_data", "_described", "_room", "_type")

    named = True

    def __init__(self, described: Descriptions, type_: int) -> None:
        """`type_`: index of the messages' type in `described.messages`."""
        super().__init__()
        self._described = described
        self._type = type_
        self._data = b""
        """The message at hand."""
        self._room = ADDED
        """Bytes that may still be made."""

    def _top(self, message: bytes, whole: bool) -> list[bytes]:
        self._data = message
        self._room += len(message)
        parts: _Parts = []
        top: dict[bytes, None] = {}
        try:
            self._members(0, len(message), whole, self._type, parts, 0, top=top)
        except _NotOfThisTypeError:
            return super()._top(message, whole)
        self.texts.append(b"{" + b",".join(parts) + b"}")
        return list(top)

    def _members(
        self,
        at: int,
        end: int,
        whole: bool,
        type_: int,
        parts: _Parts,
        depth: int,
        *,
        key: bytes | None = None,
        top: dict[bytes, None] | None = None,
    ) -> None:
        """Adds what the fields of a message hold.

        Args:
            at, end: where the message lies.
            whole: it was captured to its end.
            type_: its type.
            parts: where to.
            depth: of the message.
            key: of all its fields, in place of their own.
            top: where the names of its fields go.
        """
        fields = self._described.messages[type_].fields
        for found in self._occurrences(at, end, whole):
            field = fields.get(found.number)
            if top is not None and len(top) < FIELDS:
                top[field.name if field is not None else b"%d" % found.number] = None
            if field is not None:
                self._value(field, key or field.key, found, parts, depth)
            elif found.wire in (LENGTH, _GROUP):
                self._by_number(b'"%d":' % found.number, found, parts)

    def _occurrences(self, at: int, end: int, whole: bool) -> Iterator[_Found]:
        """The fields of a message, in their order. Raises _NotOfThisTypeError where it is none."""
        data = self._data
        while at < end and self._goes_on():
            tag, at = varint_at(data, at, end)
            if at < 0:
                break
            number, wire = tag >> 3, tag & 7
            if not number or number >= 1 << 29:
                raise _NotOfThisTypeError
            if wire == _GROUP:
                begin = at
                stop, at = self._end_of_group(at, end, number)
            else:
                begin, stop = _extent(data, wire, at, end)
                at = stop
            if begin < 0 or (stop < 0 and wire not in _LONG):
                at = -1
                break
            yield _Found(number, wire, begin, end if stop < 0 else stop, whole and stop >= 0)
            if at < 0:
                break
        if at < 0 and whole and not self.cut:
            raise _NotOfThisTypeError

    def _goes_on(self) -> bool:
        """Counts a field; whether it may still be looked at."""
        if self._visited >= VISITED or self._room < 0:
            self.cut = True
        self._visited += not self.cut
        return not self.cut

    def _end_of_group(self, at: int, end: int, number: int) -> tuple[int, int]:
        """Where the fields of a group end, and where what follows it begins; -1: beyond the end."""
        data = self._data
        inside = [number]
        while 0 <= at < end and self._goes_on():
            before = at
            tag, at = varint_at(data, at, end)
            if at < 0:
                break
            wire = tag & 7
            if wire == _END_GROUP:
                if inside.pop() != tag >> 3:
                    raise _NotOfThisTypeError
                if not inside:
                    return before, at
            elif wire == _GROUP:
                inside.append(tag >> 3)
            else:
                _, at = _extent(data, wire, at, end)
        return -1, -1

    def _value(self, field: Field, key: bytes, found: _Found, parts: _Parts, depth: int) -> None:
        """Adds one value of a field."""
        form, wire = field.form, found.wire
        if form == Form.MESSAGE and wire in _LONG:
            self._nested(field.type, key, found, parts, depth + 1)
        elif wire == _GROUP or (form == Form.OCTETS and wire == LENGTH):
            self._by_number(key, found, parts)
        elif form == Form.TEXT and wire == LENGTH:
            text = self._data[found.begin : found.end].decode("utf-8", "replace")
            self._put(parts, key, _quoted(text))
        elif wire == _WIRES[form]:
            self._put(parts, key, self._scalar(form, found.begin, found.end)[0])
        elif wire == LENGTH and form not in _LENGTHS:
            self._packed(form, key, found, parts)

    def _nested(self, type_: int, key: bytes, found: _Found, parts: _Parts, depth: int) -> None:
        """Adds a message in a message: as its JSON form is, by number where it is not of its type."""
        made: _Parts = []
        sort = self._described.messages[type_].sort
        try:
            if depth > NESTED:
                raise _NotOfThisTypeError
            if sort in _PAIRS:
                self._pair(type_, sort, found, made, depth)
            else:
                inline = key if sort == Sort.INLINE else None
                self._members(found.begin, found.end, found.whole, type_, made, depth, key=inline)
        except _NotOfThisTypeError:
            self._by_number(key, found, parts)
            return
        if sort == Sort.INLINE:
            parts += made
        else:
            self._room -= len(key) + 3  # what is inside has been counted
            parts.append(key + b"{" + b",".join(made) + b"}")

    def _pair(self, type_: int, sort: int, found: _Found, made: _Parts, depth: int) -> None:
        """Adds an entry of a map, whose key names its value, or an Any, whose first field says what the second is."""
        fields = self._described.messages[type_].fields
        inside = list(self._occurrences(found.begin, found.end, found.whole))
        name = next((self._name(fields.get(1), one) for one in reversed(inside) if one.number == 1), b'""')
        held = None
        if sort == Sort.ANY:
            self._put(made, _TYPE_KEY, name)
            held = self._described.types.get(name[1:-1].decode("utf-8").rpartition("/")[2])
        for one in inside:
            if one.number == 2 and sort == Sort.ENTRY and 2 in fields:
                self._value(fields[2], name + b":", one, made, depth)
            elif one.number == 2 and held is not None and one.wire == LENGTH:
                self._members(one.begin, one.end, one.whole, held, made, depth)
            elif one.number != 1 and one.wire in _LONG:
                self._by_number(b'"%d":' % one.number, one, made)

    def _name(self, field: Field | None, found: _Found) -> bytes:
        """A value in quotation marks."""
        if found.wire in _LONG or field is None:
            return _quoted(self._data[found.begin : found.end].decode("utf-8", "replace"))
        return b'"' + self._scalar(field.form, found.begin, found.end)[0] + b'"'

    def _packed(self, form: int, key: bytes, found: _Found, parts: _Parts) -> None:
        """Adds the numbers that stand one behind the other. Flags and fractions are passed over as one."""
        at, end = found.begin, found.end
        if form == Form.SILENT or form in _FLOATS:
            self._put(parts, key, _NULL)
            return
        while 0 <= at < end and self._goes_on():
            number, at = self._scalar(form, at, end)
            if at >= 0:
                self._put(parts, key, number)

    def _scalar(self, form: int, at: int, end: int) -> tuple[bytes, int]:
        """A number, and where what follows it is, -1 where it does not end. null for what says nothing of anybody."""
        packed = _STRUCTS.get(form)
        if packed is None:
            number, at = varint_at(self._data, at, end)
            return (b"%d" % _VARINTS[form](number & _64_BITS) if form in _VARINTS else _NULL), at
        after = at + packed.size
        if after > end:
            return _NULL, -1
        (value,) = packed.unpack_from(self._data, at)
        if form in _FLOATS and not value.is_integer():
            return _NULL, after
        return b"%d" % value, after

    def _by_number(self, key: bytes, found: _Found, parts: _Parts) -> None:
        """Adds what reads as text in octets that nothing describes."""
        before = len(self.texts)
        self._octets(self._data[found.begin : found.end], 0, found.whole)
        texts = self.texts[before:]
        del self.texts[before:]
        for text in texts:
            self._put(parts, key, _quoted(text.decode("utf-8", "replace")))

    def _put(self, parts: _Parts, key: bytes, value: bytes) -> None:
        self._room -= len(key) + len(value) + 1
        if self._room >= 0:
            parts.append(key + value)
        else:
            self.cut = True


def _extent(data: bytes, wire: int, at: int, end: int) -> tuple[int, int]:
    """Where a value begins and ends; -1: beyond the end. Raises _NotOfThisTypeError where there is no such value."""
    if wire == LENGTH:
        size, at = varint_at(data, at, end)
        stop = at + size
    elif wire == VARINT:
        _, stop = varint_at(data, at, end)
    elif wire in FIXED:
        stop = at + FIXED[wire]
    else:
        raise _NotOfThisTypeError
    return at, -1 if at < 0 or stop > end else stop
