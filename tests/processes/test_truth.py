"""The whole sensor against ground truth: what client and server logged themselves, nothing missing, extra or wrong."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

import pytest

from apisensor.capture.libraries import identity_of
from tests.peers.plan import HUGE
from tests.peers.process import START_SECONDS, wait_until
from tests.peers.scenario import Scenario
from tests.peers.scenarios import BY_NAME, CONTAINER_SCENARIOS, SCENARIOS, SIZE_SCENARIOS
from tests.sensor import ATTACH_SECONDS, REPORT_SECONDS, Sensor
from tests.truth import Call

pytestmark = pytest.mark.kernel

LATE_LIBRARIES = 0.1
"""Share of calls whose TLS library may come too late, on a busy machine; on an idle one it is 0."""


@pytest.fixture(scope="module")
def made() -> list[Call]:
    """The calls of all scenarios."""
    return []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_is_reported(scenario: Scenario, sensor: Sensor, made: list[Call], tmp_path: Path) -> None:
    truth = scenario.run(tmp_path, sensor.attached)
    made += truth.calls
    verdict = sensor.verdict(truth.calls, extra_seconds=0)
    assert verdict.passes(), verdict.report() + sensor.log()
    encrypted = [match.transaction["tls"] for match in verdict.matched if match.call.tls]
    named = Counter(one["library"] if one else None for one in encrypted)
    # A process with one call may be told of before its library is: then none is named, but never another.
    assert set(named) - {None} == scenario.tls_libraries - {None}
    assert not scenario.tls or named[None] <= LATE_LIBRARIES * verdict.expected, named


@pytest.mark.parametrize("scenario", SIZE_SCENARIOS, ids=lambda scenario: scenario.name)
def test_sizes_are_exact_from_nothing_to_50_MiB(
    scenario: Scenario, sensor: Sensor, made: list[Call], tmp_path: Path
) -> None:
    """Also where a part of a content was left out, which the call then says."""
    calls = scenario.run(tmp_path, sensor.attached).calls
    made += calls
    verdict = sensor.verdict(calls, extra_seconds=0)
    assert verdict.exact, verdict.report() + sensor.log()
    assert verdict.unbound == []
    for match in verdict.matched:
        call, reported = match.call, match.transaction
        sizes = (reported["request_body_size"], reported["response_body_size"])
        assert sizes == (call.request_size, call.response_size), call.path
        assert reported["status"] == call.status
        assert reported["complete"] or max(sizes) >= HUGE, (call.path, reported["incomplete_reason"])


@pytest.mark.parametrize("scenario", CONTAINER_SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_in_containers_is_reported(
    scenario: Scenario, sensor: Sensor, made: list[Call], tmp_path: Path
) -> None:
    truth = scenario.run(tmp_path, lambda pids: _attached(sensor, pids))
    made += truth.calls
    verdict = sensor.verdict(truth.calls, extra_seconds=0)
    assert verdict.passes(), verdict.report() + sensor.log()


def test_containers_of_one_image_share_what_is_attached(tmp_path: Path) -> None:
    """Each has the image's library in a mount of its own, yet it is one file, attached once, however many run."""
    with Sensor() as sensor, BY_NAME["containers"].start(tmp_path / "containers") as run:
        assert len({os.readlink(f"/proc/{pid}/ns/mnt") for pid in run.pids}) >= 2
        _attached(sensor, run.pids)
        (file,) = {_libssl(pid) for pid in run.pids}
        verdict = sensor.verdict(run.drive().calls)
        assert verdict.passes(), verdict.report() + sensor.log()
        assert [library["file"] for library in sensor.status()["libraries"]].count(file or "") == 1


def _attached(sensor: Sensor, pids: list[int]) -> None:
    """Waits until the libssl of each of these is attached, by the file that it is: in a container, a path says
    nothing."""
    wait_until(lambda: all(map(_libssl, pids)), START_SECONDS, "the programs in containers to be loaded")
    files = {_libssl(pid) for pid in pids}

    def attached() -> bool:
        return files <= {library["file"] for library in sensor.status()["libraries"] if library["probes"]}

    wait_until(attached, ATTACH_SECONDS, f"{files} to be attached")


def _libssl(pid: int) -> str | None:
    """Which file the libssl that a process has mapped is to the sensor; None as long as it has none."""
    with contextlib.suppress(FileNotFoundError):  # it executes another program just now
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, flags, *_ = line.split()
            if "/libssl" in line and flags == "r-xp":
                with Path(f"/proc/{pid}/map_files/{span}").open("rb") as file:
                    return identity_of(file.fileno())
    return None


def test_nothing_was_lost(sensor: Sensor, made: list[Call], tmp_path: Path) -> None:
    """Runs last: no loss counter rose in any of the scenarios, nothing failed, and nothing was told twice since.

    Lines may have been left out only beside calls of others on this node, and each of them has to be said. None was of
    the scenarios' processes: each would have missed it.
    """
    verdict = sensor.verdict(made)
    assert verdict.exact or not made, verdict.report()
    counters = sensor.status()["counters"]
    bad = ("lost", "failed", "rejected", "dropped", "evicted")
    found = {name: count for name, count in counters.items() if count and any(word in name for word in bad)}
    left_out = found.pop("core.lost.not_printed", 0)
    assert found == {}
    if left_out:
        own = {call.pid for call in made}
        assert {t["process"] and t["process"]["pid"] for t in sensor.transactions} - own
        BY_NAME["curl-nginx-plain"].run(tmp_path)  # they are said before the next line
        wait_until(lambda: sensor.dropped >= left_out, REPORT_SECONDS, f"{left_out} lines to be said")


def test_the_syscall_back_end_gives_the_same(tmp_path: Path) -> None:
    """The walk of the file table, for kernels before 6.3: the same contract, the same result."""
    names = (
        "curl-nginx",
        "node-h2c-50",
        "aiohttp-50",
        "requests-threads-plain-50",
        "go-50",
        "gnutls-50",
        "unix-vectors-fork",
        "unix-splice",
    )
    with Sensor(settings=["capture.backend=syscall"]) as running:
        for scenario in map(BY_NAME.__getitem__, names):
            directory = tmp_path / scenario.name
            directory.mkdir()
            verdict = running.verdict(scenario.run(directory, running.attached).calls)
            assert verdict.passes(), f"{scenario.name}: {verdict.report()}{running.log()}"
