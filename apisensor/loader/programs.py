"""Compiled programs as data that outlives its compiler: a map's place in a list stands where its descriptor was."""

import struct
from typing import Any, NamedTuple

from apisensor.loader.errors import CacheError
from apisensor.loader.kernel import Definition, describe

_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_IMMEDIATE = 0x18  # BPF_LD | BPF_IMM | BPF_DW: two slots
_MAP_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD in the source register


class Compiled(NamedTuple):
    """All that there is to load."""

    maps: list[Definition]
    programs: dict[str, bytes]
    """Instructions, a map's place where its descriptor goes."""
    layouts: dict[str, Any]


def gather(
    functions: dict[str, bytes], named: dict[str, int], pattern: str, layouts: dict[str, Any]
) -> tuple[Compiled, list[int]]:
    """What a compiler has made, ready to be kept, and the descriptors of its maps in the order of the list.

    Args:
        functions: Instructions, with descriptors of maps in them.
        named: Maps that are asked for by name; there may be more in the instructions.
        pattern: Which of them is the pattern of the maps in maps of maps.
        layouts: Kept beside them.

    Raises:
        CacheError: it cannot be kept.
    """
    descriptors = dict.fromkeys([named[pattern], *named.values()])
    for code in functions.values():
        descriptors.update(dict.fromkeys(_references(code)))
    places = {descriptor: place for place, descriptor in enumerate(descriptors)}
    names = {descriptor: name for name, descriptor in named.items()}
    maps = [describe(descriptor, names.get(descriptor)) for descriptor in descriptors]
    programs = {name: relocate(code, places) for name, code in functions.items()}
    return Compiled(maps, programs, layouts), list(descriptors)


def _references(code: bytes) -> list[int]:
    """Descriptors of maps in instructions."""
    found = []
    at = 0
    while at < len(code):
        operation, registers, _, immediate = _INSTRUCTION.unpack_from(code, at)
        if operation == _LOAD_IMMEDIATE and registers >> 4 == _MAP_DESCRIPTOR:
            found.append(immediate)
        at += 16 if operation == _LOAD_IMMEDIATE else 8
    return found


def relocate(code: bytes, places: dict[int, int]) -> bytes:
    """The instructions with every map reference replaced: descriptor by place, or place by descriptor.

    Raises:
        CacheError: a reference leads elsewhere.
    """
    out = bytearray(code)
    at = 0
    while at < len(code):
        operation, registers, offset, immediate = _INSTRUCTION.unpack_from(code, at)
        if operation != _LOAD_IMMEDIATE:
            at += 8
            continue
        source = registers >> 4
        if source:
            if source != _MAP_DESCRIPTOR or immediate not in places:
                raise CacheError(f"an instruction refers to something that is no known map (at {at // 8})")
            _INSTRUCTION.pack_into(out, at, operation, registers, offset, places[immediate])
        at += 16
    return bytes(out)
