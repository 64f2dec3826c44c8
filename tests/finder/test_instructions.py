"""Return instructions: the same as capstone's own Python package finds, in real code and in what is none."""

from __future__ import annotations

import sys
from pathlib import Path

import capstone

from apisensor.finder.instructions import Instruction, returns_of

_WINDOW, _STEP, _WINDOWS = 480, 997, 400
"""Steps are odd: most windows begin inside of an instruction, and many end in one."""


def _by_the_package(code: bytes) -> list[int]:
    machine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    found, at = [], 0
    for address, size, mnemonic, _ in machine.disasm_lite(code, 0):
        at = address + size
        if mnemonic == "ret":
            found.append(address)
    return found if at == len(code) else []


def test_it_finds_what_the_package_finds() -> None:
    text = Path(sys.executable).resolve().read_bytes()
    begin = len(text) // 4
    windows = [text[at : at + _WINDOW] for at in range(begin, begin + _WINDOWS * _STEP, _STEP)]
    # Ends of functions: whole instructions up to a return.
    windows += [window[: window.index(b"\xc3") + 1] for window in windows if b"\xc3" in window]
    found = [returns_of(window) for window in windows]
    assert found == [_by_the_package(window) for window in windows]
    assert sum(map(bool, found)) > _WINDOWS // 10
    assert [] in found


def test_the_ends_of_code() -> None:
    assert returns_of(b"") == []
    assert returns_of(b"\xc3") == [0]
    assert returns_of(b"\x90\xc3\xf3\xc3\xc2\x08\x00") == _by_the_package(b"\x90\xc3\xf3\xc3\xc2\x08\x00")
    assert returns_of(b"\xc3\x0f") == []  # cut in an instruction


def test_the_record_is_the_librarys() -> None:
    theirs = capstone._cs_insn
    for name, *_ in Instruction._fields_:
        assert getattr(Instruction, name).offset == getattr(theirs, name).offset, name
