"""TLS that cannot be seen is named in the status: real programs, a server that never answers their hello."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.peers.process import Peer, program, wait_until
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def sensor() -> Iterator[Sensor]:
    with Sensor() as running:
        yield running


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts, and reads for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            kept = []
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]


def row(sensor: Sensor, pid: int) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def there() -> bool:
        found[:] = [one for one in sensor.status()["processes"] if one["pid"] == pid and one["encrypted_bytes"]]
        return bool(found)

    wait_until(there, 30, f"process {pid} to have sent TLS records")
    return found[0]


def test_java(sensor: Sensor, silent: int) -> None:
    command = [program("keytool"), "-printcert", "-sslserver", f"127.0.0.1:{silent}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as java:
        try:
            seen = row(sensor, java.pid)
        finally:
            java.kill()
    assert seen["note"].startswith("blind spot: Java (JSSE): ")
    assert not seen["attached"]


def test_a_library_that_is_attached_is_none(sensor: Sensor, silent: int, tmp_path: Any) -> None:
    peer = Peer(["curl", "-sk", f"https://127.0.0.1:{silent}/"], tmp_path / "stderr")
    try:
        seen = row(sensor, peer.pid)
    finally:
        peer.stop()
    assert seen["attached"]
    assert "blind spot" not in (seen["note"] or "")
