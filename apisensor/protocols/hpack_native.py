"""HPACK by `jh2`'s compiled decoder, which is made for an endpoint: how an observer uses it.

It cannot hold an entry that is not known, so a table joined late gets placeholders, which are evicted as the peer's
oldest entries are. PLACEHOLDERS of them stand for any table of 4,096 bytes. Where a block refers further back, or the
encoder uses a larger table than is kept here, the decoder gives up before the first field (`BeyondTableError`) and
says what it holds. As long as the encoder's size is not known, the table is cut to its bound between blocks and not in
them: so what was there when a block began is there until it ends.

Its setters do not resize the table, an update in a block does; it counts no 32 bytes for each field of a list; it
panics where a block is cut: `header_block.measure` comes first, for all of these. It is lenient in one thing: padding
of a Huffman-coded string that is not the beginning of EOS (RFC 7541 section 5.2) is passed over.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from hpack.hpack import encode_integer
from jh2._hazmat import Decoder, HPACKError, OversizedHeaderListError  # type: ignore[import-untyped]

from apisensor.protocols.header_block import UNKNOWN_NAME, UNKNOWN_VALUE, BeyondTableError, HeaderBlockError, Shape
from apisensor.protocols.message import Field

PLACEHOLDERS: Final = 128
"""4,096 bytes, the size that encoders use unless told otherwise, have room for 124. Each costs a flow 100 bytes."""

STATIC: Final = 61
"""Entries of the static table (RFC 7541 appendix A)."""

FIELD_OVERHEAD: Final = 32
"""What each field counts beyond its name and value (RFC 9113 section 6.5.2)."""

_ANY_LIST: Final = 2**32 - 1
"""For blocks of our own."""

_name_and_value: Final = itemgetter(0, 1)

_PLACE: Final = b"\x40\x00" + UNKNOWN_NAME + b"\x01" + UNKNOWN_VALUE
"""Literal with incremental indexing: a placeholder."""


class NativeDecoder:
    """One direction's decoder.

    Args:
        max_list: Bytes of a decoded header list.
        max_table: Bytes of the dynamic table kept at most.
        partial: Blocks may have passed before the first one that is decoded here.
    """

    __slots__ = ("_cut", "_decode", "_decoder", "_max_list", "_max_table", "_partial")

    def __init__(self, max_list: int, max_table: int, *, partial: bool) -> None:
        self._max_list = max_list
        self._max_table = max_table
        self._partial = partial
        self._decoder = Decoder(_ANY_LIST)
        self._decoder.max_allowed_table_size = within = max_table + max_list
        self._decode = self._decoder.decode
        self._cut = b""
        """Cuts the table to its bound, where the encoder has not told its size since we came."""
        if partial:
            self._cut = _size_update(max_table) + _size_update(within)
            self._decode(_size_update(within) + _PLACE * PLACEHOLDERS)

    def decode(self, block: bytes, shape: Shape) -> list[Field]:
        """The fields of a block.

        Raises:
            BeyondTableError: the table that it needs is not here.
            HeaderBlockError: the block is malformed, or the list too large.
        """
        count, reach, size, begin = shape
        if size > self._max_table:
            raise self._beyond()
        if self._partial:
            if begin:  # the updates may remove placeholders
                self._decode(block[:begin])
                self._cut = b""
            elif self._cut:
                self._decode(self._cut)
            if reach > STATIC and not self._has(reach):
                raise self._beyond()
        room = self._max_list - count * FIELD_OVERHEAD
        if room < 0:
            raise HeaderBlockError("header list too large", limit=True)
        self._decoder.max_header_list_size = room + 1  # it refuses what is as large as that
        try:
            fields = self._decode(block)
        except OversizedHeaderListError as error:
            raise HeaderBlockError(str(error), limit=True) from error
        except HPACKError as error:
            raise HeaderBlockError(str(error), limit=False) from error
        if self._partial:
            return [(name or None, None if value == UNKNOWN_VALUE else value) for name, value, _ in fields]
        return list(map(_name_and_value, fields))

    def _beyond(self) -> BeyondTableError:
        size = self._max_table if self._cut else self._decoder.header_table_size
        return BeyondTableError(size, self._entries(), partial=self._partial)

    def _entries(self) -> list[tuple[bytes, bytes]]:
        """What the table holds, newest first, up to the first placeholder."""
        held: list[tuple[bytes, bytes]] = []
        self._decoder.max_header_list_size = _ANY_LIST
        while True:
            try:
                [(name, value, _)] = self._decode(_indexed(STATIC + 1 + len(held)))
            except HPACKError:
                return held
            if not name and value == UNKNOWN_VALUE:
                return held
            held.append((name, value))

    def _has(self, index: int) -> bool:
        self._decoder.max_header_list_size = _ANY_LIST
        try:
            self._decode(_indexed(index))
        except HPACKError:
            return False
        return True


def _indexed(index: int) -> bytes:
    encoded = encode_integer(index, 7)
    encoded[0] |= 0x80
    return bytes(encoded)


def _size_update(size: int) -> bytes:
    encoded = encode_integer(size, 5)
    encoded[0] |= 0x20
    return bytes(encoded)
