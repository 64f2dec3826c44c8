"""HPACK (RFC 7541) for an observer: a decoder that may join late, and never makes up a value.

Indices into the dynamic table count from its newest entry. So a decoder that has not seen the older ones resolves the
newer ones rightly, and knows which ones it cannot know: every index beyond what it saw inserted. The same holds after
a lost header block, when it has to forget everything: nobody knows how many entries the lost block inserted. For the
same reason a table that holds less, or more, than the peer's gives no wrong value: an encoder only refers to what its
decoder still has.

This module is the only one that knows which HPACK implementations there are: the compiled one where it is installed,
ten times as fast; the one in Python otherwise, and where a table is beyond the compiled one.
"""

from __future__ import annotations

from apisensor.protocols.header_block import BeyondTableError, HeaderBlockError, measure
from apisensor.protocols.hpack_pure import PureDecoder, silence
from apisensor.protocols.message import Field

try:
    from apisensor.protocols.hpack_native import NativeDecoder
except ImportError:  # jh2 is not installed, or has no compiled part for this machine
    COMPILED = False
else:
    COMPILED = True

__all__ = ["COMPILED", "HeaderBlockError", "HeaderDecoder"]


class HeaderDecoder:
    """Decodes the header blocks of one direction of one connection, in their order."""

    __slots__ = ("_compiled", "_decoder", "_max_list", "_max_table")

    def __init__(self, max_list: int, max_table: int, *, joined_late: bool, compiled: bool = COMPILED) -> None:
        """
        Args:
            max_list: Bytes of a decoded header list, counted as in RFC 9113 section 6.5.2; a longer one is refused.
            max_table: Bytes of the dynamic table kept at most.
            joined_late: Blocks may have passed before the first one that is decoded here.
            compiled: Use the compiled decoder.
        """
        silence()
        self._max_list = max_list
        self._max_table = max_table
        self._compiled = compiled
        self._decoder = self._new(partial=joined_late)

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a complete header block; None for a name or value that is not known.

        Raises:
            HeaderBlockError: the block is malformed or too large. Whatever the decoder knew is forgotten.
        """
        try:
            shape = measure(block)
            try:
                return self._decoder.decode(block, shape)
            except BeyondTableError as held:
                self._decoder = PureDecoder(
                    self._max_list, self._max_table, partial=held.partial, size=held.size, entries=held.entries
                )
                return self._decoder.decode(block, shape)
        except HeaderBlockError:
            self.forget()
            raise

    def forget(self) -> None:
        """A block was lost: all entries so far are unknown from here on."""
        self._decoder = self._new(partial=True)

    def _new(self, *, partial: bool) -> PureDecoder | NativeDecoder:
        make = NativeDecoder if self._compiled else PureDecoder
        return make(self._max_list, self._max_table, partial=partial)
