"""Far more than usual; and what is usual."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.detect.baseline import KEPT, Baseline
from apisensor.detect.detection import Detection
from apisensor.detect.model import Call
from apisensor.sections import Detect
from tests.detect.calls import call, identity, rules, run

MIB = 1 << 20
WINDOW = 60


def windows(sizes: list[float], first: int = 0, calls: int = 4, **fields: Any) -> list[Call]:
    """So many MiB in each window, in a few calls."""
    return [
        call((first + number) * WINDOW + part * 5, response_bytes=round(size * MIB / calls), **fields)
        for number, size in enumerate(sizes)
        for part in range(calls)
    ]


def others(count: int = 12) -> list[Call]:
    """A warm endpoint: other callers take 1 MiB a window."""
    return windows([1.0] * count, client="10.0.0.9")


def test_ordinary_traffic_is_no_finding() -> None:
    assert run(windows([1, 2, 1, 1.5, 3, 1, 2, 5, 1, 2, 9, 1, 4, 8, 9.9, 2, 1] * 4)) == []


@pytest.mark.parametrize("who", [{}, {"identity": identity("a"), "scheme": "bearer"}])
def test_far_more_than_usual(who: dict[str, Any]) -> None:
    before = windows([1.0] * 12, **who)
    burst = windows([60], first=12, **who)
    detection = Detection(Detect())
    assert run(before, detection) == []
    assert detection.observe(burst[0]) != []  # 15 MiB: the first call that crosses
    (finding,) = run(before + burst)
    assert (finding.rule, finding.severity, finding.count) == ("response-volume", "medium", 1)
    assert finding.identity == who.get("identity")
    assert (finding.client, finding.endpoint) == ("10.0.0.2", "e1")
    assert finding.evidence == {
        "bytes": 60 * MIB,
        "calls": 4,
        "window_seconds": WINDOW,
        "own_median_bytes": MIB,
        "own_deviation_bytes": 0,
        "endpoint_median_bytes": MIB,
        "endpoint_deviation_bytes": 0,
    }
    assert set(finding.transactions) <= {one.transaction for one in burst}
    (worse,) = run(before + windows([200], first=12, **who))
    assert worse.severity == "high"


def test_less_than_the_least_is_nothing() -> None:
    calls = windows([0.01] * 12) + windows([9.9], first=12)
    assert run(calls) == []
    assert rules(run(calls, exfiltration_min_bytes=9 * MIB)) == ["response-volume"]


def test_the_factor() -> None:
    calls = windows([2.0] * 12) + windows([18], first=12)
    assert run(calls) == []
    assert rules(run(calls, exfiltration_factor=8)) == ["response-volume"]


def test_what_varies_widely_needs_more() -> None:
    """Median 1 MiB, but the windows differ by as much as ten: the deviation counts beside the factor."""
    wide = [0.1, 1.9, 12.0, 1.0, 0.2, 14.0, 9.0, 0.1, 10.0, 1.1, 0.3, 8.0, 1.0]
    assert run(windows([*wide, 13.0])) == []


def test_the_warm_up() -> None:
    assert run(windows([0.1] * 8 + [500])) == []
    # A window joins the baseline when nobody can be late for it any more: one window later.
    assert run(windows([0.1] * 10 + [500])) == []
    assert rules(run(windows([0.1] * 11 + [500]))) == ["response-volume"]


def test_who_is_new_is_measured_by_the_endpoint() -> None:
    new = windows([50], first=13, client="10.0.0.77")
    (finding,) = run(others(14) + new)
    assert finding.client == "10.0.0.77"
    assert "own_median_bytes" not in finding.evidence
    assert run(others(5) + new) == []


def test_what_an_endpoint_usually_gives_is_no_finding() -> None:
    """A nightly copy: much for this caller, usual for the endpoint."""
    usual = windows([50.0] * 12, client="10.0.0.9", endpoint="backup")
    mine = windows([1.0] * 12, endpoint="things") + windows([50], first=12, endpoint="backup")
    assert run(usual + mine) == []
    rare = windows([1.0] * 12, endpoint="things") + windows([50], first=12, endpoint="export")
    assert rules(run(rare)) == ["response-volume"]


def test_one_story_is_one_finding() -> None:
    who: dict[str, Any] = {"identity": identity("a"), "scheme": "bearer"}
    found = run(windows([1.0] * 12, **who) + windows([100, 100, 100], first=12, calls=12, **who))
    assert [(finding.identity, finding.count) for finding in found] == [(identity("a"), 3)]


def test_many_identities_of_one_client_are_seen_at_the_client() -> None:
    before = [one for n in range(12) for one in windows([0.1], n, identity=identity(f"u{n % 3}"), scheme="bearer")]
    burst = [one for n in range(60) for one in windows([1], 13, calls=1, identity=identity(f"t{n}"), scheme="bearer")]
    found = run([*before, *burst])
    assert [(finding.client, finding.identity) for finding in found] == [("10.0.0.2", None)]


def test_what_lasts_becomes_usual() -> None:
    found = run(windows([1.0] * 12 + [50.0] * 60))
    assert len(found) == 1
    assert found[0].count < KEPT


def test_after_a_long_silence() -> None:
    assert rules(run(windows([1.0] * 12) + windows([100], first=100_000))) == ["response-volume"]


def test_late_calls_join_the_window_before_and_no_older_one() -> None:
    calls = windows([1.0] * 12)
    late = call(11 * WINDOW, response_bytes=50 * MIB)
    assert rules(run([*calls, call(12 * WINDOW), late])) == ["response-volume"]
    assert run([*calls, call(12 * WINDOW), call(13 * WINDOW), late]) == []


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(0, 100 * MIB), st.sampled_from("ab")), max_size=80))
def test_any_order(steps: list[tuple[int, int, str]]) -> None:
    detection = Detection(Detect(exfiltration_warm_up=3, exfiltration_window_seconds=10))
    calls = [call(seconds, response_bytes=size, client=client, endpoint=client) for seconds, size, client in steps]
    found = run(calls, detection)
    assert detection.counters()["detect.failed.response-volume"] == 0
    for finding in found:
        assert int(str(finding.evidence["bytes"])) >= 10 * MIB


@given(st.lists(st.integers(0, 1 << 40), min_size=1, max_size=100))
def test_median_and_deviation(values: list[int]) -> None:
    usual = Baseline(3)
    for value in values:
        usual.add(value)
    last = values[-KEPT:]
    middle = statistics.median(last)
    assert usual.usual() == (middle, statistics.median(abs(value - middle) for value in last))
    assert len(usual) == len(last)
