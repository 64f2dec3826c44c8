"""Positions of one direction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apisensor.events.model import Cause
from apisensor.streams.lane import Hole, Lane


def test_first_chunk_may_be_anywhere() -> None:
    lane = Lane()
    assert lane.place(5_000, 10) == ([], 0)
    assert lane.position == 5_010


def test_a_jump_is_a_loss_that_nobody_explained() -> None:
    lane = Lane()
    lane.place(0, 10)
    assert lane.place(15, 5) == ([Hole(5, Cause.UNKNOWN)], 0)
    assert lane.position == 20


def test_what_was_declined_is_told_from_what_was_lost() -> None:
    lane = Lane()
    lane.place(0, 10)
    lane.skip_to = 100
    assert lane.place(100, 1) == ([Hole(90, Cause.SKIPPED)], 0)
    lane.skip_to = 110
    assert lane.place(120, 1) == ([Hole(9, Cause.SKIPPED), Hole(10, Cause.UNKNOWN)], 0)


def test_repeated_bytes_are_dropped() -> None:
    lane = Lane()
    lane.place(0, 10)
    assert lane.place(5, 10) == ([], 5)
    assert lane.position == 15
    assert lane.place(0, 3) == ([], 3)
    assert lane.position == 15


def test_gap_that_was_announced() -> None:
    lane = Lane()
    lane.place(0, 10)
    assert lane.gap(10, 5, Cause.RING_FULL) == [Hole(5, Cause.RING_FULL)]
    assert lane.place(15, 1) == ([], 0)


def test_gap_of_unknown_length_restarts_positions() -> None:
    lane = Lane()
    lane.place(0, 10)
    assert lane.gap(10, None, Cause.DETACHED) == [Hole(None, Cause.DETACHED)]
    assert lane.place(3, 4) == ([], 0)
    assert lane.position == 7


def test_gap_that_overlaps_or_comes_after_a_jump() -> None:
    lane = Lane()
    lane.place(0, 10)
    assert lane.gap(8, 4, Cause.COPY_FAULT) == [Hole(2, Cause.COPY_FAULT)]
    assert lane.gap(2, 4, Cause.COPY_FAULT) == []
    assert lane.gap(15, 5, Cause.COPY_FAULT) == [Hole(3, Cause.UNKNOWN), Hole(5, Cause.COPY_FAULT)]
    assert lane.position == 20


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 50), st.integers(1, 20)), max_size=30))
def test_every_position_is_accounted_for_once(steps: list[tuple[bool, int, int]]) -> None:
    lane = Lane()
    lane.place(0, 0)
    seen = lost = end = 0
    for is_gap, position, length in steps:
        if is_gap:
            holes, repeated = lane.gap(position, length, Cause.RING_FULL), length
        else:
            holes, repeated = lane.place(position, length)
        lost += sum(hole.length or 0 for hole in holes)
        seen += length - repeated
        end = max(end, position + length)
        assert lane.position == end == seen + lost
