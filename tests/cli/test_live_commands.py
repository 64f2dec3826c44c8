"""tail and status as processes, against the real live server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from apisensor.live.client import LiveClient
from apisensor.live.listening import LiveError
from apisensor.transactions.json_form import json_line
from tests.cli.invoke import COMMAND, apisensor, environment, one_line
from tests.live.sensor import STATUS, Sensor
from tests.live.transactions import transaction


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    with Sensor(str(tmp_path / "live.sock")) as running:
        yield running


def at(sensor: Sensor) -> list[str]:
    return ["--set", f"general.runtime_directory={os.path.dirname(sensor.path)}"]


def start_tail(sensor: Sensor, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(  # type: ignore[call-overload]
        [*COMMAND, "tail", *arguments, *at(sensor)],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(TZ="UTC"), **options},
    )
    for _ in range(600):
        if sensor.subscribers:
            return process  # type: ignore[no-any-return]
        time.sleep(0.05)
    process.kill()
    raise AssertionError(process.communicate())


def test_tail_shows_what_its_filters_let_pass(sensor: Sensor) -> None:
    tail = start_tail(sensor, "-n", "2", "--status", "5xx", "--path", "/a*", "--host", "*.EXAMPLE.com")
    for status, path in [(200, "/a"), (500, "/b"), (503, "/a/\x1b[2J"), (502, "/a?b")]:
        sensor.publish(transaction(status=status, path=path))
    out, err = tail.communicate(timeout=60)
    assert (tail.returncode, err) == (0, b"")
    first, second = out.decode().splitlines()
    assert "api.example.com/a/\\x1b[2J 503" in first
    assert "api.example.com/a?b 502" in second


def test_tail_as_json_lines_is_what_was_sent(sensor: Sensor) -> None:
    tail = start_tail(sensor, "-n", "1", "--format", "jsonl")
    sensor.publish(transaction())
    out, err = tail.communicate(timeout=60)
    assert (tail.returncode, out, err) == (0, json_line(transaction()), b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)])
def test_tail_ends_quietly(sensor: Sensor, number: signal.Signals, status: int) -> None:
    tail = start_tail(sensor)
    sensor.publish(transaction())
    assert tail.stdout is not None
    assert tail.stdout.readline()
    tail.send_signal(number)
    _, err = tail.communicate(timeout=60)
    assert (tail.returncode, err) == (status, b"")


def test_tail_into_head(sensor: Sensor) -> None:
    reading, writing = os.pipe()
    tail = start_tail(sensor, stdout=writing)
    os.close(writing)
    os.close(reading)
    sensor.publish(transaction())
    _, err = tail.communicate(timeout=60)
    assert (tail.returncode, err) == (0, b"")


def test_tail_says_that_the_sensor_ended(sensor: Sensor) -> None:
    tail = start_tail(sensor)
    sensor.stop()
    _, err = tail.communicate(timeout=60)
    assert tail.returncode == 1
    assert one_line(err.decode()) == "apisensor: the sensor has ended"


def test_status_page(sensor: Sensor) -> None:
    done = apisensor("status", *at(sensor))
    assert (done.returncode, done.stderr) == (0, "")
    assert "apisensor 1.2.3" in done.stdout
    assert "sockets: sock tracepoints" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["run", "100", "root", "1h00m", "0", "30M"] in rows
    assert ["kernel.lost.ring_full", "17"] in rows
    assert ["worker.transactions", "123,456"] in rows
    assert ["sent", "1,000"] in rows
    assert "not running" in done.stdout
    assert "ended before with signal 9" in done.stdout
    assert "not hooked yet" in done.stdout
    assert "/opt/\\x1b[2Jcaddy" in done.stdout
    assert "blind" in done.stdout
    assert "\x1b" not in done.stdout
    assert "copy_fault" not in done.stdout  # a loss that did not happen


def test_status_as_json(sensor: Sensor) -> None:
    done = apisensor("status", "--format", "json", *at(sensor))
    assert msgspec.json.decode(done.stdout) == msgspec.to_builtins(STATUS)


@pytest.mark.parametrize("command", ["tail", "status"])
def test_without_a_sensor(command: str, tmp_path: Path) -> None:
    done = apisensor(command, "--set", f"general.runtime_directory={tmp_path}")
    assert (done.returncode, done.stdout) == (1, "")
    said = f"apisensor: no sensor is running on this node (nothing listens at {tmp_path}/live.sock)"
    assert one_line(done.stderr) == f"{said}: start it with `apisensor run`"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_without_the_right(sensor: Sensor) -> None:
    """The kernel's own refusal: a client of the client module alone, since nobody may not read this clone."""
    os.chown(sensor.path, 0, 65534)
    os.chmod(sensor.path, 0o600)
    for place in Path(sensor.path).parents:
        if place.owner() == "root" and not place.stat().st_mode & 0o001:
            place.chmod(place.stat().st_mode | 0o001)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65533, 65533, 65533)
            os.setresuid(65533, 65533, 65533)
            LiveClient(sensor.path)
        except LiveError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with os.fdopen(read) as said:
        text = said.read()
    assert text == f"no permission to ask the sensor at {sensor.path}: be root, or a member of the group nogroup"
