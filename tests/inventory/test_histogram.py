"""Histograms: the stated error, merging in any order, the bound."""

from __future__ import annotations

import math
from functools import reduce

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.inventory import histogram
from apisensor.inventory.histogram import BUCKETS, ERROR, LARGEST, SMALLEST
from apisensor.inventory.model import Histogram

values = st.floats(0, LARGEST, allow_nan=False)


def of(numbers: list[float]) -> Histogram:
    h = Histogram()
    histogram.add(h, numbers)
    return h


@given(st.lists(values, min_size=1), st.floats(0, 1))
def test_quantiles_are_within_the_error(numbers: list[float], q: float) -> None:
    true = sorted(numbers)[math.floor(q * (len(numbers) - 1))]
    told = histogram.quantile(of(numbers), q)
    assert told is not None
    if true < SMALLEST:
        assert told == 0
    else:
        assert abs(told - true) <= true * ERROR * (1 + 1e-9)


@given(st.lists(values, min_size=1))
def test_the_largest_is_exact_and_quantiles_rise(numbers: list[float]) -> None:
    h = of(numbers)
    assert h.largest == max(numbers)
    told = [histogram.quantile(h, q / 20) or 0.0 for q in range(21)]
    assert told == sorted(told)
    assert told[-1] <= h.largest


def test_nothing_has_no_quantile() -> None:
    assert histogram.quantile(Histogram(), 0.5) is None


@given(st.lists(st.lists(st.floats(-1e3, 1e20), max_size=20), max_size=6), st.randoms())
def test_merging_equals_adding_in_any_order(parts: list[list[float]], chance: object) -> None:
    whole = of([number for part in parts for number in part])
    histograms = [of(part) for part in parts]
    chance.shuffle(histograms)  # type: ignore[attr-defined]

    def both(into: Histogram, more: Histogram) -> Histogram:
        histogram.merge(into, more)
        return into

    merged = reduce(both, histograms, Histogram())
    assert (merged.counts, merged.zero, merged.total) == (whole.counts, whole.zero, whole.total)
    assert merged.largest == whole.largest
    assert merged.sum == pytest.approx(whole.sum)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_the_number_of_buckets_is_bounded(numbers: list[float]) -> None:
    h = of([*numbers, 1e300, LARGEST, SMALLEST])
    assert len(h.counts) <= BUCKETS
    assert sum(h.counts.values()) + h.zero == h.total
    assert max(h.counts) - min(h.counts) == BUCKETS - 1


def test_buckets_of_a_file_are_brought_into_bounds() -> None:
    h = Histogram()
    histogram.merge(h, Histogram(counts={10**9: 1, -(10**9): 2}, total=3, largest=5.0))
    assert len(h.counts) == 2
    assert max(h.counts) - min(h.counts) == BUCKETS - 1
    assert histogram.quantile(h, 1) == 5.0


@given(st.lists(values))
def test_it_survives_json(numbers: list[float]) -> None:
    h = of(numbers)
    assert msgspec.json.decode(msgspec.json.encode(h), type=Histogram) == h


def test_a_negative_value_counts_as_zero() -> None:
    h = of([-5.0])
    assert (h.total, h.zero, h.sum, h.largest) == (1, 1, 0.0, 0.0)
