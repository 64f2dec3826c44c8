"""Which TLS functions an ELF file defines, and where in the file they begin."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import msgspec
from elftools.elf.elffile import ELFFile
from elftools.elf.hash import GNUHashTable
from elftools.elf.sections import SymbolTableSection

FUNCTIONS = (
    "SSL_read",
    "SSL_write",
    "SSL_read_ex",
    "SSL_write_ex",
    "SSL_write_ex2",
    "SSL_set_fd",
    "SSL_set_rfd",
    "SSL_set_wfd",
    "SSL_set_bio",
    "SSL_free",
    "SSL_clear",
    "BIO_write",
)
"""What is looked for; nothing else is ever answered."""

VERSION_BYTES = 128 << 20
"""A larger file is not searched for its version text: Node.js has 100 MB, nothing that embeds OpenSSL has much more."""

_VERSION = re.compile(rb"OpenSSL (\d{1,2}\.\d{1,3}\.\d{1,3}[a-z]{0,2}(?:-[a-z0-9]{1,8})?)[ \x00]")
# A fixed, linear pattern over a bounded file; the standard re is safe for it.
_BLOCK = 1 << 20
_OVERLAP = 64


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The finder's answer: fixed form, whatever the file holds."""

    offsets: dict[str, int]
    """Function name to offset in the file; empty where the file defines none of them."""
    version: str | None = None
    """Of OpenSSL, from its version text."""
    error: str | None = None
    """Why the file could not be read as ELF, one line."""
    question: int = 0
    """Number of the question that this answers."""


def find(file: BinaryIO) -> Found:
    """Looks a file over. Never raises on what the file contains."""
    try:
        elf = ELFFile(file)
        offsets = _offsets(elf)
        version = _version(file) if offsets else None
    except Exception as error:  # noqa: BLE001
        # pyelftools meets a malformed file with whatever its bytes lead to: struct.error, KeyError, MemoryError, ...
        return Found({}, error=f"{type(error).__name__}: {error}"[:200])
    return Found(offsets, version)


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
    """(name, virtual address) of the functions that the file defines; by hash table where it has one."""
    dynamic = elf.get_section_by_name(".dynsym")
    hashes = elf.get_section_by_name(".gnu.hash")
    if isinstance(dynamic, SymbolTableSection) and hashes is not None:
        table = GNUHashTable(elf, hashes["sh_offset"], dynamic)
        symbols = [table.get_symbol(name) for name in FUNCTIONS]
    else:
        section = dynamic or elf.get_section_by_name(".symtab")
        if not isinstance(section, SymbolTableSection):
            return []
        wanted = set(FUNCTIONS)
        symbols = [symbol for symbol in section.iter_symbols() if symbol.name in wanted]
    return [
        (symbol.name, symbol["st_value"])
        for symbol in symbols
        if symbol is not None and symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["type"] == "STT_FUNC"
    ]


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
