"""Probes in processes of the node: how many it takes, beside whom, and that none is left, whatever ends the sensor.

What is asked is the text of functions in memory of processes that have the library mapped (tests/peers/witness.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from apisensor.capture.memory_bio import MOST_OF_A_FILE
from apisensor.capture.probes import PER_PROCESS
from tests.peers.process import wait_until
from tests.peers.scenarios import BY_NAME
from tests.peers.witness import Witnesses, changed, functions_of, libssl_of, links_on, observed_by_others
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

CROWD = 500
COUNT = 300
"""Calls of a run; more are made in test_truth.py."""
WAIT_S = 30.0


@pytest.fixture
def copies(tmp_path: Path) -> list[Path]:
    """A copy of OpenSSL: inodes that no other sensor of this machine knows."""
    folder = tmp_path / "libraries"
    folder.mkdir()
    return [Path(shutil.copy(path, folder / path.name)) for path in libssl_of()]


def held_by(sensor: Sensor, libraries: list[Path]) -> int:
    """Links on these that the sensor holds, of which its parts give each to `run`."""
    return sum(str(sensor.pid) in link.holders for library in libraries for link in links_on(library))


def attached(sensor: Sensor, witnesses: Witnesses, libssl: Path) -> None:
    """Waits until each of them is observed at each function that a sensor attaches to for all processes."""
    wanted = set(functions_of(libssl)) - PER_PROCESS

    def all_changed() -> bool:
        return all(changed(pid, libssl) >= wanted for pid in witnesses.pids)

    wait_until(all_changed, WAIT_S, f"probes on {libssl}: {sensor.log()}")


def only(expected: set[str], witnesses: Witnesses, libssl: Path, *, own: int | None = None) -> None:
    """Waits until each of them is changed at these functions alone. Other sensors may run on the machine: what they
    observe is left out, by the links that they hold."""

    def as_expected() -> bool:
        wanted = expected | observed_by_others(libssl, own)
        return all(changed(pid, libssl) == wanted for pid in witnesses.pids)

    wait_until(as_expected, WAIT_S, f"nothing but {expected} to be observed")


def test_500_processes_cost_what_one_does_and_keep_nothing(copies: list[Path], tmp_path: Path) -> None:
    """A uprobe_multi link is a program on all its functions in every process. Times are printed, not judged."""
    libssl = copies[-1]
    held = {}
    for count in (1, CROWD):
        with Witnesses(tmp_path, count, copies) as witnesses:
            only(set(), witnesses, libssl)
            started = time.monotonic()
            with Sensor() as sensor:
                ready = time.monotonic()
                # They are older than the sensor: it finds the copy in the memory of each of them.
                attached(sensor, witnesses, libssl)
                held[count] = held_by(sensor, copies)
                notes = [note for note in sensor.status()["notes"] if "slowest attachment" in note]
                stopping = time.monotonic()
                assert sensor.stop() == 0
                ended = time.monotonic()
            print(f"{count} processes: ready in {ready - started:.2f} s, ended in {ended - stopping:.2f} s, {notes}")
            only(set(), witnesses, libssl)
    # Each has memory BIOs, as far as the sensor knows: one link of its own for one, one together for 500.
    assert held[CROWD] == held[1] > 10


def test_calls_of_many_event_loops_are_seen_by_one_link(
    copies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nginx, whose BIOs are sockets, by the same link as before."""
    libcrypto, _ = copies
    with Witnesses(tmp_path, MOST_OF_A_FILE, copies), Sensor() as sensor:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(libcrypto.parent))
        for name in ("aiohttp-50", "aiohttp-nginx-50"):
            scenario = replace(BY_NAME[name], count=COUNT)
            with scenario.start(tmp_path / name) as run:
                assert all(str(libcrypto) in Path(f"/proc/{pid}/maps").read_text() for pid in run.pids)
                sensor.attached(run.pids)
                calls = run.drive().calls
            verdict = sensor.verdict(calls)
            assert verdict.passes(), f"{name}: {verdict.report()}{sensor.log()}"
        assert held_by(sensor, [libcrypto]) == 1


