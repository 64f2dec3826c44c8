"""The never-capture list holds in the kernel: of what is on it nothing appears anywhere, of all else everything."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import certificates
from tests.peers.certificates import Certificate
from tests.peers.containers import ContainerCurl
from tests.peers.curl import Curl
from tests.peers.nginx import Nginx
from tests.peers.plan import Request, new_run, plan
from tests.peers.process import Peer, program
from tests.peers.scenarios import BY_NAME
from tests.sensor import Sensor
from tests.truth import Call

pytestmark = pytest.mark.kernel

COUNT = 40
"""Requests of each client: a rule that leaks does so with the first."""


class Room:
    """An nginx that anybody may see, and clients of it."""

    def __init__(self, directory: Path, certificate: Certificate) -> None:
        self.directory, self.certificate = directory, certificate
        self.nginx = Nginx(directory / "nginx", certificate)

    def curl(self, *, tls: bool = True, nginx: Nginx | None = None) -> tuple[Curl, list[Request]]:
        run = new_run()
        base = (nginx or self.nginx).base("127.0.0.1", "http/1.1", tls)
        made = Curl(self.directory / f"curl-{run}", base, self.certificate.certificate, "http/1.1")
        return made, plan("never", COUNT, run)

    def drive(
        self, *, executable: str | None = None, tls: bool = True, nginx: Nginx | None = None
    ) -> tuple[list[Request], list[Call]]:
        """A curl that starts now and makes its calls."""
        curl, requests = self.curl(tls=tls, nginx=nginx)
        peer = Peer([executable or program("curl"), *curl.arguments], curl.directory / "stderr")
        try:
            return requests, curl.drive(peer, requests)
        finally:
            peer.stop()

    def served(self, requests: list[Request]) -> list[Call]:
        """nginx's own account of these."""
        return self.nginx.calls_to(request.path for request in requests)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path, certificates.make(tmp_path / "certificate"))
    yield made
    made.nginx.stop()


def assert_seen(sensor: Sensor, calls: list[Call]) -> None:
    verdict = sensor.verdict(calls)
    assert verdict.passes(), verdict.report() + sensor.log()


def assert_unseen(sensor: Sensor, requests: list[Request], side: str | None = None) -> None:
    """Nothing of these calls stands in any line of the sensor's output, nor in its log or its status."""
    tag = requests[0].path.split("/")[1]
    lines = [json.dumps(t) for t in sensor.transactions if side is None or t["side"] == side]
    assert [line for line in lines if tag in line] == []
    assert tag not in sensor.log(10_000)
    assert tag not in json.dumps(sensor.status())
    assert sensor.unexpected == []


def counter(sensor: Sensor, name: str) -> int:
    """A counter of the kernel; it is read once a second."""
    sensor.wait_for_report()
    return int(sensor.status()["counters"][name])


def test_ports(room: Room, tmp_path: Path) -> None:
    """curl has the port at the other end, nginx at its own."""
    secret = Nginx(tmp_path / "secret", room.certificate)
    try:
        with Sensor(settings=[f"capture.never_ports={secret.ports.tls},{secret.ports.plain}"]) as sensor:
            moved, shown = 0, []
            for tls in (True, False):
                never, calls = room.drive(nginx=secret, tls=tls)
                secret.calls_to(request.path for request in never)
                control, seen = room.drive(tls=tls)
                shown += [*seen, *room.served(control)]
                assert_seen(sensor, shown)
                assert_unseen(sensor, never)
                moved += sum(call.request_size + call.response_size for call in calls)
            # Of these, client and server each moved all bytes.
            assert counter(sensor, "kernel.never_bytes") > 2 * moved
    finally:
        secret.stop()


_ASYNC_CLIENT = """
import asyncio, sys, aiohttp
async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        for path in sys.argv[2:]:
            async with session.get(sys.argv[1] + path) as answer:
                await answer.read()
asyncio.run(main())
"""


@pytest.mark.parametrize("name", ["aiohttp", "node-h2"])
def test_ports_of_sessions_in_memory(name: str, tmp_path: Path) -> None:
    """asyncio and Node.js encrypt before they send: which port it is for is not known from the call. The port holds."""
    with BY_NAME[name].start(tmp_path / name) as run, BY_NAME["curl-nginx-50"].start(tmp_path / "control") as control:
        scenario = run.scenario
        base = run.server.base(scenario.address, scenario.protocol, scenario.tls)
        port = base.rsplit(":", 1)[1]
        with Sensor(settings=[f"capture.never_ports={port}"]) as sensor:
            paths = [f"/never-late/{n}" for n in range(COUNT)]
            if scenario.server == "aiohttp":
                subprocess.run([sys.executable, "-c", _ASYNC_CLIENT, base, *paths], check=True, timeout=60)
            truth = run.drive()
            assert_seen(sensor, control.drive().calls)
            assert_unseen(sensor, truth.requests)
            assert [t["path"] for t in sensor.transactions if str(t["path"]).startswith("/never-late")] == []


