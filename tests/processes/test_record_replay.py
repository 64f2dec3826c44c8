"""What `record` writes, `replay` reads: the same transactions, processes and peers as the peers logged."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.peers.process import ROOT, node, program, wait_until
from tests.peers.scenario import Run
from tests.peers.scenarios import BY_NAME
from tests.peers.witness import links_on
from tests.sensor import Sensor, _user
from tests.truth import Transaction, Verdict, compare

pytestmark = pytest.mark.kernel

_COMMAND = [sys.executable, "-m", "apisensor.cli.main"]
WAIT_S = 60.0


class Recording:
    """`apisensor record` into a file."""

    def __init__(self, file: Path, *arguments: str) -> None:
        self.file, self.errors = file, file.with_suffix(".stderr")
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*_COMMAND, "record", str(file), *_user(), *arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )

    def log(self) -> str:
        return self.errors.read_text()

    def wait_ready(self) -> None:
        """It records, or has come to its end already: others of this node may make much traffic."""
        wait_until(lambda: "apisensor: ready" in self.log() or self.process.poll() is not None, WAIT_S, "the recording")

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(20)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def recording(file: Path, *arguments: str) -> Iterator[Recording]:
    made = Recording(file, *arguments)
    try:
        made.wait_ready()
        yield made
    finally:
        made.kill()


def event_loops(runs: Sequence[Run]) -> set[int]:
    """The processes of Node.js: the last that is attached to are functions of their own."""
    return {pid for run in runs for pid in run.pids if Path(f"/proc/{pid}/exe").resolve().name == "node"}


def observed(recorded: Recording) -> set[int]:
    """Processes that have a link of their own of the recording."""
    return {link.pid for link in links_on(Path(node()).resolve()) if str(recorded.process.pid) in link.holders}


def replay(file: Path) -> list[Transaction]:
    done = subprocess.run(
        [*_COMMAND, "replay", str(file), "--format", "jsonl"], cwd=ROOT, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_whole(verdict: Verdict, log: str) -> None:
    assert verdict.passes(), verdict.report() + log


@pytest.mark.parametrize("names", [("curl-nginx", "node-h2")])
def test_a_recording_replays_as_the_peers_logged(names: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "recording"
    calls = []
    programs: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        before = stack.enter_context(BY_NAME[names[0]].start(tmp_path / "0"))
        recorded = stack.enter_context(recording(file))
        assert recorded.process.poll() is None, recorded.log()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        runs = [before, *(stack.enter_context(BY_NAME[name].start(tmp_path / name)) for name in names[1:])]
        loops = event_loops(runs)
        assert loops
        wait_until(lambda: loops <= observed(recorded), WAIT_S, "Node.js to be attached to")
        for run in runs:
            programs |= {pid: os.readlink(f"/proc/{pid}/exe") for pid in run.pids}
            calls += run.drive().calls
        assert recorded.interrupt() == 0
        log = recorded.log()
        assert recorded.process.stdout is not None
        assert recorded.process.stdout.read() == b""
    assert "raw payloads" in log
    transactions = replay(file)
    assert_whole(compare(calls, transactions), log)
    paths = {call.path for call in calls}
    found = {t["process"]["pid"]: t["process"]["executable"] for t in transactions if t["path"] in paths}
    assert found == {pid: programs[pid] for pid in found}
    assert set(found) == {call.pid for call in calls}


def test_duration_and_size_end_it(tmp_path: Path) -> None:
    with BY_NAME["curl-nginx-plain"].start(tmp_path / "load") as run:
        timed = Recording(tmp_path / "timed", "--duration=1s")
        try:
            assert timed.process.wait(WAIT_S) == 0
        finally:
            timed.kill()
        assert replay(tmp_path / "timed") is not None
        with recording(tmp_path / "sized", "--max-bytes=300k") as sized:
            run.drive()
            assert sized.process.wait(WAIT_S) == 0
        assert (tmp_path / "sized").stat().st_size >= 300_000
        assert len(replay(tmp_path / "sized")) > 10


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = Path(tempfile.mkdtemp(dir=tmp_path))
    subprocess.run([program("mount"), "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run([program("umount"), str(folder)], check=True)


def test_a_full_disk_is_said_and_what_was_written_replays(disk: Path, tmp_path: Path) -> None:
    file = disk / "recording"
    recorded = Recording(file)
    try:
        recorded.wait_ready()
        with BY_NAME["curl-nginx-plain"].start(tmp_path / "load") as run:
            run.drive()
        assert recorded.process.wait(WAIT_S) == 1
        log = recorded.log()
    finally:
        recorded.kill()
    said = [line for line in log.splitlines() if "ready" not in line and "raw" not in line]
    assert len(said) == 1, said
    assert "No space left on device" in said[0]
    done = subprocess.run(
        [*_COMMAND, "replay", str(file), "--format", "jsonl"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert len(done.stdout.splitlines()) > 10
    assert done.returncode in (0, 1)  # 1: its last record is cut
    assert "Traceback" not in done.stderr


def test_a_disk_that_is_full_before_it_begins(disk: Path) -> None:
    (disk / "other").write_bytes(bytes(256 << 10))
    done = subprocess.run(
        [*_COMMAND, "record", str(disk / "recording"), *_user()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    _, said = done.stderr.splitlines()
    assert said == "apisensor: error: the recording cannot be written: No space left on device"
    assert done.returncode == 1


def test_a_running_sensor_is_not_in_the_recording(tmp_path: Path) -> None:
    """Its exports and its processes are left out; it sees nothing of the recorder either."""
    exporter = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with Sensor(environment=exporter) as sensor:
        own = {part["pid"] for part in sensor.status()["parts"]}
        where = f"--set=general.runtime_directory={sensor.directory}/run"
        with recording(tmp_path / "recording", where) as recorded:
            truth = BY_NAME["curl-nginx-each"].run(tmp_path / "load")
            assert recorded.interrupt() == 0
        verdict = sensor.verdict(truth.calls)
        assert_whole(verdict, sensor.log())
        transactions = replay(tmp_path / "recording")
        assert_whole(compare(truth.calls, transactions), "")
        assert {t["process"]["pid"] for t in transactions if t["process"]} & own == set()
