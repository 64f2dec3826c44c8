"""Whose TLS is seen, by which library, and whose is not, and why; also of processes that have ended, as what they moved
goes on being reported."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

from apisensor.capture.blind import ENDED

MOST_PROCESSES = 16384
"""Processes, and executables, remembered; the oldest makes room. As many as the kernel counts the bytes of."""

_Key = TypeVar("_Key", int, str)


class Sight:
    """What the report says of each process's TLS."""

    def __init__(self) -> None:
        self.attached: OrderedDict[int, str] = OrderedDict()
        """Process that moved bytes: path of an attached library that it has mapped."""
        self.blind: OrderedDict[int, str] = OrderedDict()
        """Process that moves TLS which is not seen: why."""
        self._explained: OrderedDict[str, str] = OrderedDict()
        """Executable: why the TLS of one of its processes is not seen."""

    def see(self, pid: int, path: str) -> None:
        """An attached library was found in its memory."""
        _remember(self.attached, pid, path)

    def explain(self, pid: int, executable: str | None, why: str | None) -> None:
        """None: it ended before it could be looked at. Then an earlier process of its executable explains it."""
        if why is None:
            why = self._explained.get(executable or "", ENDED)
        elif executable is not None:
            _remember(self._explained, executable, why)
        _remember(self.blind, pid, why)

    def forget(self, pid: int) -> None:
        """It is another program, or another process, from now on."""
        self.attached.pop(pid, None)
        self.blind.pop(pid, None)


def _remember(table: OrderedDict[_Key, str], key: _Key, text: str) -> None:
    table[key] = text
    if len(table) > MOST_PROCESSES:
        table.popitem(last=False)
