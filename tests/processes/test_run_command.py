"""`apisensor run` as its user meets it: how it ends, what it says where it cannot start, and what asks it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from apisensor.enrich.processes import ProcessTable
from apisensor.processes import log
from apisensor.processes.core import QUIET_S, Core
from apisensor.processes.node_status import NodeStatus
from apisensor.sections import Settings
from tests.peers.process import ROOT, Peer, program, wait_until
from tests.peers.scenarios import BY_NAME
from tests.sensor import READY, STOP_SECONDS, Sensor, _user

pytestmark = pytest.mark.kernel

_COMMAND = [sys.executable, "-m", "apisensor.cli.main"]


@pytest.fixture
def place() -> Iterator[list[str]]:
    """Settings of a sensor with directories of its own."""
    directory = tempfile.mkdtemp(prefix="apisensor-test-")
    Path(directory).chmod(0o755)
    yield [
        f"--set=general.runtime_directory={directory}/run",
        f"--set=general.state_directory={directory}/state",
        "--set=web.port=0",
    ]
    shutil.rmtree(directory)


_AS_NOBODY = """
import os, pwd, sys
# This user need not be able to read where the clone lies.
import apisensor.cli.record, apisensor.cli.run, apisensor.processes.run
from apisensor.cli.main import main
nobody = pwd.getpwnam("nobody")
os.setgroups([])
os.setresgid(*[nobody.pw_gid] * 3)
os.setresuid(*[nobody.pw_uid] * 3)
sys.exit(main(sys.argv[1:]))
"""


def run(
    *arguments: str, environment: dict[str, str] | None = None, command: Sequence[str] = _COMMAND
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refuses(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error, exit status 1, nothing on standard output."""
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("apisensor: ")
    assert done.stdout == ""
    for word in words:
        assert word in done.stderr


def test_a_reader_that_has_enough_ends_it_quietly(place: list[str], tmp_path: Path) -> None:
    errors = tmp_path / "errors"
    with errors.open("wb") as log:
        sensor = subprocess.Popen(
            [*_COMMAND, "run", "--format", "jsonl", *place, *_user()],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until(lambda: READY in errors.read_text() or sensor.poll() is not None, 60, "the sensor")
        assert sensor.stdout is not None
        head = subprocess.Popen([program("head"), "-n3"], stdin=sensor.stdout, stdout=subprocess.PIPE)
        sensor.stdout.close()
        BY_NAME["curl-nginx-plain"].run(tmp_path / "load")
        output, _ = head.communicate(timeout=20)
        assert [json.loads(line)["kind"] for line in output.splitlines()] == ["transaction"] * 3
        assert sensor.wait(STOP_SECONDS) == 0
    finally:
        if sensor.poll() is None:
            os.killpg(sensor.pid, signal.SIGKILL)
            sensor.wait()
    *_, ready, page = errors.read_text().splitlines()  # before them, on a busy machine: that it is still starting
    assert "ready" in ready
    assert "/login?token=" in page
    assert not _parts_with(place)


def _parts_with(place: list[str]) -> list[str]:
    """Processes that have this sensor's directory in their arguments."""
    needle = place[0].partition("=")[2].partition("=")[2].encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes()
        except OSError:
            continue
        if needle in text:
            found.append(f"{entry}: {text[:200]!r}")
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_open_exchanges_come_out(number: signal.Signals) -> None:
    """A request without its response yet is given at the end, and says so."""
    with socket.create_server(("127.0.0.1", 0)) as server, Sensor() as sensor:
        path = f"/open-{number.name.lower()}"
        with socket.create_connection(server.getsockname()) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            accepted, _ = server.accept()
            assert accepted.recv(1000)
            time.sleep(0.3)
            pids = [part["pid"] for part in sensor.status()["parts"]]
            os.kill(sensor.pid, number)
            assert sensor.stop() == 0
            accepted.close()
        found = [t for t in sensor.transactions if t["path"] == path]
        assert sorted(t["side"] for t in found) == ["client", "server"]
        for t in found:
            assert (t["status"], t["complete"], t["incomplete_reason"]) == (None, False, "response_not_seen")
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_ctrl_c_while_programs_are_compiled(place: list[str]) -> None:
    command = [*_COMMAND, "run", *place, *_user()]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True) as sensor:
        wait_until(lambda: _compiles(sensor.pid), STOP_SECONDS, "its loader's compiler")
        os.killpg(sensor.pid, signal.SIGINT)  # as a terminal does
        _, said = sensor.communicate(timeout=STOP_SECONDS)
    assert (sensor.returncode, said) == (0, "")


def _compiles(pid: int) -> bool:
    """Whether a process of this sensor has the compiler in memory."""
    children = [child for of in Path(f"/proc/{pid}/task").glob("*/children") for child in _text(of).split()]
    return any("libbcc" in _text(Path(f"/proc/{child}/maps")) for child in children)


