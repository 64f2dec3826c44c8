"""Which program goes on which function, and the attaching itself."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Mapping

from apisensor.capture.kernel import (
    Map,
    attach_kprobe,
    attach_uprobe,
    attach_uprobe_multi,
    open_fexit,
    open_raw_tracepoint,
)
from apisensor.finder.answer import Found
from apisensor.finder.functions import LIBRARIES, ROLES, Role

ENTRY = {function: f"{library.name}_{role}" for library in LIBRARIES for function, role in library.functions.items()}
"""Function: program at its entry."""
ENTRY_ONLY = frozenset({Role.SET_FD, Role.SET_BIO, Role.FREE, Role.CLEAR, Role.BIO_WRITE})
RETURN = {function: "tls_return" for function, role in ROLES.items() if role not in ENTRY_ONLY}
"""Function: program at its return."""
IN_KERNEL: dict[str, Callable[[int, str], int]] = {
    "tracepoint": open_raw_tracepoint,
    "kprobe": attach_kprobe,
    "fexit": open_fexit,
}
"""Kind of a program whose place is in the kernel: how it is attached."""
PER_PROCESS = frozenset(function for function, role in ROLES.items() if role is Role.BIO_WRITE)
"""Observed in processes with memory BIOs only: others would pay a trap for each TLS record."""


_RETURNS, _WRITES, _READS, _OTHERS = range(4)
_TURN = {
    **dict.fromkeys((Role.FREE, Role.CLEAR, Role.BIO_WRITE), _RETURNS),
    **dict.fromkeys((Role.WRITE, Role.WRITE_COUNTED, Role.WRITE_FLAGS_COUNTED, Role.WRITE_ELSEWHERE), _WRITES),
    **dict.fromkeys((Role.READ, Role.READ_COUNTED, Role.READ_ELSEWHERE), _READS),
    **dict.fromkeys((Role.QUIET, Role.SET_FD, Role.SET_BIO), _OTHERS),
}
"""When a function's entry is attached to. Calls go on meanwhile: returns first, as an entry whose return is not seen
would leave a stale call behind; last what makes the sessions that are followed, so that no call of theirs is missed
(find_session in bpf/tls_probes.h)."""


class Places:
    """Where programs go in one file: aliases of one function get one probe."""

    def __init__(self) -> None:
        self._offsets: dict[tuple[int, str, bool], list[int]] = {}

    def entry(self, function: str, offset: int) -> None:
        self._add((_TURN[ROLES[function]], ENTRY[function], False), offset)

    def return_(self, function: str, offset: int, *, probe: bool) -> None:
        """`probe`: by a return probe on the function at `offset`; else it is a return instruction."""
        if function in RETURN:
            self._add((_RETURNS, RETURN[function], probe), offset)

    def _add(self, place: tuple[int, str, bool], offset: int) -> None:
        offsets = self._offsets.setdefault(place, [])
        if offset not in offsets:
            offsets.append(offset)

    def in_order(self) -> list[tuple[str, bool, list[int]]]:
        """(program, by a return probe, offsets), in the order in which they are attached."""
        return [(name, probe, offsets) for (_, name, probe), offsets in sorted(self._offsets.items())]


class Programs:
    """The loaded programs by name, and how uprobes are attached on this kernel."""

    def __init__(self, descriptors: Mapping[str, int], *, uprobe_multi: bool) -> None:
        self._descriptors = descriptors
        self._attaching = Map(descriptors["map:attaching"], 4, 4)
        self._attaching.set(bytes(4), bytes(4))  # a predecessor may have died meanwhile
        self._multi = uprobe_multi

    def attach_in_kernel(self) -> list[int]:
        """Attaches every program whose place is in the kernel, in the order of loading; returns the descriptors that
        hold the attachments."""
        held = []
        for name, program in self._descriptors.items():
            kind, _, place = name.partition(":")
            if kind in IN_KERNEL:
                held.append(IN_KERNEL[kind](program, place))
        return held

    def attach_library(self, descriptor: int, found: Found) -> list[int]:
        """Attaches entry and return programs to an open file, for all processes.

        Raises OSError; then nothing is held.
        """
        places = Places()
        for function, offset in found.offsets.items():
            if function in PER_PROCESS:
                continue
            places.entry(function, offset)
            if function in found.returns:
                for instruction in found.returns[function]:
                    places.return_(function, instruction, probe=False)
            else:
                places.return_(function, offset, probe=True)
        self._attaching.set(bytes(4), struct.pack("I", 1))
        try:
            return self._attach(descriptor, places, 0)
        finally:
            self._attaching.set(bytes(4), bytes(4))

    def attach_process(self, descriptor: int, offsets: Mapping[str, int], pid: int) -> list[int]:
        """Attaches the programs that only processes with memory BIOs need: to this one, or with `pid` 0 to all. Raises
        OSError; then nothing is held."""
        places = Places()
        for function in PER_PROCESS & offsets.keys():
            places.entry(function, offsets[function])
        return self._attach(descriptor, places, pid)

    def _attach(self, descriptor: int, places: Places, pid: int) -> list[int]:
        path = f"/proc/self/fd/{descriptor}"
        held: list[int] = []
        try:
            for name, probe, where in places.in_order():
                program_descriptor = self._descriptors[f"uprobe:{name}"]
                if self._multi:
                    held.append(attach_uprobe_multi(program_descriptor, path, where, on_return=probe, pid=pid))
                else:
                    for offset in where:
                        held.append(attach_uprobe(program_descriptor, path, offset, on_return=probe, pid=pid))
        except OSError as error:
            for link in held:
                os.close(link)
            if error.errno == errno.ESRCH:
                raise ProcessLookupError(f"process {pid} is gone") from error
            raise
        return held
