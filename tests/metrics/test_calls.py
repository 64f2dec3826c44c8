"""Counting: which series, which bucket, and what happens when there is no room."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apisensor.metrics.calls import IDLE_NS, OVERFLOW_SERIES, SWEEP_NS, CallMetrics
from apisensor.metrics.conventions import HTTP_BOUNDS_NS, OVERFLOW, RPC_BOUNDS_NS
from apisensor.metrics.model import Series
from apisensor.transactions.model import Process
from tests.export.records import call, transactions

STARTED_NS = 1_700_000_000 * 10**9


def counted(*calls: Any, max_series: int = 1000) -> CallMetrics:
    metrics = CallMetrics(max_series, started_ns=STARTED_NS)
    for each in calls:
        metrics.observe(each)
    return metrics


def only(metrics: CallMetrics) -> Series:
    (series,) = metrics.series()
    return series


def test_a_bucket_holds_its_upper_bound() -> None:
    durations = [0, 1, 5_000_000, 5_000_001, 10_000_000_000, 10_000_000_001, 10**18]
    series = only(counted(*(call(duration_ns=duration) for duration in durations)))
    assert series.counts == [3, 1, *[0] * 11, 1, 2]
    assert (series.sum_ns, series.min_ns, series.max_ns) == (sum(durations), 0, 10**18)
    assert (series.count, series.start_ns) == (7, STARTED_NS)


def test_boundaries_are_the_conventions() -> None:
    advised = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
    assert [bound / 1e9 for bound in HTTP_BOUNDS_NS] == advised
    assert (0, *HTTP_BOUNDS_NS) == RPC_BOUNDS_NS


def test_calls_of_the_same_attributes_share_a_series_whatever_else_differs() -> None:
    metrics = counted(call(path="/a"), call(path="/b", pid=7), call(method="FOO"), call(method="BAR"))
    assert [(dict(s.attributes)["http.request.method"], s.count) for s in metrics.series()] == [
        ("GET", 2),
        ("_OTHER", 2),
    ]


def test_services_are_apart() -> None:
    processes = [Process(1, service="a"), Process(2, service="b"), Process(3, executable="/usr/bin/x"), None]
    metrics = counted(*(call(process=process) for process in processes))
    assert [s.service for s in metrics.series()] == ["a", "b", "unknown_service:x", "unknown_service"]


def test_a_call_without_a_duration_is_in_no_histogram() -> None:
    lost = call(status=None, duration_ns=None, response_body_size=None, incomplete_reason="response_not_seen")
    series = only(counted(lost, lost))
    assert (series.metric.name, series.counts) == ("apisensor.calls.without_duration", [2])
    assert dict(series.attributes) == {"apisensor.side": "server", "apisensor.incomplete_reason": "response_not_seen"}


def test_what_has_no_room_is_counted_in_the_overflow_of_its_service() -> None:
    routes = [call(route=f"/{n}") for n in range(10)]
    metrics = counted(*routes, *routes, max_series=4)
    kept = [s for s in metrics.series() if s.attributes != OVERFLOW]
    (overflow,) = (s for s in metrics.series() if s.attributes == OVERFLOW)
    assert [s.count for s in kept] == [2, 2, 2, 2]
    assert (overflow.service, overflow.count) == ("frontend", 12)
    assert metrics.counters() == {"metrics.series": 5, "metrics.overflowed_calls": 12, "metrics.retired_series": 0}


def test_overflow_itself_is_bounded_and_loses_no_call() -> None:
    calls = [call(process=Process(n, service=f"s{n}")) for n in range(1, 1001)]
    metrics = counted(*calls, max_series=100)
    series = list(metrics.series())
    assert len(series) <= 100 + OVERFLOW_SERIES
    assert sum(s.count for s in series) == 1000
    assert [s.service for s in series if s.attributes == OVERFLOW][-1] == "unknown_service"


def test_idle_series_make_room_and_begin_anew() -> None:
    metrics = counted(call(route="/old"), call(route="/busy"), max_series=2)
    later = call().start_ns + IDLE_NS - 1
    metrics.observe(call(route="/busy", start_ns=later))
    metrics.observe(call(route="/early", start_ns=later))
    assert metrics.counters()["metrics.overflowed_calls"] == 1
    much_later = later + SWEEP_NS + 1
    metrics.observe(call(route="/new", start_ns=much_later))
    found = {dict(s.attributes).get("http.route"): (s.count, s.start_ns) for s in metrics.series()}
    first = call()
    assert first.duration_ns is not None
    epoch = much_later + first.duration_ns + first.wall_offset_ns
    assert found == {"/busy": (2, STARTED_NS), "/new": (1, epoch), None: (1, STARTED_NS)}
    assert metrics.counters()["metrics.retired_series"] == 1


@given(st.lists(transactions, max_size=30), st.integers(1, 5))
def test_every_call_is_counted_once_in_bounded_series(calls: list[Any], max_series: int) -> None:
    for t in calls:  # all within an hour, so that no series retires
        t.start_ns, t.duration_ns = 0, t.duration_ns and t.duration_ns % IDLE_NS
    metrics = counted(*calls, max_series=max_series)
    series = list(metrics.series())
    assert sum(s.count for s in series) == len(calls)
    assert len([s for s in series if s.attributes != OVERFLOW]) <= max_series
    assert len({(s.metric, s.service, s.attributes) for s in series}) == len(series)
    known = sum(t.duration_ns or 0 for t in calls)
    assert sum(s.sum_ns for s in series) == known
