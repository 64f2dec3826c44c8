"""Counting within a sliding window of event time, in steps: bounded memory, any order of arrival."""

from __future__ import annotations

STEPS = 30
"""Steps of a window. What is counted is never less than a window holds, and at most one step more."""


class Window:
    """Occurrences within the last window before the latest one."""

    __slots__ = ("_steps", "last_ns", "latest")

    def __init__(self) -> None:
        self._steps: dict[int, tuple[int, int]] = {}
        """Number of the step: occurrences, time of the first."""
        self.latest = 0
        """Number of the latest step seen."""
        self.last_ns = 0
        """Time of the latest occurrence."""

    def add(self, time_ns: int, step_ns: int) -> bool:
        """Counts an occurrence; False: it is older than the window."""
        step = time_ns // step_ns
        self.move(step)
        if step < self.latest - STEPS:
            return False
        self.last_ns = max(self.last_ns, time_ns)
        count, first = self._steps.get(step, (0, time_ns))
        self._steps[step] = (count + 1, min(first, time_ns))
        return True

    def move(self, step: int) -> None:
        """Time has come to this step: what is older than the window goes."""
        if step > self.latest:
            self.latest = step
            for old in [number for number in self._steps if number < step - STEPS]:
                del self._steps[old]

    @property
    def count(self) -> int:
        return sum(count for count, _ in self._steps.values())

    @property
    def first_ns(self) -> int:
        """Time of the first occurrence that counts; 0 where there is none."""
        return min((first for _, first in self._steps.values()), default=0)


def step_of(window_seconds: int) -> int:
    """Length of a step, ns."""
    return window_seconds * 1_000_000_000 // STEPS