def test_ports_of_sockets_that_are_connected_late(tmp_path: Path) -> None:
    """A session that is given its descriptor before anybody knows whom it will be connected to."""
    with BY_NAME["openssl-unconnected"].start(tmp_path / "late") as run:
        scenario = run.scenario
        port = run.server.base(scenario.address, scenario.protocol, scenario.tls).rsplit(":", 1)[1]
        with Sensor(settings=[f"capture.never_ports={port}"]) as sensor:
            sensor.attached(run.pids)
            assert_unseen(sensor, run.drive().requests)
            assert counter(sensor, "kernel.never_bytes") > 0


def test_executables(room: Room, tmp_path: Path) -> None:
    """The client's view is gone, whether it runs already or starts later; nginx's view is another process's."""
    secret = tmp_path / "secret-curl"
    shutil.copy2(program("curl"), secret)
    curl, never = room.curl()
    peer = Peer([str(secret), *curl.arguments], curl.directory / "stderr")
    with Sensor(settings=[f"capture.never_executables={secret}"]) as sensor:
        calls = curl.drive(peer, never)
        peer.stop()
        later, more = room.drive(executable=str(secret))
        calls += more
        control, seen = room.drive()
        assert_seen(sensor, [*seen, *room.served([*control, *never, *later])])
        assert_unseen(sensor, never, "client")
        assert_unseen(sensor, later, "client")
        moved = sum(call.request_size + call.response_size for call in calls)
        assert counter(sensor, "kernel.never_bytes") > moved


_PARENT = """
import subprocess, sys
for line in sys.stdin:
    subprocess.run(line.split(), stdout=subprocess.DEVNULL, check=True)
    print("done", flush=True)
"""


def test_pids_and_their_children(room: Room, tmp_path: Path) -> None:
    """The listed process forks, and its children execute other programs: the rule goes with them."""
    parent = Peer([sys.executable, "-c", _PARENT], tmp_path / "parent")
    try:
        with Sensor(settings=[f"capture.never_pids={parent.pid}"]) as sensor:
            base = room.nginx.base("127.0.0.1", "http/1.1", tls=True)
            never = plan("child", 3, new_run())
            assert parent.process.stdin is not None
            assert parent.process.stdout is not None
            for request in never:
                # GET whatever was planned: the parent splits its line at spaces.
                parent.process.stdin.write(
                    f"{program('curl')} -sS --cacert {room.certificate.certificate} {base}{request.path}\n".encode()
                )
                parent.process.stdin.flush()
                assert parent.process.stdout.readline() == b"done\n"
            control, seen = room.drive()
            assert_seen(sensor, [*seen, *room.served(control), *room.served(never)])
            assert_unseen(sensor, never, "client")
            assert counter(sensor, "kernel.never_bytes") > 0
    finally:
        parent.stop()


def test_containers(room: Room, tmp_path: Path) -> None:
    """One container is on the list, another of the same image is not; what is not known yet is held meanwhile."""
    curl, never = room.curl()
    secret = ContainerCurl(curl, room.directory)
    try:
        with Sensor(settings=[f"capture.never_containers={secret.container.id[:12]}"]) as sensor:
            calls = secret.drive(never)
            other, other_requests = room.curl()
            visible = ContainerCurl(other, room.directory)
            try:
                shown = visible.drive(other_requests)
            finally:
                visible.stop()
            control, seen = room.drive()
            served = room.served([*never, *other_requests, *control])
            assert_seen(sensor, [*seen, *shown, *served])
            assert_unseen(sensor, never, "client")
            moved = sum(call.request_size + call.response_size for call in calls)
            assert counter(sensor, "kernel.never_bytes") > moved
            # Short-lived programs may be over before they were admitted: then their bytes are counted as held.
            verdict = sensor.verdict(BY_NAME["curl-nginx-each"].run(tmp_path / "each").calls, seconds=3)
            assert (verdict.wrong, verdict.extra) == ([], []), verdict.report()
            assert not verdict.missing or counter(sensor, "kernel.held_bytes") > 0, verdict.report()
    finally:
        secret.stop()
