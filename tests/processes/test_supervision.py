"""kill -9 of any part under load: applications do not notice, the part is restarted, nothing is lost uncounted."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from apisensor.store.reader import StoreReader
from tests.peers.scenario import Run
from tests.peers.scenarios import BY_NAME
from tests.sensor import Sensor
from tests.truth import Call, disagreements

pytestmark = pytest.mark.kernel

ROUNDS = 4
REQUESTS_IN_RECORD = 16
"""HEADERS frames that one record of these scenarios may hold, when it was in hand as the worker died."""
WAITING_ROWS = 2000
"""Views that wait for their twin, and what waits for the next commit, when the store is looked at."""
WAIT_S = 30.0


def _until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _part(sensor: Sensor, name: str) -> dict[str, object]:
    return next(part for part in sensor.status()["parts"] if part["name"] == name)


def _pid(sensor: Sensor, name: str) -> int:
    pid = _part(sensor, name)["pid"]
    assert isinstance(pid, int)
    return pid


def _load(directory: Path, kill: Callable[[int], None]) -> list[Call]:
    """Four scenarios in a row; `kill` is called in the middle of each. Returns what the peers logged."""
    calls: list[Call] = []
    for number, name in enumerate(("curl-nginx-50", "aiohttp-50", "curl-nginx-h2-50", "requests-threads-50")):
        with BY_NAME[name].start(directory / name) as run:
            calls += _drive_and_kill(run, functools.partial(kill, number))
    # Applications unaffected: what client and server logged is the same, and complete.
    assert disagreements(calls) == []
    return calls


def _drive_and_kill(run: Run, kill: Callable[[], None]) -> list[Call]:
    timer = threading.Timer(0.4, kill)
    timer.start()
    truth = run.drive()
    timer.join()
    return truth.calls


@pytest.mark.parametrize("name", ["worker-0", "core", "capture", "finder"])
def test_a_killed_part_is_restarted_and_all_is_accounted_for(name: str, tmp_path: Path) -> None:
    # A ring that holds what passes while a worker starts again: this is about processes, not about a full ring.
    with Sensor(settings=[f"capture.ring_bytes={64 << 20}"]) as sensor:
        pids = [sensor.parts()[name]]

        def kill(_round: int) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[-1], signal.SIGKILL)
            _until(lambda: _part_if_any(sensor, name) not in (None, pids[-1]), f"{name} was not restarted")
            pids.append(_pid(sensor, name))

        calls = _load(tmp_path, kill)
        verdict = sensor.verdict(calls, seconds=5)
        counters = sensor.status()["counters"]
        lost = sum(counters[f"core.lost.{name}"] for name in ("with_worker", "in_core", "on_the_way"))
        assert len(set(pids)) == ROUNDS + 1
        assert _part(sensor, name)["restarts"] == ROUNDS
        assert verdict.wrong == [], verdict.report()
        assert verdict.extra == [], verdict.report()
        # The node may have other traffic, which is lost and counted with ours; where it has none, the sum is exact.
        # What the sensor cannot know either it counts apart: a record in hand, lines that were just being written.
        missing = len(verdict.missing)
        least = missing - REQUESTS_IN_RECORD * counters["worker.lost.records_in_hand"]
        most = missing + verdict.foreign + counters["core.perhaps_printed"]
        assert least <= lost <= most, f"{lost} lost\n{verdict.report()}{sensor.log()}"
        rows = StoreReader(f"{sensor.directory}/state/store/apisensor.db").facts().transactions
        taken = counters["core.received"] - counters["core.own_calls"]
        assert rows <= taken <= rows + counters["core.lost.rows"] + WAITING_ROWS
        assert name == "core" or counters["core.lost.rows"] == 0
        assert counters["worker.lost.records_in_hand"] == (ROUNDS if name == "worker-0" else 0)
        assert name == "core" or counters["core.perhaps_printed"] == 0
        if name in ("capture", "finder"):
            assert lost == 0, f"{lost} lost\n{verdict.report()}{sensor.log()}"
            assert verdict.passes(), verdict.report()


def _part_if_any(sensor: Sensor, name: str) -> object:
    """The part's pid as status says it; None while core itself is away."""
    try:
        return _part(sensor, name)["pid"]
    except Exception:  # noqa: BLE001 - any failure to answer means: not there yet
        return None


def test_a_page_at_which_nobody_looks_rests_until_somebody_does() -> None:
    """Its own end after a while is tests/web/test_serving.py's; the status of a process that was asked to end is the
    same."""
    with Sensor() as sensor:
        address, token = sensor.page()
        pid = _pid(sensor, "web")
        for _ in range(2):
            os.kill(pid, signal.SIGTERM)
            _until(lambda: _part(sensor, "web")["resting"] is True, "the page does not rest")
            resting = _part(sensor, "web")
            assert (resting["pid"], resting["restarts"], resting["last_exit"]) == (None, 0, None)
            assert "resting" in sensor.command("status")
            assert httpx.get(f"{address}/login?token={token}", timeout=WAIT_S).status_code in (200, 303)
            _until(lambda: _part(sensor, "web")["pid"] is not None, "the status has no page")
            assert _pid(sensor, "web") != pid
            pid = _pid(sensor, "web")
        assert "web ended" not in sensor.log()


def test_the_end_of_run_ends_everything(tmp_path: Path) -> None:
    with Sensor() as sensor:
        pids = [part["pid"] for part in sensor.status()["parts"]]
        ours = {link for link, holders in _links().items() if str(sensor.pid) in holders}
        assert len(ours) > 10
        with BY_NAME["curl-nginx"].start(tmp_path / "load") as run:
            os.kill(sensor.pid, signal.SIGKILL)
            truth = run.drive()
        assert disagreements(truth.calls) == []
        _until(lambda: not any(_alive(pid) for pid in pids), "a part outlived run")
    _until(lambda: not ours & set(_links()), "probes were left")
    with Sensor() as again:
        verdict = again.verdict(BY_NAME["curl-nginx"].run(tmp_path / "again").calls)
        assert verdict.passes(), verdict.report()


def _alive(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def _links() -> dict[str, set[str]]:
    """Every BPF link that a process holds: its id, and which processes hold it."""
    found: dict[str, set[str]] = {}
    for entry in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            for line in entry.read_text().splitlines():
                if line.startswith("link_id:"):
                    found.setdefault(line.split()[1], set()).add(entry.parts[2])
    return found


def test_a_second_run_says_that_one_is_running() -> None:
    with Sensor() as sensor:
        command = [*sensor._child.args[:4], *sensor._settings]  # type: ignore[index]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "runs on this node already" in done.stderr
    assert done.stderr.count("\n") == 1
