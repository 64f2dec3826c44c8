"""What is usual: median and median absolute deviation of the latest values, which single bursts do not move."""

from __future__ import annotations

from array import array

SIGMAS = 6.0
"""Deviations above the median that are far, beside the factor of the settings."""
_MAD_TO_SIGMA = 1.4826
"""Of a normal distribution (Rousseeuw and Croux, 1993)."""
KEPT = 32
"""Values kept, or as many as the warm-up needs: half of them have to change for the median to follow."""


class Baseline:
    """The latest values of something that is measured once in a window. Values are bytes."""

    __slots__ = ("_limit", "_next", "_usual", "_values")

    def __init__(self, warm_up: int) -> None:
        self._limit = max(KEPT, warm_up)
        self._values: array[int] = array("Q")
        self._next = 0
        self._usual: tuple[float, float] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: int) -> None:
        """Takes a value; the oldest goes."""
        self._usual = None
        if len(self._values) < self._limit:
            self._values.append(value)
        else:
            self._values[self._next] = value
            self._next = (self._next + 1) % self._limit

    def usual(self) -> tuple[float, float]:
        """Median and median absolute deviation. There has to be a value."""
        if self._usual is None:
            middle = _median(sorted(self._values))
            self._usual = middle, _median(sorted(abs(value - middle) for value in self._values))
        return self._usual

    def exceeded(self, value: int, factor: int) -> bool:
        """Whether the value is far above what is usual: by the factor, and by SIGMAS deviations."""
        median, deviation = self.usual()
        return value > factor * median and value > median + SIGMAS * _MAD_TO_SIGMA * deviation


def _median(ordered: list[int] | list[float]) -> float:
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
