"""Where the return instructions of x86-64 code lie, by the library of capstone (docs: capstone/capstone.h).

Its Python package is left out: that declares the registers and instructions of seventeen kinds of processors as Python
objects, 7 MB of them, in a process that needs two functions.
"""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from pathlib import Path

_ARCH_X86, _MODE_64 = 3, 1 << 3


class Instruction(ctypes.Structure):
    """The beginning of cs_insn, as versions 3 to 5 have it."""

    _fields_ = (
        ("id", ctypes.c_uint),
        ("address", ctypes.c_uint64),
        ("size", ctypes.c_uint16),
        ("bytes", ctypes.c_ubyte * 24),
        ("mnemonic", ctypes.c_char * 32),
    )


def _library() -> ctypes.CDLL:
    spec = find_spec("capstone")
    if spec is None or spec.origin is None:
        raise ImportError("capstone is missing: install apisensor again", name="capstone")
    library = ctypes.CDLL(str(Path(spec.origin).parent / "lib" / "libcapstone.so"))
    library.cs_malloc.argtypes = (ctypes.c_size_t,)
    library.cs_malloc.restype = ctypes.POINTER(Instruction)
    library.cs_disasm_iter.argtypes = (ctypes.c_size_t, *(ctypes.c_void_p,) * 4)
    library.cs_disasm_iter.restype = ctypes.c_bool
    return library


_LIBRARY = _library()  # at import: the sandbox in which it is used opens no file
_HANDLE = ctypes.c_size_t()
if _LIBRARY.cs_open(_ARCH_X86, _MODE_64, ctypes.byref(_HANDLE)):
    raise ImportError("capstone cannot disassemble x86-64: install apisensor again", name="capstone")
_FOUND = _LIBRARY.cs_malloc(_HANDLE)


def returns_of(code: bytes) -> list[int]:
    """Offsets of the return instructions of a function; [] where it cannot be disassembled to its end."""
    memory = ctypes.create_string_buffer(code, len(code))
    at, left, address = ctypes.c_void_p(ctypes.addressof(memory)), ctypes.c_size_t(len(code)), ctypes.c_uint64(0)
    places = [ctypes.byref(one) for one in (at, left, address)]
    found = []
    while _LIBRARY.cs_disasm_iter(_HANDLE, *places, _FOUND):
        instruction = _FOUND.contents
        if instruction.mnemonic == b"ret":
            found.append(instruction.address)
    return [] if left.value else found
