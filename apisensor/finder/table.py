"""Named functions of an ELF symbol table, by byte search."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

import msgspec

_SYMBOL = struct.Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section index, value, size."""
SYMBOL_BYTES = _SYMBOL.size
_STT_FUNC, _SHN_UNDEF = 2, 0
_MOST_TRIES = 100_000
"""Places looked at for one name; a file made to have more is not worth it."""


class Symbol(msgspec.Struct, frozen=True):
    """A function that a file defines."""

    name: str
    address: int
    """Virtual."""
    size: int


def in_table(symbols: bytes, strings: bytes, names: Iterable[str]) -> Iterator[Symbol]:
    """The functions of these names in a symbol table with its string table. Large programs have a million symbols, and
    reading each into an object takes minutes."""
    for name in names:
        ended = name.encode() + b"\0"
        at = strings.find(ended)
        tries = 0
        while at >= 0 and tries < _MOST_TRIES:
            tries += 1
            # A name may also be the end of a longer one: then no symbol, or another one, begins here.
            found = _defined(symbols, at)
            if found is not None:
                yield Symbol(name, *found)
                break
            at = strings.find(ended, at + 1)


def _defined(symbols: bytes, name_at: int) -> tuple[int, int] | None:
    """Address and size of the function defined under the name at this offset of the string table."""
    wanted = name_at.to_bytes(4, "little")
    place = symbols.find(wanted)
    tries = 0
    while place >= 0 and tries < _MOST_TRIES:
        tries += 1
        if place % _SYMBOL.size == 0:
            _, info, _, section, value, size = _SYMBOL.unpack_from(symbols, place)
            if info & 0xF == _STT_FUNC and section != _SHN_UNDEF:
                return value, size
        place = symbols.find(wanted, place + 1)
    return None
