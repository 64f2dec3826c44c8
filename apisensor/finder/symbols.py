"""Which TLS functions an ELF file defines, and where in the file they begin."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from apisensor.finder import go
from apisensor.finder.answer import Found
from apisensor.finder.functions import C_FUNCTIONS, GO
from apisensor.finder.hints import find_hint
from apisensor.finder.instructions import returns_of
from apisensor.finder.table import SYMBOL_BYTES, in_table

VERSION_BYTES = 128 << 20
"""A larger file is not searched for its version text: Node.js has 100 MB, nothing that embeds OpenSSL has much more."""

MOST_RETURNS = 500
"""Of one function; Go's have some 20. A file made to have 60,000 would make an answer that no message holds."""

MOST_PARTS = 2_000
"""Sections, or segments. What linkers make has some 50; each one more costs time, and a file may have 2**32."""

_VERSION = re.compile(rb"(?:OpenSSL|GnuTLS) (\d{1,2}\.\d{1,3}\.\d{1,3}[a-z]{0,2}(?:-[a-z0-9]{1,8})?)[ \x00]")
# A fixed, linear pattern over a bounded file; the standard re is safe for it.
_BLOCK = 1 << 20
_OVERLAP = 64


def find_functions(file: BinaryIO) -> Found:
    """Where the functions begin. Never raises on what the file contains."""
    return _safely(lambda: _functions(_opened(file)))


def find_version(file: BinaryIO) -> Found:
    """The library's version from its text; apart, because it reads the whole file. Never raises on what it contains."""
    return _safely(lambda: Found({}, version=_version(file)))


def find_hints(file: BinaryIO) -> Found:
    """What else the file tells of its TLS; apart, as it reads much of the file. Never raises on what it contains."""
    return _safely(lambda: Found({}, hint=_hint(file)))


def _safely(answer: Callable[[], Found]) -> Found:
    try:
        return answer()
    except Exception as error:  # noqa: BLE001
        # pyelftools meets a malformed file with whatever its bytes lead to: struct.error, KeyError, MemoryError, ...
        return Found({}, error=f"{type(error).__name__}: {error}"[:200])


def _opened(file: BinaryIO) -> Any:
    """The file, of which nothing is read yet. Raises ELFError: it is none, or none that a linker made."""
    elf = ELFFile(file)
    if max(elf.num_sections(), elf.num_segments()) > MOST_PARTS:
        raise ELFError(f"more than {MOST_PARTS} sections or segments")
    return elf


def _functions(elf: Any) -> Found:
    # A program of Go may have C libraries linked in; its own TLS is what it will use.
    return (_go(elf) if go.is_go(elf) else None) or Found(_in_file(elf, _defined(elf)))


def _go(elf: Any) -> Found | None:
    """Go's crypto/tls; None where the program has none."""
    found = go.places(elf, GO.functions)
    if not found:
        return None
    begins = _in_file(elf, [(name, place.begin) for name, place in found.items()])
    roles = {GO.functions[name] for name in begins}
    if len(begins) != len(found) or roles != set(GO.functions.values()):
        return Found({}, error="not all functions of Go's crypto/tls are in it")
    returns = {}
    for name, place in found.items():
        code = go.code_of(elf, place)
        if not go.begins_a_function(code):
            return Found({}, error="Go older than 1.17, or for another calling convention")
        returns[name] = [begins[name] + at for at in returns_of(code)]
        if not returns[name]:
            return Found({}, error=f"{name} cannot be disassembled")
        if len(returns[name]) > MOST_RETURNS:
            return Found({}, error=f"{name} returns in more than {MOST_RETURNS} places")
    return Found(begins, returns)


def _in_file(elf: Any, functions: list[tuple[str, int]]) -> dict[str, int]:
    """Function to file offset, of (name, virtual address); what would lie outside of the file is left out."""
    end = elf.stream.seek(0, io.SEEK_END)
    segments = [
        (segment["p_vaddr"], segment["p_filesz"], segment["p_offset"])
        for segment in elf.iter_segments("PT_LOAD")
        if segment["p_flags"] & 1
    ]
    found: dict[str, int] = {}
    for name, value in functions:
        for address, size, offset in segments:
            place = value - address + offset
            if address <= value < address + size and place < end:
                found[name] = place
    return found


def _defined(elf: Any) -> list[tuple[str, int]]:
    """(name, virtual address) of the functions that the file defines."""
    found: dict[str, int] = {}
    for name in (".symtab", ".dynsym"):
        section = elf.get_section_by_name(name)
        if isinstance(section, SymbolTableSection) and section["sh_entsize"] == SYMBOL_BYTES:
            strings = elf.get_section(section["sh_link"]).data()
            found |= {symbol.name: symbol.address for symbol in in_table(section.data(), strings, C_FUNCTIONS)}
    return list(found.items())


def _hint(file: BinaryIO) -> str | None:
    """Where the file says what of it are constants, texts are there: 20 MB of Chromium's 300."""
    try:
        section = _opened(file).get_section_by_name(".rodata")
    except ELFError:
        section = None
    return find_hint(file) if section is None else find_hint(file, section["sh_offset"], section["sh_size"])


def _version(file: BinaryIO) -> str | None:
    try:
        if version := go.version(_opened(file)):
            return version
    except ELFError:
        pass
    file.seek(0)
    carried, read = b"", 0
    while read < VERSION_BYTES and (block := file.read(_BLOCK)):
        read += len(block)
        match = _VERSION.search(carried + block)
        if match:
            return match[1].decode("ascii")
        carried = block[-_OVERLAP:]
    return None
