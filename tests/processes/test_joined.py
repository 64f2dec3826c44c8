"""Programs that the sensor attaches to while their calls are under way: what it then tells is right, or absent."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.peers import certificates
from tests.peers.nginx import Nginx
from tests.peers.plan import new_run, plan
from tests.peers.process import Peer, read_calls
from tests.peers.scenario import Run, Scenario
from tests.sensor import Sensor
from tests.truth import Call, Verdict

pytestmark = pytest.mark.kernel

CONNECTIONS = 8
WAITING = {
    scenario.name: scenario
    for scenario in (
        Scenario("joined-go", "go-stripped", "go", concurrency=CONNECTIONS, count=400, before=CONNECTIONS),
        Scenario("joined-go-h2", "go-stripped", "go", "h2", concurrency=CONNECTIONS, count=400, before=CONNECTIONS),
    )
}
"""Both ends have connections before there is a sensor, and a goroutine waits in a read of each."""
LOADED = 16
"""Connections with calls all the time while the sensor starts: one is under way at each stage of its attaching."""
FIRST = Scenario("joined-first", "nginx", "go-pie", concurrency=50, count=2000, before=1900)
"""Nothing has run this program before, and it makes its calls at once: it is attached to meanwhile."""
TWO_THREADS = 40
"""Calls of the client below."""

_TWO_THREADS = """
import socket, sys, threading
from tests.peers.programs.native import make

port, certificate = int(sys.argv[1]), sys.argv[2]
options = {"library": "gnutls", "folder": "", "way": "pointer", "certificate": certificate}
session = make(options, None).session(socket.create_connection(("127.0.0.1", port)))
answered = threading.Semaphore(0)

def read():
    received = b""
    while data := session.read(65536):
        received += data
        while (end := received.find(b"\\r\\n\\r\\n")) >= 0:
            fields = dict(line.lower().split(b": ", 1) for line in received[:end].split(b"\\r\\n")[1:])
            bodiless = received[9:12] in (b"204", b"304")
            whole = end + 4 + (0 if bodiless else int(fields.get(b"content-length", b"0")))
            if len(received) < whole:
                break
            received = received[whole:]
            answered.release()

threading.Thread(target=read, daemon=True).start()

def call(path):
    session.write(f"GET {path} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
    answered.acquire()

call("/before?status=200&size=17")
print("ready", flush=True)
for line in sys.stdin:
    call(line.strip())
"""
"""GnuTLS allows one thread to read a session while another writes. The reading one waits when the sensor comes."""


@dataclass
class Joined:
    """What was there before the sensor, and the sensor."""

    sensor: Sensor
    runs: dict[str, Run]
    nginx: Nginx
    two_threads: Peer
    busy: Nginx
    load: Peer
    loaded: Path
    """Its log."""


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    place = tmp_path_factory.mktemp("joined")
    certificate = certificates.make(place / "certificate")
    nginx, busy = (Nginx(place / name, certificate) for name in ("nginx", "busy"))
    runs: dict[str, Run] = {}
    peers: list[Peer] = []
    try:
        for name, scenario in WAITING.items():
            runs[name] = scenario.start(place / name)
        command = [sys.executable, "-c", _TWO_THREADS, str(nginx.ports.tls), str(certificate.certificate)]
        peers.append(Peer(command, place / "two-threads"))
        options = {
            "port": busy.ports.tls,
            "certificate": str(certificate.certificate),
            "log": str(place / "loaded"),
            "name": f"joined-load-{new_run()}",
            "concurrency": LOADED,
        }
        command = [sys.executable, "-m", "tests.peers.programs.busy_client", json.dumps(options)]
        peers.append(Peer(command, place / "load"))
        for peer in peers:
            peer.wait_ready()
        with Sensor() as sensor:
            yield Joined(sensor, runs, nginx, peers[0], busy, peers[1], place / "loaded")
    finally:
        for run in runs.values():
            run.stop()
        for peer in peers:
            peer.stop()
        nginx.stop()
        busy.stop()


def is_right(verdict: Verdict) -> bool:
    """Nothing is false. What is not told, or told to be incomplete, was not seen."""
    return not verdict.wrong and not verdict.extra


def test_calls_under_way_when_the_sensor_starts(joined: Joined) -> None:
    joined.load.finish(b"")
    made = read_calls(joined.loaded)
    served = joined.busy.calls_to(call.path for call in made)
    verdict = joined.sensor.verdict([*made, *served], seconds=3)
    print(verdict.report())
    assert is_right(verdict), verdict.report()
    assert len(verdict.matched) > LOADED


@pytest.mark.parametrize("name", WAITING)
def test_a_read_that_waits_when_the_sensor_starts(name: str, joined: Joined) -> None:
    truth = joined.runs[name].drive()
    later = {request.path for request in truth.requests[CONNECTIONS:]}
    calls = [call for call in truth.calls if call.path in later]
    verdict = joined.sensor.verdict(calls, seconds=5)
    print(verdict.report())
    assert is_right(verdict), verdict.report()
    # One call of each connection is over before all of it is seen.
    assert len(verdict.missing) + len(verdict.incomplete) <= 2 * CONNECTIONS or name.endswith("h2"), verdict.report()


def test_a_thread_that_waits_in_a_read_while_another_writes(joined: Joined) -> None:
    peer = joined.two_threads
    planned = [request for request in plan("joined-threads", TWO_THREADS, new_run()) if request.method == "GET"]
    peer.finish("".join(f"{request.path}\n" for request in planned).encode())
    calls = joined.nginx.calls_to(request.path for request in planned)
    calls += [_as_client(call, peer.pid) for call in calls]
    verdict = joined.sensor.verdict(calls, seconds=5)
    print(verdict.report())
    assert is_right(verdict), verdict.report()
    assert len(verdict.missing) + len(verdict.incomplete) <= 1


def _as_client(call: Call, pid: int) -> Call:
    """The other view of a call that nginx logged."""
    return msgspec.structs.replace(call, role="client", pid=pid, local=call.remote, remote=call.local)


def test_a_program_that_is_attached_to_while_it_makes_its_first_calls(joined: Joined, tmp_path: Path) -> None:
    verdict = joined.sensor.verdict(FIRST.run(tmp_path / FIRST.name).calls, seconds=5)
    print(verdict.report())
    assert is_right(verdict), verdict.report()
    assert verdict.matched
