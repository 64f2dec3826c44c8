"""The whole sensor against ground truth: what client and server logged themselves, nothing missing, extra or wrong."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

import pytest

from tests.peers.plan import HUGE
from tests.peers.process import PeerError, wait_until
from tests.peers.scenario import Scenario
from tests.peers.scenarios import BY_NAME, CONTAINER_SCENARIOS, SCENARIOS, SIZE_SCENARIOS
from tests.sensor import ATTACH_SECONDS, Sensor

pytestmark = pytest.mark.kernel

LATE_LIBRARIES = 0.1
"""Share of calls whose TLS library may come too late, on a busy machine; on an idle one it is 0."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_is_reported(scenario: Scenario, sensor: Sensor, tmp_path: Path) -> None:
    truth = scenario.run(tmp_path, sensor.attached)
    verdict = sensor.verdict(truth.calls)
    assert verdict.passes(), verdict.report() + sensor.log()
    encrypted = [match.transaction["tls"] for match in verdict.matched if match.call.tls]
    named = Counter(one["library"] if one else None for one in encrypted)
    # A process with one call may be told of before its library is: then none is named, but never another.
    assert set(named) - {None} == scenario.tls_libraries - {None}
    assert not scenario.tls or named[None] <= LATE_LIBRARIES * verdict.expected, named


@pytest.mark.parametrize("scenario", SIZE_SCENARIOS, ids=lambda scenario: scenario.name)
def test_sizes_are_exact_from_nothing_to_50_MiB(scenario: Scenario, sensor: Sensor, tmp_path: Path) -> None:
    """Also where a part of a content was left out, which the call then says."""
    verdict = sensor.verdict(scenario.run(tmp_path, sensor.attached).calls)
    assert verdict.exact, verdict.report() + sensor.log()
    assert verdict.unbound == []
    for match in verdict.matched:
        call, reported = match.call, match.transaction
        sizes = (reported["request_body_size"], reported["response_body_size"])
        assert sizes == (call.request_size, call.response_size), call.path
        assert reported["status"] == call.status
        assert reported["complete"] or max(sizes) >= HUGE, (call.path, reported["incomplete_reason"])


@pytest.mark.parametrize("scenario", CONTAINER_SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_in_containers_is_reported(scenario: Scenario, sensor: Sensor, tmp_path: Path) -> None:
    truth = scenario.run(tmp_path)
    verdict = sensor.verdict(truth.calls)
    assert verdict.passes(), verdict.report() + sensor.log()


def test_containers_of_one_image_share_what_is_attached(tmp_path: Path) -> None:
    """Each has the image's library in a mount of its own: one file more than before at most, however many run.

    A sensor of its own: others have met these files. The node may have more that are called so, and a container of an
    earlier scenario may still be ending.
    """
    with Sensor() as fresh:

        def called(path: str) -> list[bool]:
            return [library["probes"] > 0 for library in fresh.status()["libraries"] if library["path"] == path]

        before = Counter(library["path"] for library in fresh.status()["libraries"])
        with BY_NAME["containers"].start(tmp_path / "containers") as run:
            maps = [Path(f"/proc/{pid}/maps").read_text().splitlines() for pid in run.pids]
            lines = [next(line for line in of_one if "/libssl" in line and " r-xp " in line) for of_one in maps]
            assert len({os.readlink(f"/proc/{pid}/ns/mnt") for pid in run.pids}) >= 2
            (path,) = {line.split()[5] for line in lines}
            with contextlib.suppress(PeerError):  # it is attached to already where such a container is still ending
                wait_until(lambda: sum(called(path)) > before[path], ATTACH_SECONDS, f"another {path}")
            verdict = fresh.verdict(run.drive().calls)
            assert verdict.passes(), verdict.report() + fresh.log()
        found = called(path)
        assert found
        assert all(found)
        assert len(found) - before[path] <= 1


def test_nothing_was_lost(sensor: Sensor) -> None:
    """Runs last: no loss counter rose in any of the scenarios, and nothing failed.

    Lines that were left out are not asked for here: each scenario has shown that none was of its own processes.
    """
    counters = sensor.status()["counters"]
    bad = ("lost", "failed", "rejected", "dropped", "evicted")
    found = {name: count for name, count in counters.items() if count and any(word in name for word in bad)}
    assert {name: count for name, count in found.items() if name != "core.lost.not_printed"} == {}


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
    )
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    assert len(chosen) == len(names)
    with Sensor(settings=["capture.backend=syscall"]) as running:
        for scenario in chosen:
            directory = tmp_path / scenario.name
            directory.mkdir()
            verdict = running.verdict(scenario.run(directory, running.attached).calls)
            assert verdict.passes(), f"{scenario.name}: {verdict.report()}{running.log()}"
