"""HPACK (RFC 7541) for an observer: a decoder that may join late, and never makes up a value.

Indices into the dynamic table count from its newest entry. So a decoder that has not seen the older ones resolves the
newer ones rightly, and knows which ones it cannot know: every index beyond what it saw inserted. The same holds after
a lost header block, when it has to forget everything: nobody knows how many entries the lost block inserted. For the
same reason a table that holds less, or more, than the peer's gives no wrong value: an encoder only refers to what its
decoder still has.

This module is the only one that knows which HPACK implementation is used.
"""

from __future__ import annotations

import logging

import hpack
from hpack.table import HeaderTable

from apisensor.protocols.message import Field

_UNKNOWN = b"\x00unknown"
"""Stands for a name or value that was inserted before we came. NUL is legal in neither (RFC 9113 section 8.2.1)."""

_ANY_SIZE = 2**32 - 1
"""The table size is what the encoder says in its size updates; the limit it agreed on is not ours to enforce."""

_LOGGERS = ("hpack", "hpack.hpack", "hpack.table", "hpack.huffman")
_SILENT = logging.CRITICAL + 1

_set_maxsize = HeaderTable.maxsize.fset  # type: ignore[attr-defined]


class HeaderBlockError(Exception):
    """A header block could not be decoded. Whatever the decoder knew is forgotten.

    Attributes:
        limit: it was too large, rather than malformed.
    """

    def __init__(self, message: str, *, limit: bool) -> None:
        super().__init__(message)
        self.limit = limit


class _Table(HeaderTable):
    """hpack's table, with unknown entries behind the known ones, and bounded."""

    def __init__(self, bound: int, *, partial: bool) -> None:
        super().__init__()
        self.bound = bound
        self.partial = partial
        """There may be entries that we did not see."""
        if partial:
            self._maxsize = bound

    def get_by_index(self, index: int) -> tuple[bytes, bytes]:
        """hpack's, but for the entries that are not known.

        Raises:
            hpack.InvalidTableIndex: there is no such entry.
        """
        if self.partial and index > self.STATIC_TABLE_LENGTH + len(self.dynamic_entries):
            return _UNKNOWN, _UNKNOWN
        return super().get_by_index(index)

    def _resize(self, size: int) -> None:
        if size > self.bound:
            size = self.bound
            self.partial = True
        _set_maxsize(self, size)

    maxsize = property(HeaderTable.maxsize.fget, _resize)  # type: ignore[attr-defined]


class HeaderDecoder:
    """Decodes the header blocks of one direction of one connection, in their order."""

    __slots__ = ("_bound", "_decoder", "_table")

    def __init__(self, max_list: int, max_table: int, *, joined_late: bool) -> None:
        """
        Args:
            max_list: Bytes of a decoded header list, counted as in RFC 7541 section 4.1; a longer one is refused.
            max_table: Bytes of the dynamic table kept at most.
            joined_late: Blocks may have passed before the first one that is decoded here.
        """
        silence()
        self._bound = max_table
        self._decoder = hpack.Decoder(max_header_list_size=max_list)
        self._decoder.max_allowed_table_size = _ANY_SIZE
        self._table = _Table(max_table, partial=joined_late)
        self._decoder.header_table = self._table

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a complete header block; None for a name or value that is not known.

        Raises:
            HeaderBlockError: the block is malformed or too large.
        """
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            self.forget()
            raise HeaderBlockError(str(error), limit=True) from error
        except (hpack.HPACKError, IndexError, ValueError) as error:  # IndexError: hpack, a block cut in a literal
            self.forget()
            raise HeaderBlockError(str(error), limit=False) from error
        if self._table.partial:
            return [
                (None if name == _UNKNOWN else name, None if value == _UNKNOWN else value) for name, value in fields
            ]
        return [(name, value) for name, value in fields]

    def forget(self) -> None:
        """A block was lost: all entries so far are unknown from here on."""
        self._table = _Table(self._bound, partial=True)
        self._decoder.header_table = self._table


def silence() -> None:
    """hpack logs the headers it decodes at DEBUG: they must appear in no log, whatever the root logger's level is."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level != _SILENT:
            logger.setLevel(_SILENT)