def _text(file: Path) -> str:
    """ "" of a process or thread that is gone."""
    try:
        return file.read_text()
    except OSError:
        return ""


def test_another_user_may_not(place: list[str]) -> None:
    assert_refuses(run("run", *place, *_user(), command=[sys.executable, "-c", _AS_NOBODY]), "root", "sudo")


def test_who_may_not_record_leaves_no_file(place: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = run("record", f"{folder}/x.rec", *place, *_user(), command=[sys.executable, "-c", _AS_NOBODY])
        assert_refuses(done, "root", "sudo")
        assert os.listdir(folder) == []


@pytest.mark.parametrize("key", ["general.user", "general.sandbox_user"])
def test_a_user_that_is_missing_or_root(place: list[str], key: str) -> None:
    assert_refuses(run("run", *place, *_user(), f"--set={key}=no-such-user-here"), "no-such-user-here", "useradd", key)
    assert_refuses(run("run", *place, *_user(), f"--set={key}=root"), key, "without rights")


def test_what_parses_must_not_be_who_talks_to_the_network(place: list[str]) -> None:
    done = run("run", *place, "--set=general.user=nobody", "--set=general.sandbox_user=nobody")
    assert_refuses(done, "general.user and general.sandbox_user", "name another one")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"),
    ],
)
def test_a_wrong_value_for_the_export(variable: str, value: str, place: list[str]) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", variable: value}
    done = run("run", *place, *_user(), environment=environment)
    assert_refuses(done, variable, value)


def test_a_wrong_setting(place: list[str]) -> None:
    done = run("run", *place, "--set=capture.ring_bytes=12345")
    assert_refuses(done, "capture.ring_bytes", "power of two")


def test_directories_that_cannot_be_made(place: list[str]) -> None:
    done = run("run", *_user(), *place[1:], "--set=general.runtime_directory=/proc/nowhere")
    assert_refuses(done, "/proc/nowhere")


def test_status_and_tail_of_a_running_sensor(tmp_path: Path) -> None:
    with Sensor() as sensor:
        settings = sensor._settings
        tails = {
            name: Peer([*_COMMAND, "tail", "--format", form, *arguments, *settings], tmp_path / name)
            for name, form, arguments in (
                ("all", "jsonl", ["-n", "50"]),
                ("clients", "jsonl", ["--side", "client", "--method", "GET", "-n", "20"]),
                ("table", "table", ["--status", "4xx", "-n", "5"]),
                ("none", "jsonl", ["--path", "/no-such-path-*", "-n", "1"]),
            )
        }
        try:
            wait_until(lambda: sensor.status()["counters"]["live.subscribers"] == len(tails), 20, "all tails")
            truth = BY_NAME["curl-nginx"].run(tmp_path / "load")
            sensor.verdict(truth.calls)
            output = {name: tail.finish(b"", 20) for name, tail in tails.items() if name != "none"}
            assert len(output["all"].splitlines()) == 50
            clients = [json.loads(line) for line in output["clients"].splitlines()]
            assert {(t["side"], t["method"]) for t in clients} == {("client", "GET")}
            table = output["table"].decode().splitlines()
            assert len(table) == 5
            assert all(" 404 " in line for line in table)
            assert tails["none"].process.poll() is None
            page = run("status", *settings)
            assert page.returncode == 0
            for word in ("Parts", "worker-0", "capture", "libssl", "nothing"):
                assert word in page.stdout, page.stdout
            sensor.stop()
            assert tails["none"].process.wait(10) == 1
            assert "the sensor has ended" in tails["none"].last_words()
        finally:
            for tail in tails.values():
                tail.stop()
        gone = run("status", *settings)
        assert_refuses(gone)


def test_a_quiet_node_is_explained_once_and_again_after_the_next_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Core's own wiring with a clock of the test's: other tenants of the node may make traffic at any time."""
    now = [100.0]
    monkeypatch.setattr("apisensor.processes.core.time.monotonic", lambda: now[0])
    core = Core.__new__(Core)
    core._node = NodeStatus(dict, ProcessTable(), None, None)
    core._log = log.make(Settings(), "core")
    core._last_transaction, core._told_quiet = now[0], False

    def said_at(time: float) -> list[str]:
        now[0] = time
        core._quiet()
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    assert said_at(100 + QUIET_S - 0.1) == []
    first, second = said_at(100 + QUIET_S)
    assert first.startswith("apisensor: ")
    assert "no HTTP call seen for 10 s: 0 connections" in first
    assert "curl" in second
    assert said_at(100 + 3 * QUIET_S) == []
    core._last_transaction = now[0]
    assert said_at(now[0] + 1) == []
    assert said_at(now[0] + QUIET_S) != []
