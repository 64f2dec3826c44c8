"""What the governor leaves out in the kernel: whole connections, counted, and back when it says so."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import pytest

from apisensor.capture.kernel import Map
from apisensor.events.decode import GOVERNOR
from bench.nginx_wrk import Nginx as BenchNginx
from bench.nginx_wrk import load
from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.process import wait_until
from tests.processes.client import CLIENT, PLAIN_CLIENT, Client, seen, told
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

_SYS_PIDFD_GETFD = 438

ALL = 256
WAIT_S = 30.0
CALLS = 5
TRIES = 5
"""Loads that are made until bodies are not all that is left out. One is enough on a machine that does nothing else; it
is less of one where others take most of the processors."""

_F_MMAPABLE = 1 << 10  # include/uapi/linux/bpf.h


class Word:
    """The governor's word to the kernel side and the workers: spoken by the test, as governor.cpu_share is 0."""

    def __init__(self, run: int) -> None:
        (number,) = [
            int(file.name)
            for file in Path(f"/proc/{run}/fdinfo").iterdir()
            if (fields := _fields(file)).get("value_size") == str(GOVERNOR.size)
            and fields["max_entries"] == "1"
            and int(fields["map_flags"], 16) & _F_MMAPABLE  # the workers read it where it lies
        ]
        process = os.pidfd_open(run)
        self._map = Map(ctypes.CDLL(None).syscall(_SYS_PIDFD_GETFD, process, number, 0), 4, GOVERNOR.size)
        os.close(process)

    def say(self, shed: int, *, bodies: bool) -> None:
        self._map.set(struct.pack("I", 0), GOVERNOR.pack(shed, bodies))

    def close(self) -> None:
        os.close(self._map.descriptor)


def _fields(file: Path) -> dict[str, str]:
    try:
        return dict(line.split(":\t", 1) for line in file.read_text().splitlines() if ":\t" in line)
    except FileNotFoundError:
        return {}  # closed since it was listed


def counters(sensor: Sensor) -> dict[str, int]:
    sensor.wait_for_report()
    found: dict[str, int] = sensor.status()["counters"]
    return found


@pytest.mark.parametrize("program", [CLIENT, PLAIN_CLIENT], ids=["tls", "plain"])
def test_connections_are_left_out_whole_and_come_back(
    program: str, nginx: Nginx, certificate: Certificate, tmp_path: Path
) -> None:
    port = nginx.ports.plain if program is PLAIN_CLIENT else nginx.ports.tls
    clients = []

    def client() -> Client:
        made = Client(program, nginx, certificate, tmp_path, None, port=port)
        clients.append(made)
        return made

    def calls(made: Client, prefix: str) -> None:
        for number in range(CALLS):
            made.get(f"/{prefix}/{number}")

    try:
        with Sensor() as sensor:
            word = Word(sensor.pid)
            older = client()
            sensor.attached([older.pid])
            number = iter(range(1000))

            def both_seen(made: Client, prefix: str) -> None:
                def there() -> bool:
                    made.get(f"/{prefix}/{next(number)}")
                    ends = {made.pid, *nginx.pids}
                    found = told(sensor, ends, f"/{prefix}/")
                    return {t["process"]["pid"] for t in found if t["complete"] and t["status"] == 200} == ends

                wait_until(there, WAIT_S, f"both views of /{prefix}/")

            both_seen(older, "before")
            word.say(ALL, bodies=True)
            # One look of the worker's takes all flows that are between two exchanges. There may be others than ours.
            wait_until(lambda: sensor.status()["counters"]["worker.lost.shed_flows"] >= 2, WAIT_S, "flows given up")
            before = counters(sensor)
            calls(older, "left-out")
            newer = client()
            calls(newer, "left-out")
            after = counters(sensor)
            pids = {older.pid, newer.pid, *nginx.pids}
            assert [t["path"] for t in told(sensor, pids, "/left-out/")] == []
            assert after["kernel.lost.shed_connections"] - before["kernel.lost.shed_connections"] >= 2
            # Of two connections, each seen at both ends: heads of some 150 bytes and 400 bytes of content.
            assert after["kernel.lost.shed_bytes"] - before["kernel.lost.shed_bytes"] > 4 * CALLS * 500
            word.say(0, bodies=False)
            both_seen(older, "after")
            both_seen(newer, "newer")
            found = told(sensor, pids, "/after/", "/newer/")
            assert {t["status"] for t in found} == {200}
            assert {t["response_body_size"] for t in found} == {400}
            assert {t["server"]["port"] for t in found if t["complete"]} == {port}
            assert {t["incomplete_reason"] for t in found} <= {None, "joined_late", "unbound"}
            assert seen(sensor, older.pid, "/newer/") == seen(sensor, newer.pid, "/after/") == []
            word.close()
    finally:
        for made in clients:
            made.peer.stop()


def test_it_keeps_the_sensor_under_its_share_by_itself(tmp_path: Path) -> None:
    """Under a load that takes far more than two percent of any machine's CPU that tests run on."""
    nginx = BenchNginx(tmp_path)
    try:
        with Sensor(settings=["governor.cpu_share=2"], arguments=["--format", "none"]) as sensor:
            for _ in range(TRIES):
                load(nginx, 10, 8)
                counted, status = counters(sensor), sensor.status()
                if counted["governor.level"] > 1:
                    break
            assert counted["governor.level"] > 1
            assert counted["worker.shed_bodies"] > 0
            assert counted["worker.lost.shed_flows"] + counted["kernel.lost.shed_connections"] > 0
            assert counted["kernel.lost.shed_bytes"] > 0
            assert any("the governor leaves out bodies and" in note for note in status["notes"])
            captured = sum(process["transactions"] for process in status["processes"] if process["pid"] == nginx.worker)
            assert 0 < captured < nginx.served()
    finally:
        nginx.stop()
