"""The tests' handle on the sensor, tried on a stand-in that is no sensor: it must notice everything that goes wrong."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests import sensor as module
from tests.sensor import Sensor, SensorError

HONEST = """
import json, os, signal, socket, sys, threading, time
counters = {"kernel.lost.ring_full": 3, "kernel.lost.map_full": 0, "worker.events": 9}
status = json.dumps({"kind": "status", "version": "1", "started": 0, "counters": counters}) + "\\n"
folder = next(one.partition("runtime_directory=")[2] for one in sys.argv if "runtime_directory=" in one)
os.mkdir(folder)
live = socket.socket(socket.AF_UNIX)
live.bind(folder + "/live.sock")
live.listen()
def answer():
    while True:
        asking, _ = live.accept()
        asking.makefile().readline()
        asking.sendall(status.encode())
threading.Thread(target=answer, daemon=True).start()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
print("compiling", file=sys.stderr, flush=True)
print("apisensor: ready, 4 probes", file=sys.stderr, flush=True)
for n in range(3):
    print(json.dumps({"kind": "transaction", "path": f"/{n}"}), flush=True)
print(json.dumps({"kind": "finding", "rule": "r"}), flush=True)
print(json.dumps({"kind": "dropped", "count": 5}), flush=True)
print("not JSON", flush=True)
time.sleep(60)
"""


def _stand_in(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "stand_in.py"
    file.write_text(program)
    monkeypatch.setattr(module, "_COMMAND", [sys.executable, str(file)])


def test_it_collects_lines_and_ends_the_sensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(HONEST, tmp_path, monkeypatch)
    with Sensor() as sensor:
        assert [t["path"] for t in sensor.wait_until(3)] == ["/0", "/1", "/2"]
        sensor.wait_until(lambda _: len(sensor.unexpected) == 1)
        assert [finding["rule"] for finding in sensor.findings] == ["r"]
        assert sensor.unexpected == [b"not JSON\n"]
        assert sensor.dropped == 5
        assert sensor.losses() == {"kernel.lost.ring_full": 3}
        assert sensor.log().startswith("compiling")
        with pytest.raises(SensorError, match=r"has not reported 4 transactions in 0\.2 s"):
            sensor.wait_until(4, seconds=0.2)
        assert sensor.stop() == 7
        with pytest.raises(SensorError, match=r"live\.sock"):
            sensor.status()
        pid, directory = sensor.pid, sensor.directory
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_sensor_that_does_not_start_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in("import sys; sys.exit('no BPF here')", tmp_path, monkeypatch)
    with pytest.raises(SensorError, match="ended with 1:\nno BPF here"), Sensor():
        pass


def test_a_sensor_that_is_never_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in("import time; time.sleep(60)", tmp_path, monkeypatch)
    monkeypatch.setattr(module, "READY_SECONDS", 0.3)
    sensor = Sensor()
    with pytest.raises(SensorError, match="was not ready"), sensor:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(sensor.pid, 0)


def test_what_the_sensor_leaves_running_is_ended_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stand_in(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print('apisensor: ready', child.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(60)\n",
        tmp_path,
        monkeypatch,
    )
    with Sensor() as sensor:
        child = int(sensor.log().split()[-1])
        assert Path(f"/proc/{child}/comm").read_text() == "sleep\n"
    state = Path(f"/proc/{child}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"
