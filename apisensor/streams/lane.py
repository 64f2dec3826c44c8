"""One direction of one flow as positions: what is new, what is missing, what is repeated.

A `Lane` holds no bytes. The hot path compares `position` by itself and calls nothing here; these methods are for the
events that are not simply the next bytes.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from apisensor.events.model import Cause

END_OF_FLOW: Final = 2**64 - 1
"""The position to skip to when nothing more of a direction is wanted."""
FLOW_SHED: Final = 2**64 - 2
"""The same where that is for the governor, which may change its mind (bpf/maps.h)."""


class Hole(NamedTuple):
    """Bytes of a direction that will not come."""

    length: int | None
    """None: unknown; positions restart at the next chunk."""
    cause: Cause


class Lane:
    """Where one direction stands.

    Attributes:
        position: of the next byte that is expected; None where any position may come (nothing seen yet, or after a
            gap of unknown length).
        skip_to: payload below this position was declined by the analysis, so its absence is no loss.
    """

    __slots__ = ("position", "skip_to")

    def __init__(self) -> None:
        self.position: int | None = None
        self.skip_to = 0

    def place(self, position: int, length: int) -> tuple[list[Hole], int]:
        """Place a chunk of `length` bytes that is not simply the next.

        Returns:
            The holes before the chunk, and how many of its first bytes were seen before and are to be dropped.
        """
        expected = self.position
        if expected is None:
            self.position = position + length
            return [], 0
        if position < expected:
            repeated = min(expected - position, length)
            self.position = max(expected, position + length)
            return [], repeated
        holes = self._jump(expected, position)
        self.position = position + length
        return holes, 0

    def gap(self, position: int, length: int | None, cause: Cause) -> list[Hole]:
        """Place a gap that the source reported; the holes that follow from it, in order."""
        expected = self.position
        if length is None:
            self.position = None
            return [Hole(None, cause)]
        holes: list[Hole] = []
        if expected is None:
            # Nothing was expected at a certain place, so the gap says only where the next bytes are.
            self.position = position + length
            return [Hole(length, cause)]
        if position > expected:
            holes = self._jump(expected, position)
        elif position < expected:
            length -= expected - position
            position = expected
        if length > 0:
            holes.append(Hole(length, cause))
            self.position = position + length
        return holes

    def _jump(self, expected: int, position: int) -> list[Hole]:
        """From `expected` to `position` without a word: declined below skip_to, lost beyond."""
        declined = min(position, max(self.skip_to, expected)) - expected
        holes = []
        if declined:
            holes.append(Hole(declined, Cause.SKIPPED))
        if expected + declined < position:
            holes.append(Hole(position - expected - declined, Cause.UNKNOWN))
        return holes
