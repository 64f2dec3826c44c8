"""HPACK by `hpack`, in Python: where the compiled decoder is not installed, or cannot hold the table."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import hpack
from hpack.table import HeaderTable

from apisensor.protocols.header_block import UNKNOWN_NAME, UNKNOWN_VALUE, HeaderBlockError, Shape
from apisensor.protocols.message import Field

_ANY_SIZE = 2**32 - 1
"""The table size is what the encoder says in its size updates; the limit it agreed on is not ours to enforce."""

_LOGGERS = ("hpack", "hpack.hpack", "hpack.table", "hpack.huffman")
_SILENT = logging.CRITICAL + 1

_set_maxsize = HeaderTable.maxsize.fset  # type: ignore[attr-defined]


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
            return UNKNOWN_NAME, UNKNOWN_VALUE
        return super().get_by_index(index)

    def _resize(self, size: int) -> None:
        if size > self.bound:
            size = self.bound
            self.partial = True
        _set_maxsize(self, size)

    maxsize = property(HeaderTable.maxsize.fget, _resize)  # type: ignore[attr-defined]


class PureDecoder:
    """One direction's decoder.

    Args:
        max_list: Bytes of a decoded header list.
        max_table: Bytes of the dynamic table kept at most.
        partial: Blocks may have passed before the first one that is decoded here.
        size: The table's size as the encoder last set it; None: as at the beginning.
        entries: What the table holds already, newest first.
    """

    __slots__ = ("_decoder", "_table")

    def __init__(
        self,
        max_list: int,
        max_table: int,
        *,
        partial: bool,
        size: int | None = None,
        entries: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_list)
        self._decoder.max_allowed_table_size = _ANY_SIZE
        self._table = _Table(max_table, partial=partial)
        self._decoder.header_table = self._table
        if size is not None:
            self._table.maxsize = size
        for name, value in reversed(entries):
            self._table.add(name, value)

    def decode(self, block: bytes, _shape: Shape) -> list[Field]:
        """The fields of a block.

        Raises:
            HeaderBlockError: the block is malformed, or the list too large.
        """
        try:
            fields = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            raise HeaderBlockError(str(error), limit=True) from error
        except (hpack.HPACKError, IndexError) as error:  # IndexError: hpack, a block cut in a literal
            raise HeaderBlockError(str(error), limit=False) from error
        if self._table.partial:
            return [(name or None, None if value == UNKNOWN_VALUE else value) for name, value in fields]
        return [(name, value) for name, value in fields]


def silence() -> None:
    """hpack logs the headers it decodes at DEBUG: they must appear in no log, whatever the root logger's level is."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level != _SILENT:
            logger.setLevel(_SILENT)
