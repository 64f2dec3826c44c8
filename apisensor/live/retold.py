"""Which findings a terminal tells again: one that goes on grows by the second, and would bury everything else."""

from __future__ import annotations

from apisensor.live.public import PublicFinding

GROWN = 10
"""Times as many occurrences as when it was told last are worth a line."""
MOST = 4_096
"""Findings remembered; the one told first makes room, and may be told once more."""


class Retold:
    """What was told of each finding."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, int]] = {}

    def worth(self, f: PublicFinding) -> bool:
        """Whether it is new, of another severity, or grown by much; then it counts as told."""
        severity, count = self._told.get(f.id, (None, 0))
        if severity == f.severity and f.count < GROWN * count:
            return False
        if len(self._told) >= MOST and f.id not in self._told:
            del self._told[next(iter(self._told))]
        self._told[f.id] = (f.severity, f.count)
        return True
