"""What was found out about field lines, remembered for those that repeat.

Of fifteen lines ten say the same in every message of a client. Others never come again (request ids, trace context):
they would fill the memory over and over, and cost more than they save. A name that does so is known by that.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, TypeVar

from apisensor.transactions.model import Header

LINES_KEPT: Final = 4096
"""Lines remembered. A node's clients and servers repeat a few hundred."""
LONGEST_KEPT: Final = 256
"""Longer lines are not: 4096 x 256 bytes bounds the memory to about 1.5 MB."""
SHARE: Final = 8
"""A name of which an eighth of all remembered lines is, when there is no room for more, has values that do not repeat:
its lines are not remembered any more."""
NAMES_KEPT: Final = 64
"""Such names remembered. A peer that invents names costs a fresh start."""

V = TypeVar("V")


class Lines(dict[Header, V]):
    """Line -> what is known of it. `get` is the dictionary's own; lines are only added by `remember`."""

    __slots__ = ("_changing",)

    def __init__(self) -> None:
        super().__init__()
        self._changing: set[bytes | None] = set()

    def remember(self, line: Header, known: V) -> V:
        """Keeps what is known of this line, if it may come again; returns it."""
        name, value = line
        if name not in self._changing and len(name or b"") + len(value or b"") <= LONGEST_KEPT:
            if len(self) >= LINES_KEPT:
                self._begin_anew()
            self[line] = known
        return known

    def _begin_anew(self) -> None:
        of_name = Counter(name for name, _ in self)
        if len(self._changing) >= NAMES_KEPT:
            self._changing.clear()
        self._changing.update(name for name, count in of_name.items() if count >= LINES_KEPT // SHARE)
        self.clear()
