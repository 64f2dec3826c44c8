"""A client whose calls are made one by one, over a connection that stays."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.process import Peer
from tests.sensor import Sensor
from tests.truth import Transaction

_KEPT = """
import http.client, ssl, sys
port, certificate = int(sys.argv[1]), sys.argv[2]
connection = {connection}
connection.connect()
print("ready", flush=True)
for line in sys.stdin:
    connection.request("GET", line.strip())
    connection.getresponse().read()
    print("done", flush=True)
"""
CLIENT = _KEPT.format(
    connection='http.client.HTTPSConnection("127.0.0.1", port, context=ssl.create_default_context(cafile=certificate))'
)
"""One kept connection, by the socket itself."""
PLAIN_CLIENT = _KEPT.format(connection='http.client.HTTPConnection("127.0.0.1", port)')
"""The same without TLS."""


class Client:
    """A process with one connection that asks for a path whenever it is told to."""

    def __init__(
        self,
        program: str,
        nginx: Nginx,
        certificate: Certificate,
        directory: Path,
        libraries: Path | None,
        port: int | None = None,
    ) -> None:
        prefix = ["env", f"LD_LIBRARY_PATH={libraries}"] if libraries else []
        port = port or nginx.ports.tls
        command = [*prefix, sys.executable, "-c", program, str(port), str(certificate.certificate)]
        self.peer = Peer(command, directory / "client.stderr")
        self.peer.wait_ready()

    @property
    def pid(self) -> int:
        return self.peer.pid

    def get(self, path: str) -> None:
        assert self.peer.process.stdin is not None
        assert self.peer.process.stdout is not None
        self.peer.process.stdin.write(f"{path}?status=200&size=400\n".encode())
        self.peer.process.stdin.flush()
        assert self.peer.process.stdout.readline() == b"done\n", self.peer.last_words()

    def libssl(self) -> str:
        """The line of its map that says which libssl it runs."""
        maps = Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        return next(line for line in maps if "libssl" in line and "x" in line.split()[1])


def told(sensor: Sensor, pids: Collection[int], *prefixes: str) -> list[Transaction]:
    """What the sensor has told of these processes' calls to such paths: of the same ones, another run of the tests on
    this machine may make some, too."""
    calls = [t for t in sensor.transactions if (t["process"] or {}).get("pid") in pids]
    return [t for t in calls if str(t["path"]).startswith(prefixes or "")]


def seen(sensor: Sensor, pid: int, prefix: str) -> list[str]:
    """Paths of this process's calls, without their query."""
    return [t["path"].partition("?")[0] for t in told(sensor, [pid], prefix)]
