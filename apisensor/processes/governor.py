"""How much the sensor leaves out so that it stays under its share of the machine (settings governor.cpu_share).

Samples of the sensor's CPU in, a level out; no clock, no process, no map (governing.py has those).

What is left out grows in this order, and comes back one level at a time in the reverse one: first bodies (counted, not
kept, not looked at), then whole connections, more and more of them. Bodies go by themselves before any connection does;
among connections the level is taken that what was used foretells. A level comes back when what it would cost, by what
is used now, has fitted for `patience` seconds; where that was wrong, the next attempt waits twice as long.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

NS = 1_000_000_000
SHARES = 256
"""Connections are left out in so many parts, as bpf/maps.h has it."""
WINDOW_NS = 2 * NS
"""What is used is looked at over so long: a process that starts, or a burst of a second, is no reason to shed."""
FITS = 0.9
"""A level fits when it is foretold to use so much of the share: foretelling is not exact."""
PATIENCE_S = 5
"""How long a level must have fitted before it comes back, first."""
MOST_PATIENCE_S = 80
"""The same after attempts that failed."""
SETTLED_S = 60
"""A level that has lasted so long was no failed attempt."""


class Level(NamedTuple):
    """What is left out."""

    bodies: bool
    shed: int
    """Of SHARES parts of the connections."""

    @property
    def kept(self) -> float:
        """The part of the connections that is captured."""
        return 1 - self.shed / SHARES


LEVELS = (
    Level(False, 0),
    Level(True, 0),
    *(Level(True, SHARES * sixteenths // 16) for sixteenths in (4, 8, 12, 14, 15, 16)),
)
"""The last one captures nothing: a single connection may be more than the share."""


class Governor:
    """
    Args:
        share: What the sensor may use, as a part of the machine (0 to 1).
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._samples: deque[tuple[int, float]] = deque()
        """Time and CPU used so far, ns, since the level last changed; CPU as a part of the machine's."""
        self.level = 0
        self.used = 0.0
        """Part of the machine that was used in the last window."""
        self._patience = PATIENCE_S
        self._changed_ns = 0
        self._lowered = False
        """The last change of level was downwards: an attempt."""
        self._fits_since: int | None = None

    def sample(self, now_ns: int, cpu_ns: int, processors: int) -> Level:
        """Take in how much CPU the sensor has used so far.

        Args:
            now_ns: Of any clock that only rises.
            cpu_ns: Of all parts since the start, ns of one processor.
            processors: Of the machine.

        Returns:
            What is to be left out from now on.
        """
        samples = self._samples
        samples.append((now_ns, cpu_ns / processors))
        while len(samples) > 2 and now_ns - samples[1][0] >= WINDOW_NS:
            samples.popleft()
        elapsed = now_ns - samples[0][0]
        if elapsed >= WINDOW_NS:
            self.used = (samples[-1][1] - samples[0][1]) / elapsed
            if self.used > self._share:
                self._raise(now_ns)
            else:
                self._perhaps_lower(now_ns)
        return LEVELS[self.level]

    def _raise(self, now_ns: int) -> None:
        self._fits_since = None
        if self.level == len(LEVELS) - 1:
            return
        if self._lowered:
            failed = now_ns - self._changed_ns < SETTLED_S * NS
            self._patience = min(2 * self._patience, MOST_PATIENCE_S) if failed else PATIENCE_S
        level = self.level + 1
        while level < len(LEVELS) - 1 and LEVELS[self.level].bodies and not self._fits(level):
            level += 1
        self._change(level, now_ns)

    def _perhaps_lower(self, now_ns: int) -> None:
        if not self.level or not self._fits(self.level - 1):
            self._fits_since = None
            return
        if self._fits_since is None:
            self._fits_since = now_ns
        if now_ns - self._fits_since < self._patience * NS:
            return
        if self._lowered:
            self._patience = max(self._patience // 2, PATIENCE_S)  # the attempt before was right
        self._change(self.level - 1, now_ns)
        self._lowered = True

    def _fits(self, level: int) -> bool:
        """Would this level stay under the share? Where nothing is captured now, only trying tells."""
        kept = LEVELS[self.level].kept
        foretold = self.used * LEVELS[level].kept / kept if kept else self.used
        return foretold <= FITS * self._share

    def _change(self, level: int, now_ns: int) -> None:
        self.level, self._changed_ns, self._lowered = level, now_ns, False
        self._samples = deque(list(self._samples)[-1:])
        self._fits_since = None
