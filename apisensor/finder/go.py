"""Where the functions of Go's crypto/tls lie in a program, and where they return.

Go moves its stacks, so no return probe may be put on them: each return instruction of a function gets a probe of its
own, and the function has to be disassembled to find them all. Names come from the symbol table, in stripped programs
from the table that Go's own tracebacks use (.gopclntab: src/internal/abi/symtab.go, runtime/symtab.go), which no option
of the linker leaves out. Only x86-64 and the calling convention in registers (Go 1.17 and later).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from elftools.elf.sections import SymbolTableSection

from apisensor.finder.table import in_table

MAGICS = {0xFFFFFFF0: "1.18", 0xFFFFFFF1: "1.20"}
"""Of .gopclntab: the Go version that brought the form. Both have the same fields where it is read here."""
MOST_FUNCTIONS = 2_000_000
"""Of one program; the largest real ones have some 400,000."""
LARGEST = 1 << 16
"""Bytes of one function; those that are looked for have some 2,000."""
_HEADER = struct.Struct("<I4xQQQQQQQQ")
"""magic, functions, files, start of text, offsets: names, compile units, files, program counters, functions."""
_ENTRY = struct.Struct("<II")
_MODULE_TEXT = 22 * 8
"""Offset of moduledata.text in .go.module (Go 1.26), where the table's header does not tell the start of text."""
_STACK_CHECK = b"\x3b\x66\x10"
"""The end of `cmp %rsp, 16(%r14)`: every larger function begins with it since Go 1.17, whose r14 is the goroutine. It
tells that a place is a function's beginning and that the convention is the one in registers."""
_CHECK_WITHIN = 24
_BUILD_INFO = b"\xff Go buildinf:"


class Place(msgspec.Struct, frozen=True):
    """One function, in virtual addresses."""

    begin: int
    size: int


def places(elf: Any, names: Iterable[str]) -> dict[str, Place]:
    """The functions that the program has, by its symbols, else by .gopclntab."""
    wanted = list(names)
    section = elf.get_section_by_name(".symtab")
    if isinstance(section, SymbolTableSection):
        strings = elf.get_section(section["sh_link"]).data()
        return {symbol.name: Place(symbol.address, symbol.size) for symbol in in_table(section.data(), strings, wanted)}
    for section in elf.iter_sections():
        if section.name.endswith(".gopclntab"):
            return _of_table(elf, section, wanted)
    return {}


def is_go(elf: Any) -> bool:
    return any(section.name.endswith((".gopclntab", ".go.buildinfo")) for section in elf.iter_sections())


def version(elf: Any) -> str | None:
    """The Go that built it, as "1.26.1" (debug/buildinfo; programs of Go before 1.18 do not say it in place)."""
    section = elf.get_section_by_name(".go.buildinfo")
    data = section.data()[:4096] if section is not None else b""
    if not data.startswith(_BUILD_INFO) or not data[15] & 2:
        return None
    length = data[32]  # a varint; version texts are shorter than 128 bytes
    text = data[33 : 33 + length].split(b" ")[0]
    return text.removeprefix(b"go").decode("ascii") if text.startswith(b"go") else None


def begins_a_function(code: bytes) -> bool:
    """Is this the beginning of a function of Go's, compiled for the calling convention in registers?"""
    return _STACK_CHECK in code[:_CHECK_WITHIN]


def _of_table(elf: Any, section: Any, wanted: list[str]) -> dict[str, Place]:
    table = section.data()
    magic, functions, _, text, names_at, _, _, _, functions_at = _HEADER.unpack_from(table)
    if magic not in MAGICS or functions > MOST_FUNCTIONS:
        return {}
    offsets = _offsets_in_text(table, int(functions), int(names_at), int(functions_at), wanted)
    for start in _text_starts(elf, section, text):
        found = {name: Place(start + begin, size) for name, (begin, size) in offsets.items()}
        if found and all(begins_a_function(_read(elf, place.begin, _CHECK_WITHIN)) for place in found.values()):
            return found
    return {}


def _offsets_in_text(
    table: bytes, functions: int, names_at: int, functions_at: int, wanted: list[str]
) -> Mapping[str, tuple[int, int]]:
    """Function: (offset from the start of text, size)."""
    of_name: dict[int, str] = {}
    for name in wanted:
        at = table.find(b"\0" + name.encode() + b"\0", names_at, functions_at)
        if at >= 0:
            of_name[at + 1 - names_at] = name
    found: dict[str, tuple[int, int]] = {}
    entries = memoryview(table)[functions_at : functions_at + _ENTRY.size * functions]
    for index, (begin, where) in enumerate(_ENTRY.iter_unpack(entries)):
        name_offset = int.from_bytes(table[functions_at + where + 4 : functions_at + where + 8], "little")
        known = of_name.get(name_offset)
        if known is not None:
            (end,) = struct.unpack_from("<I", table, functions_at + _ENTRY.size * (index + 1))
            if 0 < end - begin <= LARGEST:
                found[known] = (begin, end - begin)
    return found


def _text_starts(elf: Any, table: Any, told: int) -> Iterator[int]:
    """Where text may start; the caller tries which of them is right."""
    if told:
        yield told
    text, module = elf.get_section_by_name(".text"), elf.get_section_by_name(".go.module")
    if text is not None:
        yield text["sh_addr"]
    if module is not None:
        yield int.from_bytes(module.data()[_MODULE_TEXT : _MODULE_TEXT + 8], "little")
    # Position-independent programs: the same two words, as the dynamic linker would fill them.
    words = [table["sh_addr"] + 24, *([module["sh_addr"] + _MODULE_TEXT] if module is not None else [])]
    for name in (".rela.dyn", ".rela"):
        relocations = elf.get_section_by_name(name)
        data = relocations.data() if relocations is not None else b""
        for word in words:
            at = data.find(word.to_bytes(8, "little"))
            if at >= 0 and at % 24 == 0:
                yield int.from_bytes(data[at + 16 : at + 24], "little")


def _read(elf: Any, address: int, size: int) -> bytes:
    for segment in elf.iter_segments("PT_LOAD"):
        inside = address - segment["p_vaddr"]
        if 0 <= inside < segment["p_filesz"]:
            elf.stream.seek(segment["p_offset"] + inside)
            return bytes(elf.stream.read(min(size, segment["p_filesz"] - inside)))
    return b""


def code_of(elf: Any, place: Place) -> bytes:
    """The bytes of a function."""
    return _read(elf, place.begin, min(place.size, LARGEST))
