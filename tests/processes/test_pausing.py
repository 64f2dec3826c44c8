"""Capture switched off and on while the sensor runs, in the kernel, for connections that are open."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apisensor.capture.procfs import pids
from tests.peers import certificates
from tests.peers.nginx import Nginx
from tests.peers.process import wait_until
from tests.processes.client import CLIENT, Client, told
from tests.sensor import Sensor, SensorError

pytestmark = pytest.mark.kernel

WAIT_S = 30.0
CALLS = 5


class Room:
    """A kept TLS connection between a client and nginx, and the sensor that sees both ends."""

    def __init__(self, sensor: Sensor, client: Client, nginx: Nginx) -> None:
        self.sensor, self.client, self.nginx = sensor, client, nginx
        self._number = 0

    def views(self, prefix: str) -> set[int]:
        """The two of which complete calls to such paths were reported."""
        return {t["process"]["pid"] for t in told(self.sensor, self.pids, f"/{prefix}/") if t["complete"]}

    @property
    def pids(self) -> set[int]:
        """Of both ends."""
        return {self.client.pid, *self.nginx.pids}

    def is_of(self, transaction: dict[str, Any], prefix: str) -> bool:
        """The client's view of a call to such a path."""
        return transaction["side"] == "client" and str(transaction["path"]).startswith(f"/{prefix}/")

    def calls(self, prefix: str, count: int = CALLS) -> None:
        for _ in range(count):
            self._number += 1
            self.client.get(f"/{prefix}/{self._number}")

    def until_seen(self, prefix: str, views: set[int]) -> None:
        def there() -> bool:
            self.calls(prefix, 1)
            return self.views(prefix) >= views

        wait_until(there, WAIT_S, f"calls of {views} to /{prefix}/")

    def until_told(self, prefix: str, views: set[int]) -> None:
        wait_until(lambda: self.views(prefix) >= views, WAIT_S, f"what {views} did of /{prefix}/")

    def counter(self, name: str) -> int:
        self.sensor.wait_for_report()
        return int(self.sensor.status()["counters"][name])

    def notes(self) -> list[str]:
        return [note for note in self.sensor.status()["notes"] if "paused" in note]


def test_a_port_a_process_a_namespace_and_one_connection(tmp_path: Path) -> None:
    certificate = certificates.make(tmp_path / "certificate")
    nginx = Nginx(tmp_path / "nginx", certificate)
    client = Client(CLIENT, nginx, certificate, tmp_path, None)
    try:
        with Sensor() as sensor, ExitStack() as stack:
            sensor.attached([client.pid])
            room = Room(sensor, client, nginx)
            both = room.pids
            space = os.readlink(f"/proc/{client.pid}/ns/net").removeprefix("net:[").removesuffix("]")
            room.until_seen("before", both)
            for kind, value, left in (
                ("port", str(nginx.ports.tls), set()),
                ("process", str(client.pid), set(nginx.pids)),
                ("namespace", space, set()),
            ):
                rule = [f"--{kind}", value]
                before = room.counter("kernel.paused_bytes")
                assert f"nothing of {kind} {value} is captured" in sensor.command("pause", *rule)
                room.calls(f"paused-{kind}")
                assert room.counter("kernel.paused_bytes") - before > CALLS * 500
                room.until_told(f"paused-{kind}", left)
                assert room.views(f"paused-{kind}") == left
                assert room.notes() == [f"paused, nothing of it is captured: {kind} {value}"]
                assert sensor.command("resume", *rule) == f"{kind} {value} is captured again\n"
                room.until_seen(f"resumed-{kind}", both)
            # A client's port is one connection's.
            (port,) = {t["client"]["port"] for t in sensor.transactions if room.is_of(t, "before")}
            other = Room(sensor, Client(CLIENT, nginx, certificate, tmp_path, None), nginx)
            stack.callback(other.client.peer.stop)
            sensor.command("pause", "--port", str(port))
            room.calls("paused-connection")
            other.until_seen("other", {other.client.pid, *nginx.pids})
            assert room.views("paused-connection") == set()
            sensor.command("resume", "--port", str(port))
            room.until_seen("resumed-connection", both)
            # Of what was under way meanwhile nothing is said that is not so.
            found = told(sensor, both, "/resumed-")
            assert {t["incomplete_reason"] for t in found} <= {None, "detached"}
            assert {t["status"] for t in found if t["complete"]} == {200}
            assert {t["response_body_size"] for t in found if t["complete"]} == {400}
            with pytest.raises(SensorError, match="port 1 is not paused"):
                sensor.command("resume", "--port", "1")
            never = max(pids()) + 1000
            with pytest.raises(SensorError, match=f"no process {never}"):
                sensor.command("pause", "--process", str(never))
            # The rule is in a map that run holds: the next capture process goes on with it.
            sensor.command("pause", "--port", str(nginx.ports.tls), "--seconds", "600")
            (capture,) = [part["pid"] for part in sensor.status()["parts"] if part["name"] == "capture"]
            os.kill(capture, 9)
            wait_until(lambda: len(room.notes()) == 1 and "600" not in room.notes()[0], WAIT_S, "the next one's word")
            room.calls("paused-still")
            sensor.command("resume", "--port", str(nginx.ports.tls))
            room.until_seen("at-last", both)
            assert room.views("paused-still") == set()
    finally:
        client.peer.stop()
        nginx.stop()
