"""The governor's decisions: samples in, levels out; and what it looks at."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.loader.back_ends import BACK_ENDS, TRACEPOINTS
from apisensor.processes.governing import programs_of
from apisensor.processes.governor import (
    LEVELS,
    MOST_PATIENCE_S,
    NS,
    PATIENCE_S,
    SHARES,
    WINDOW_NS,
    Governor,
    Level,
)

PROCESSORS = 2
TOP = len(LEVELS) - 1


class Machine:
    """A machine on which the sensor uses what a load makes it use at a level."""

    def __init__(self, share: float) -> None:
        self.governor = Governor(share)
        self.now_ns = self.cpu_ns = 0
        self.levels: list[int] = []
        """After each second."""

    def run(self, seconds: int, used: Callable[[Level], float]) -> list[int]:
        """The levels after each of these seconds; `used` is the part of the machine that the sensor uses."""
        for _ in range(seconds):
            self.now_ns += NS
            self.cpu_ns += int(used(LEVELS[self.governor.level]) * PROCESSORS * NS)
            level = self.governor.sample(self.now_ns, self.cpu_ns, PROCESSORS)
            assert level == LEVELS[self.governor.level]
            self.levels.append(self.governor.level)
        return self.levels[-seconds:]


def load(whole: float, bodies: float = 0.2) -> Callable[[Level], float]:
    """A load that takes `whole` of the machine where nothing is left out; `bodies` of it for bodies."""
    return lambda level: whole * level.kept * (1 - bodies if level.bodies else 1)


def test_nothing_is_left_out_below_the_share() -> None:
    machine = Machine(0.2)
    assert set(machine.run(600, load(0.199))) == {0}


def test_a_burst_shorter_than_the_window_is_no_reason() -> None:
    machine = Machine(0.5)
    machine.run(10, load(0.1))
    machine.run(1, load(0.8))
    assert set(machine.run(10, load(0.1))) == {0}


def test_bodies_go_first_and_by_themselves() -> None:
    machine = Machine(0.2)
    levels = machine.run(20, load(10.0))
    assert levels[levels.index(1) - 1] == 0
    assert levels.count(1) >= WINDOW_NS // NS
    assert TOP in levels


def test_where_bodies_are_enough_no_connection_goes() -> None:
    machine = Machine(0.5)
    assert set(machine.run(60, load(0.6, bodies=0.3))) == {0, 1}


@pytest.mark.parametrize("whole", [0.21, 0.25, 0.3, 0.5, 0.9, 1.5, 3.0])
def test_it_comes_under_the_share_soon_and_stays_there_nearly_always(whole: float) -> None:
    machine = Machine(0.2)
    machine.run(10, load(whole))
    used = load(whole)
    over = sum(used(LEVELS[level]) > 0.2 for level in machine.run(600, load(whole)))
    assert over <= 600 * 0.1  # the attempts to give something back


def test_everything_comes_back_one_level_at_a_time() -> None:
    machine = Machine(0.2)
    machine.run(30, load(20.0))
    levels = machine.run(PATIENCE_S * (TOP + 2) * 2, load(0.01))
    assert levels[-1] == 0
    assert all(after in (before, before - 1) for before, after in itertools.pairwise(levels))
    for level in range(1, TOP):
        assert levels.count(level) >= PATIENCE_S


def test_a_failed_attempt_makes_the_next_one_wait_longer() -> None:
    machine = Machine(0.2)
    levels = machine.run(1200, load(50.0))  # a single connection of the last part is more than the share
    attempts = [second for second, (a, b) in enumerate(itertools.pairwise(levels)) if b < a]
    pauses = [b - a for a, b in itertools.pairwise(attempts)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert max(pauses) <= MOST_PATIENCE_S + 2 * WINDOW_NS // NS + 2
    assert levels.count(TOP) > 0.9 * len(levels)


def test_a_long_quiet_makes_it_try_soon_again() -> None:
    machine = Machine(0.2)
    machine.run(600, load(50.0))
    machine.run(1500, load(0.01))
    levels = machine.run(30, load(50.0))
    attempts = [second for second, (a, b) in enumerate(itertools.pairwise(levels)) if b < a]
    assert attempts
    assert attempts[0] < 4 * PATIENCE_S


def test_levels_leave_out_more_and_more() -> None:
    assert LEVELS[0] == Level(False, 0)
    assert LEVELS[1] == Level(True, 0)
    assert [level.shed for level in LEVELS] == sorted(level.shed for level in LEVELS)
    assert LEVELS[-1].shed == SHARES


@given(st.lists(st.floats(0, 4), min_size=1, max_size=300), st.floats(0.01, 1))
def test_whatever_the_load_levels_stay_in_order(loads: list[float], share: float) -> None:
    machine = Machine(share)
    before = 0
    for whole in loads:
        (after,) = machine.run(1, load(whole))
        assert 0 <= after <= TOP
        assert after >= before - 1
        assert not (before == 0 and after > 1)
        before = after


@pytest.mark.parametrize("back_end", BACK_ENDS)
def test_it_counts_the_programs_of_every_back_end(back_end: str) -> None:
    programs = [*(f"tracepoint:{name}" for name in TRACEPOINTS), *BACK_ENDS[back_end], "uprobe:openssl_read"]
    loaded = [*programs, "map:governor", "ring:0"]
    assert programs_of({name: number for number, name in enumerate(loaded)}) == list(range(len(programs)))
