"""The structure of an HPACK header block (RFC 7541 section 6), without the tables: what has to be known beforehand.

An observer must know before it decodes whether a block is whole, how many fields it has and how far back it refers:
a decoder that stops in the middle has changed its table already, and the compiled one ends with a panic where a block
is cut. Neither names nor values are looked at.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_OCTETS: Final = 4
"""Octets of an integer after its prefix: 2^28, as the compiled decoder has it. No index and no length is larger."""


UNKNOWN_NAME: Final = b""
UNKNOWN_VALUE: Final = b"\x00"
"""Stand in a table for what was inserted before we came. No name is empty, NUL is in no value (RFC 9113 section 8.2.1).
Both together are as small as an entry can be (RFC 7541 section 4.1), so there is room for as many as there may be."""


class HeaderBlockError(Exception):
    """A header block could not be decoded.

    Attributes:
        limit: it was too large, rather than malformed.
    """

    def __init__(self, message: str, *, limit: bool) -> None:
        super().__init__(message)
        self.limit = limit


class BeyondTableError(Exception):
    """The compiled decoder cannot hold the table that this block needs. None of its fields is decoded.

    Attributes:
        size: the table's size as the encoder last set it, bytes.
        entries: what the table holds, newest first.
        partial: there may be others behind them.
    """

    def __init__(self, size: int, entries: list[tuple[bytes, bytes]], *, partial: bool) -> None:
        super().__init__()
        self.size = size
        self.entries = entries
        self.partial = partial


class Shape(NamedTuple):
    """What a block consists of."""

    fields: int
    """How many field lines."""
    reach: int
    """The highest index it refers to, as indices are before its first octet; entries it inserts itself left out."""
    largest_size: int
    """The largest of its size updates, in bytes; 0 where there is none."""
    begin: int
    """Where the first field begins, behind the size updates."""


def measure(block: bytes) -> Shape:
    """The shape of a complete header block.

    Raises:
        HeaderBlockError: it is no header block, whatever the tables hold: cut, or with a size update behind a field
            (RFC 7541 section 4.2).
    """
    at = fields = inserted = reach = largest = 0
    end = len(block)
    try:
        while at < end and block[at] & 0xE0 == 0x20:
            size = block[at] & 0x1F
            at += 1
            if size == 0x1F:
                size, at = _integer(block, at, size)
            largest = max(largest, size)
        begin = at
        while at < end:
            octet = block[at]
            at += 1
            fields += 1
            # What follows is done for every field of every block, so without calls (max is one).
            if octet & 0x80:  # indexed
                index = octet & 0x7F
                if index == 0x7F:
                    index, at = _integer(block, at, index)
                if index - inserted > reach:  # noqa: PLR1730
                    reach = index - inserted
                continue
            if octet & 0x40:  # literal, to be inserted
                index = mask = 0x3F
                index &= octet
                new = 1
            elif octet & 0x20:
                raise HeaderBlockError("size update behind a field", limit=False)
            else:
                index = mask = 0x0F
                index &= octet
                new = 0
            if index == mask:
                index, at = _integer(block, at, index)
            if index:
                if index - inserted > reach:  # noqa: PLR1730
                    reach = index - inserted
            else:
                length = block[at] & 0x7F
                at += 1
                if length == 0x7F:
                    length, at = _integer(block, at, length)
                at += length
            inserted += new
            length = block[at] & 0x7F
            at += 1
            if length == 0x7F:
                length, at = _integer(block, at, length)
            at += length
    except IndexError:
        raise HeaderBlockError("cut", limit=False) from None
    if at != end:
        raise HeaderBlockError("cut", limit=False)
    return Shape(fields, reach, largest, begin)


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """An integer whose prefix is all ones (RFC 7541 section 5.1), and where the next octet is."""
    value = prefix
    for shift in range(0, 7 * _OCTETS, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise HeaderBlockError("integer too long", limit=False)
