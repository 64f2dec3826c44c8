"""Named functions of an ELF symbol table: time and memory grow with the table's size and no faster."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec
from elftools.common.exceptions import ELFError

_SYMBOL = struct.Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section index, value, size."""
SYMBOL_BYTES = _SYMBOL.size
_STT_FUNC, _SHN_UNDEF = 2, 0
_WORDS = SYMBOL_BYTES // 4
MOST_SYMBOLS = 5_000_000
"""Of one table, which take 0.3 s; Chromium with symbols has some two million."""
_MOST_PLACES = 10_000
"""Where one name stands in the texts; a file made to have more is not worth it."""


class Symbol(msgspec.Struct, frozen=True):
    """A function that a file defines."""

    name: str
    address: int
    """Virtual."""
    size: int


def in_table(symbols: bytes, strings: bytes, names: Iterable[str]) -> Iterator[Symbol]:
    """The functions of these names in a symbol table with its string table. Large programs have a million symbols, and
    reading each into an object takes minutes.

    Raises:
        ELFError: The table has more symbols than any program.
    """
    count = len(symbols) // SYMBOL_BYTES
    if count > MOST_SYMBOLS:
        raise ELFError(f"more than {MOST_SYMBOLS} symbols")
    wanted = {place: name for name in names for place in _places(strings, name.encode() + b"\0")}
    if not wanted:
        return
    found: set[str] = set()
    # st_name of each symbol: every sixth word.
    offsets = memoryview(symbols)[: count * SYMBOL_BYTES].cast("I")[::_WORDS]
    for index, offset in enumerate(offsets):
        name = wanted.get(offset)
        if name is None or name in found:
            continue
        _, info, _, section, value, size = _SYMBOL.unpack_from(symbols, index * SYMBOL_BYTES)
        if info & 0xF == _STT_FUNC and section != _SHN_UNDEF:
            found.add(name)
            yield Symbol(name, value, size)


def _places(strings: bytes, ended: bytes) -> Iterator[int]:
    """Where a name stands in the texts, also as the end of a longer one: linkers let such share their bytes."""
    at = strings.find(ended)
    for _ in range(_MOST_PLACES):
        if at < 0:
            return
        yield at
        at = strings.find(ended, at + 1)