def test_whatever_part_is_killed_the_probes_stay_and_with_run_they_go(copies: list[Path], tmp_path: Path) -> None:
    libssl = copies[-1]
    with Witnesses(tmp_path, 2, copies) as witnesses, Sensor() as sensor:
        attached(sensor, witnesses, libssl)
        parts = sensor.parts()
        for name, pid in parts.items():
            if name == "run":
                continue
            os.kill(pid, signal.SIGKILL)
            _wait_for_another(sensor, name, pid)
            attached(sensor, witnesses, libssl)
        alive = sensor.parts().values()
        os.kill(sensor.pid, signal.SIGKILL)
        only(set(), witnesses, libssl, own=sensor.pid)
        wait_until(
            lambda: not any(Path(f"/proc/{pid}").exists() for pid in alive if pid != sensor.pid), WAIT_S, "parts"
        )


def _wait_for_another(sensor: Sensor, name: str, pid: int) -> None:
    wait_until(lambda: _pid_now(sensor, name) not in (None, pid), WAIT_S, f"another {name}")


def _pid_now(sensor: Sensor, name: str) -> int | None:
    """The pid of a part as the status says it; None while core itself is away."""
    with contextlib.suppress(Exception):
        return next((part["pid"] for part in sensor.status()["parts"] if part["name"] == name), None)
    return None


class Counter:
    """Another tool's uprobe on a function: a perf event on each processor that counts calls of all processes."""

    def __init__(self, library: Path, function: str) -> None:
        offset = functions_of(library)[function]
        kind = int(Path("/sys/bus/event_source/devices/uprobe/type").read_text())
        path = ctypes.create_string_buffer(str(library).encode())
        # type, size, config, sample_period, sample_type, read_format, flags, wakeup, bp_type, path, offset
        head = (kind, 112, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(path), offset)
        attributes = ctypes.create_string_buffer(struct.pack("IIQQQQQIIQQ", *head), 112)
        libc = ctypes.CDLL(None, use_errno=True)
        self._events = []
        for processor in range(os.cpu_count() or 1):
            event = libc.syscall(298, attributes, -1, processor, -1, 8)  # perf_event_open, PERF_FLAG_FD_CLOEXEC
            assert event >= 0, os.strerror(ctypes.get_errno())
            self._events.append(event)

    def count(self) -> int:
        return sum(int.from_bytes(os.read(event, 8), "little") for event in self._events)

    def close(self) -> None:
        while self._events:
            os.close(self._events.pop())


def test_beside_another_sensor_and_another_tool(tmp_path: Path) -> None:
    """Both sensors report every call, with the tool and after it has gone; the one that stays after the other ended."""
    scenario = replace(BY_NAME["requests-threads"], count=COUNT)
    counter = Counter(libssl_of()[-1], "SSL_write_ex")

    def run(name: str, *sensors: Sensor) -> None:
        with scenario.start(tmp_path / name) as peers:
            for sensor in sensors:
                sensor.attached(peers.pids)
            calls = peers.drive().calls
        for sensor in sensors:
            verdict = sensor.verdict(calls)
            assert verdict.passes(), f"{name}: {verdict.report()}{sensor.log()}"

    try:
        with Sensor() as first:
            before = counter.count()
            with Sensor() as second:
                run("both", first, second)
            # At least a write for each request and each response.
            assert counter.count() - before >= 2 * scenario.count
            run("one", first)
            counter.close()
            run("alone", first)
    finally:
        counter.close()


_WRITES = """
import ssl, contextlib
session = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
for _ in range(10):
    with contextlib.suppress(ssl.SSLError):
        session.write(b"x")
"""


def test_a_tool_that_was_there_before_stays(copies: list[Path], tmp_path: Path) -> None:
    """Of two breakpoints on one function the sensor takes its own away."""
    libssl = copies[-1]
    counter = Counter(libssl, "SSL_write_ex")
    try:
        with Witnesses(tmp_path, 2, copies) as witnesses:
            only({"SSL_write_ex"}, witnesses, libssl)
            with Sensor() as sensor:
                attached(sensor, witnesses, libssl)
                assert sensor.stop() == 0
            only({"SSL_write_ex"}, witnesses, libssl)
            command = ["env", f"LD_LIBRARY_PATH={libssl.parent}", sys.executable, "-c", _WRITES]
            subprocess.run(command, check=True, timeout=20)
            assert counter.count() == 10
            counter.close()
            only(set(), witnesses, libssl)
    finally:
        counter.close()
