"""Small ELF files that a finder can find something in, for a fuzzer to begin with: real ones have megabytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, ClassVar

from elftools.elf.structs import ELFStructs

from apisensor.finder.functions import GO

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_STRTAB, _SYMTAB, _PROGBITS, _DYNSYM, _RELA = 3, 2, 1, 11, 4
_BASE = 0x400000
FUNCTION = b"\x49\x3b\x66\x10" + b"\x90" * 11 + b"\xc3"
"""cmp 16(%r14),%rsp; nop...; ret: as Go begins and ends one, 16 bytes."""


class KeptStructs(ELFStructs):
    """pyelftools' descriptions of what lies in a file, which it makes anew for each: that takes half of the time of a
    small one. They depend on these properties of its header alone, and nothing changes them."""

    _MOST = 100
    _kept: ClassVar[dict[Hashable, dict[str, Any]]] = {}

    def _once(self, key: Hashable, make: Callable[[], None]) -> None:
        if key not in self._kept:
            if len(self._kept) >= self._MOST:
                self._kept.clear()
            make()
            self._kept[key] = dict(vars(self))
        vars(self).update(self._kept[key])

    def create_basic_structs(self) -> None:
        self._once((self.little_endian, self.elfclass), super().create_basic_structs)

    def create_advanced_structs(self, *header: Any) -> None:
        make = partial(super().create_advanced_structs, *header)
        self._once((self.little_endian, self.elfclass, *header), make)


def elf(*sections: tuple[str, int, int, bytes], machine: int = 62) -> bytes:
    """A file of these sections: name, type, the section it is linked to, content; one segment maps it all at _BASE."""
    names = b"\0" + b"".join(name.encode() + b"\0" for name, *_ in sections) + b".shstrtab\0"
    every = [*sections, (".shstrtab", _STRTAB, 0, names)]
    at = _HEADER.size + _SEGMENT.size
    bodies, rows = b"", [bytes(_SECTION.size)]
    for name, kind, link, content in every:
        size = {_SYMTAB: _SYMBOL.size, _DYNSYM: _SYMBOL.size, _RELA: 24}.get(kind, 0)
        place = names.index(b"\0" + name.encode() + b"\0") + 1
        here = at + len(bodies)
        rows.append(_SECTION.pack(place, kind, 6, _BASE + here, here, len(content), link, 0, 8, size))
        bodies += content
    table = at + len(bodies)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    shape = (_HEADER.size, _SEGMENT.size, 1, _SECTION.size, len(rows), len(every))
    header = _HEADER.pack(identity, 3, machine, 1, _BASE, _HEADER.size, table, 0, *shape)
    whole = table + _SECTION.size * len(rows)
    segment = _SEGMENT.pack(1, 5, 0, _BASE, _BASE, whole, whole, 0x1000)
    return header + segment + bodies + b"".join(rows)


def _symbols(*functions: str, size: int = len(FUNCTION)) -> tuple[bytes, bytes]:
    """A symbol table and its texts; the functions lie behind the headers, so many bytes each."""
    texts, symbols = b"\0", bytes(_SYMBOL.size)
    for number, name in enumerate(functions):
        place = _BASE + _HEADER.size + _SEGMENT.size + number * size
        symbols += _SYMBOL.pack(len(texts), 0x12, 0, 1, place, size)
        texts += name.encode() + b"\0"
    return symbols, texts


def library() -> bytes:
    """A shared object with some of OpenSSL's functions and a version text."""
    symbols, texts = _symbols("SSL_read", "SSL_write", "SSL_set_fd")
    data = ".rodata", _PROGBITS, 0, b"OpenSSL 3.0.17 1 Jul 2025\0rustls::x\0"
    return elf((".text", _PROGBITS, 0, FUNCTION * 3), (".dynsym", _DYNSYM, 3, symbols), (".dynstr", 3, 0, texts), data)


def go_with_symbols(function: bytes = FUNCTION) -> bytes:
    """A Go program that was not stripped, all of whose functions have this code."""
    symbols, texts = _symbols(*GO.functions, size=len(function))
    information = b"\xff Go buildinf:\x08\x02" + bytes(16) + b"\x08go1.26.1\0"
    return elf(
        (".text", _PROGBITS, 0, function * len(GO.functions)),
        (".symtab", _SYMTAB, 3, symbols),
        (".strtab", _STRTAB, 0, texts),
        (".go.buildinfo", _PROGBITS, 0, information),
    )


def go_stripped(*, told: bool = True) -> bytes:
    """A stripped one, of whose functions the table for tracebacks tells; `told`: it has the start of text, too."""
    names, functions, entries = b"\0", b"", b""
    for number, name in enumerate(GO.functions):
        where = (len(GO.functions) + 1) * 8 + len(functions)
        entries += struct.pack("<II", number * len(FUNCTION), where)
        functions += struct.pack("<II", number * len(FUNCTION), len(names))
        names += name.encode() + b"\0"
    entries += struct.pack("<II", len(GO.functions) * len(FUNCTION), 0)
    text = _BASE + _HEADER.size + _SEGMENT.size
    names_at = 72
    functions_at = names_at + len(names)
    head = struct.pack("<I4xQQ", 0xFFFFFFF1, len(GO.functions), 1) + struct.pack(
        "<6Q", text if told else 0, names_at, 0, 0, 0, functions_at
    )
    module = bytes(22 * 8) + text.to_bytes(8, "little")
    return elf(
        (".text", _PROGBITS, 0, FUNCTION * len(GO.functions)),
        (".gopclntab", _PROGBITS, 0, head + names + entries + functions),
        (".go.module", _PROGBITS, 0, module),
        (".rela", _RELA, 0, struct.pack("<QQQ", text, 8, text)),
    )
