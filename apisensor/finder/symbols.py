"""Which TLS functions an ELF file defines, and where in the file they begin."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from apisensor.finder.functions import ROLES

VERSION_BYTES = 128 << 20
"""A larger file is not searched for its version text: Node.js has 100 MB, nothing that embeds OpenSSL has much more."""

_VERSION = re.compile(rb"(?:OpenSSL|GnuTLS) (\d{1,2}\.\d{1,3}\.\d{1,3}[a-z]{0,2}(?:-[a-z0-9]{1,8})?)[ \x00]")
# A fixed, linear pattern over a bounded file; the standard re is safe for it.
_SYMBOL = struct.Struct("<IBBHQQ")
"""Elf64_Sym: name, info, other, section index, value, size."""
_STT_FUNC, _SHN_UNDEF = 2, 0
_MOST_TRIES = 100_000
"""Places looked at for one name; a file made to have more is not worth it."""
_BLOCK = 1 << 20
_OVERLAP = 64


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The finder's answer: fixed form, whatever the file holds."""

    offsets: dict[str, int]
    """Function (of finder.functions.ROLES) to offset in the file; empty where the file defines none of them."""
    version: str | None = None
    """Of the library, from its version text."""
    error: str | None = None
    """Why the file could not be read as ELF, one line."""
    question: int = 0
    """Number of the question that this answers."""


def find_functions(file: BinaryIO) -> Found:
    """Where the functions begin. Never raises on what the file contains."""
    return _safely(lambda: Found(_offsets(ELFFile(file))))


def find_version(file: BinaryIO) -> Found:
    """The library's version from its text; apart, because it reads the whole file. Never raises on what it contains."""
    return _safely(lambda: Found({}, _version(file)))


def _safely(answer: Callable[[], Found]) -> Found:
    try:
        return answer()
    except Exception as error:  # noqa: BLE001
        # pyelftools meets a malformed file with whatever its bytes lead to: struct.error, KeyError, MemoryError, ...
        return Found({}, error=f"{type(error).__name__}: {error}"[:200])


def _offsets(elf: Any) -> dict[str, int]:
    segments = [
        (segment["p_vaddr"], segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments("PT_LOAD")
        if segment["p_flags"] & 1
    ]
    found: dict[str, int] = {}
    for name, value in _defined(elf):
        for address, size, offset in segments:
            if address <= value < address + size:
                found[name] = value - address + offset
    return found


def _defined(elf: Any) -> list[tuple[str, int]]:
    """(name, virtual address) of the functions that the file defines."""
    for name in (".dynsym", ".symtab"):
        section = elf.get_section_by_name(name)
        if isinstance(section, SymbolTableSection) and section["sh_entsize"] == _SYMBOL.size:
            found = list(_in_table(section.data(), elf.get_section(section["sh_link"]).data()))
            if found:
                return found
    return []


def _in_table(symbols: bytes, strings: bytes) -> Iterator[tuple[str, int]]:
    """The wanted functions of a symbol table, by byte search: large programs have a million symbols, and reading each
    into an object takes minutes."""
    for function in ROLES:
        name = function.encode() + b"\0"
        at = strings.find(name)
        tries = 0
        while at >= 0 and tries < _MOST_TRIES:
            tries += 1
            # A name may also be the end of a longer one: then no symbol, or another one, begins here.
            address = _address(symbols, at)
            if address is not None:
                yield function, address
                break
            at = strings.find(name, at + 1)


def _address(symbols: bytes, name_at: int) -> int | None:
    """Of the function defined under the name at this offset of the string table."""
    wanted = name_at.to_bytes(4, "little")
    place = symbols.find(wanted)
    tries = 0
    while place >= 0 and tries < _MOST_TRIES:
        tries += 1
        if place % _SYMBOL.size == 0:
            _, info, _, section, value, _ = _SYMBOL.unpack_from(symbols, place)
            if info & 0xF == _STT_FUNC and section != _SHN_UNDEF:
                return int(value)
        place = symbols.find(wanted, place + 1)
    return None


def _version(file: BinaryIO) -> str | None:
    file.seek(0)
    carried, read = b"", 0
    while read < VERSION_BYTES and (block := file.read(_BLOCK)):
        read += len(block)
        match = _VERSION.search(carried + block)
        if match:
            return match[1].decode("ascii")
        carried = block[-_OVERLAP:]
    return None
