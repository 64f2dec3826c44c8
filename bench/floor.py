"""The least that can be observed: a BPF program that counts SSL_read and SSL_write, on entry and on return.

Attached to the same file and the same processes as what is measured beside it; it copies nothing and tells nobody.
What it costs is what the traps cost; no sensor that looks at these functions can cost less.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

from apisensor.capture.kernel import Map, attach_uprobe_multi
from apisensor.finder.symbols import find_functions
from apisensor.loader.kernel import (
    BPF_PROG_TYPE_KPROBE,
    BPF_TRACE_UPROBE_MULTI,
    Definition,
    create_maps,
    load_program,
)

_ARRAY = 2  # BPF_MAP_TYPE_ARRAY
FUNCTIONS = ("SSL_read", "SSL_write")


def _instruction(operation: int, to: int = 0, source: int = 0, offset: int = 0, immediate: int = 0) -> bytes:
    return struct.pack("<BBhi", operation, source << 4 | to, offset, immediate)


def _program(counter: int, place: int) -> bytes:
    """counters[place] += 1."""
    return b"".join(
        (
            _instruction(0x62, 10, 0, -4, place),  # *(u32 *)(r10 - 4) = place
            _instruction(0xBF, 2, 10),  # r2 = r10
            _instruction(0x07, 2, 0, 0, -4),  # r2 += -4
            _instruction(0x18, 1, 1, 0, counter),  # r1 = map
            _instruction(0),
            _instruction(0x85, 0, 0, 0, 1),  # call bpf_map_lookup_elem
            _instruction(0x15, 0, 0, 2),  # if r0 == 0 goto the end
            _instruction(0xB7, 1, 0, 0, 1),  # r1 = 1
            _instruction(0xDB, 0, 1),  # lock *(u64 *)r0 += r1
            _instruction(0xB7, 0),  # r0 = 0
            _instruction(0x95),  # exit
        )
    )


class Floor:
    """Counts while it is open; needs root and uprobe_multi links (6.6)."""

    def __init__(self, library: str, pids: Sequence[int]) -> None:
        with Path(library).open("rb") as file:
            offsets = find_functions(file).offsets
        places = [offsets[name] for name in FUNCTIONS]
        definition = Definition(_ARRAY, 4, 8, 2, 0, None, "floor")
        (counter,) = create_maps([definition])
        self._counts = Map(counter, 4, 8)
        self._open = [counter]
        for place in range(2):
            code = _program(counter, place)
            program = load_program("floor", code, BPF_PROG_TYPE_KPROBE, BPF_TRACE_UPROBE_MULTI)
            self._open.append(program)
            self._open += [
                attach_uprobe_multi(program, library, places, on_return=bool(place), pid=pid) for pid in pids
            ]

    def counts(self) -> tuple[int, int]:
        """Entries and returns so far."""
        entries, returns = (self._counts.get(struct.pack("I", place)) or bytes(8) for place in range(2))
        return int.from_bytes(entries, "little"), int.from_bytes(returns, "little")

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())
