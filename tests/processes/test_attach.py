"""Libraries that are new to the sensor, and processes and connections that are older than it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.process import PeerError, wait_until
from tests.processes.client import CLIENT, Client, seen, told
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

WAIT_S = 30.0

ASYNC_CLIENT = """
import asyncio, ssl, sys
async def main():
    context = ssl.create_default_context(cafile=sys.argv[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]), ssl=context)
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        writer.write(f"GET {line.strip()} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        fields = dict(field.lower().split(b": ", 1) for field in head.split(b"\\r\\n")[1:] if field)
        await reader.readexactly(int(fields[b"content-length"]))
        print("done", flush=True)
asyncio.run(main())
"""
"""One kept connection, by buffers in memory."""


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    """A copy of this Python's OpenSSL: inodes that no sensor knows."""
    maps = subprocess.run(
        [sys.executable, "-c", "import ssl; print(open('/proc/self/maps').read())"],
        check=True, capture_output=True, text=True, timeout=20,
    ).stdout  # fmt: skip
    folder = tmp_path / "libraries"
    folder.mkdir()
    for name in ("libssl", "libcrypto"):
        path = next(line.split()[-1] for line in maps.splitlines() if f"/{name}" in line)
        shutil.copy(path, folder / os.path.basename(path))
    return folder


def test_a_library_that_is_mapped_for_the_first_time(
    nginx: Nginx, certificate: Certificate, libraries: Path, tmp_path: Path
) -> None:
    with Sensor() as sensor:
        client = Client(CLIENT, nginx, certificate, tmp_path, libraries)
        try:
            assert str(libraries) in client.libssl()

            def attached() -> bool:
                known = {library["path"]: library for library in sensor.status()["libraries"]}
                return any(path.startswith(str(libraries)) and known[path]["probes"] > 8 for path in known)

            wait_until(attached, WAIT_S, "the new library to be attached")
            paths = [f"/mapped/{n}" for n in range(10)]
            for path in paths:
                client.get(path)
            wait_until(lambda: len(seen(sensor, client.pid, "/mapped/")) >= len(paths), WAIT_S, "all its calls")
            assert sorted(seen(sensor, client.pid, "/mapped/")) == paths
            # The time is measured and said, whatever it is on this machine.
            (note,) = [note for note in sensor.status()["notes"] if "slowest attachment" in note]
            print(note)
            assert float(note.split(":")[1].split()[0]) > 0
            found = told(sensor, [client.pid])
            assert all(t["complete"] and t["binding"] for t in found)
            assert {t["tls"]["library"] for t in found} == {"openssl"}
        finally:
            client.peer.stop()


def test_a_library_that_was_deleted_before_the_sensor_started(
    nginx: Nginx, certificate: Certificate, libraries: Path, tmp_path: Path
) -> None:
    """As after an upgrade: the process runs the old file, which has no name any more."""
    client = Client(CLIENT, nginx, certificate, tmp_path, libraries)
    shutil.rmtree(libraries)
    assert "(deleted)" in client.libssl()
    try:
        with Sensor() as sensor:
            paths = [f"/deleted/{n}" for n in range(10)]
            for path in paths:
                client.get(path)
            wait_until(lambda: len(seen(sensor, client.pid, "/deleted/")) >= len(paths), WAIT_S, "all its calls")
            assert sorted(seen(sensor, client.pid, "/deleted/")) == paths
    finally:
        client.peer.stop()


def test_a_library_that_is_replaced_while_it_runs(
    nginx: Nginx, certificate: Certificate, libraries: Path, tmp_path: Path
) -> None:
    """An upgrade renames new files over the old ones. Who runs the old one is still seen, and so is who starts now."""

    def attached() -> int:
        known = [one for one in sensor.status()["libraries"] if one["path"].startswith(str(libraries))]
        return sum(one["probes"] > 8 for one in known)

    with Sensor() as sensor:
        clients = [Client(CLIENT, nginx, certificate, tmp_path, libraries)]
        try:
            wait_until(lambda: attached() == 1, WAIT_S, "the old library to be attached")
            paths = [f"/upgrade/{n}" for n in range(20)]
            for path in paths[:10]:
                clients[0].get(path)
            for file in list(libraries.iterdir()):
                new = file.with_suffix(".new")
                shutil.copy(file, new)
                new.rename(file)
            assert "(deleted)" in clients[0].libssl()
            clients.append(Client(CLIENT, nginx, certificate, tmp_path, libraries))
            assert "(deleted)" not in clients[1].libssl()
            wait_until(lambda: attached() == 2, WAIT_S, "the new library to be attached")
            for path in paths[10:]:
                for client in clients:
                    client.get(path)
            expected = {clients[0].pid: paths, clients[1].pid: paths[10:]}

            def all_seen() -> bool:
                return all(len(seen(sensor, pid, "/upgrade/")) >= len(wanted) for pid, wanted in expected.items())

            with contextlib.suppress(PeerError):  # what is missing is told below
                wait_until(all_seen, WAIT_S, "all calls")
            for pid, wanted in expected.items():
                assert sorted(seen(sensor, pid, "/upgrade/")) == sorted(wanted), f"{sensor.losses()} {sensor.log()}"
            found = told(sensor, expected)
            assert all(t["complete"] and t["binding"] for t in found)
        finally:
            for client in clients:
                client.peer.stop()


@pytest.mark.parametrize("program", [CLIENT, ASYNC_CLIENT], ids=["socket", "memory"])
def test_connections_older_than_the_sensor_are_seen_from_their_next_request(
    program: str, nginx: Nginx, certificate: Certificate, tmp_path: Path
) -> None:
    client = Client(program, nginx, certificate, tmp_path, None)
    try:
        for n in range(3):
            client.get(f"/before/{n}")
        with Sensor() as sensor:
            paths = [f"/after/{n}" for n in range(10)]
            for path in paths:
                client.get(path)
            pids = (client.pid, *nginx.pids)
            wait_until(lambda: all(len(seen(sensor, pid, "/after/")) >= len(paths) for pid in pids), WAIT_S, "all")
            for pid in pids:
                assert sorted(seen(sensor, pid, "/after/")) == paths
                assert seen(sensor, pid, "/before/") == []
            calls = told(sensor, pids, "/after/")
            assert {t["status"] for t in calls} == {200}
            assert {t["response_body_size"] for t in calls} == {400}
            # In memory, the socket is known from the first record on that is sent after the process is observed: until
            # then a call says that it is unbound.
            assert {t["incomplete_reason"] for t in calls if not t["binding"]} <= {"unbound"}
            if program is CLIENT:
                assert all(t["binding"] for t in calls)
            number = iter(range(1000))

            def bound() -> bool:
                client.get(f"/later/{next(number)}")
                mine = told(sensor, pids, "/later/")
                return {t["process"]["pid"] for t in mine if t["binding"] and t["complete"]} == set(pids)

            wait_until(bound, WAIT_S, "calls of both that are bound")
            ends = [t["server"] for t in told(sensor, pids, "/later/") if t["binding"]]
            assert {end["port"] for end in ends} == {nginx.ports.tls}
    finally:
        client.peer.stop()
