"""Times steps side by side: rounds are interleaved and the best of each step is taken.

The machine's speed changes within seconds; the ratio to the first step, the baseline, does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Steps = dict[str, Callable[[int], object]]
"""Name: what is done with the call of this number."""


def best_of(make: Callable[[], Steps], count: int, rounds: int = 20) -> dict[str, float]:
    """Microseconds per call, of the thread's CPU time, by step. `make` gives each round its steps."""
    best: dict[str, float] = {}
    for _ in range(rounds):
        for name, step in make().items():
            best[name] = min(best.get(name, float("inf")), _microseconds(step, count))
    return best


def _microseconds(step: Callable[[int], object], count: int) -> float:
    begin = time.thread_time_ns()
    for number in range(count):
        step(number)
    return (time.thread_time_ns() - begin) / count / 1000


def show(best: dict[str, float]) -> None:
    """Prints what each step costs, and how that compares with the first."""
    baseline = next(iter(best.values()))
    for name, cost in best.items():
        print(f"{name:32} {cost:6.2f} us  {cost / baseline:5.2f} x baseline")
