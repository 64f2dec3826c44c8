"""Scenarios: a server, a client, how they talk, and a plan of what is asked. `SCENARIOS` is the list.

    truth = scenario.run(directory)                 # all at once

    with scenario.start(directory) as run:          # or: both processes are up and have mapped their libraries,
        ...                                         #     a sensor may look at run.pids,
        truth = run.drive()                         #     then the calls are made
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import msgspec

from tests.peers import certificates
from tests.peers.certificates import Certificate
from tests.peers.containers import ContainerCurl, ContainerNginx
from tests.peers.curl import Curl
from tests.peers.nginx import Nginx, url
from tests.peers.plan import Request, plan
from tests.peers.process import Peer, node, read_calls, wait_until
from tests.truth import Call

PROGRAMS = Path(__file__).parent / "programs"
LOGGED_SECONDS = 20.0
"""A server writes its log after the client has the last byte; this is how long it may take."""


@dataclass(frozen=True)
class Truth:
    """What happened in a scenario, by the peers' own account: two calls, one of each role, per request."""

    scenario: str
    requests: list[Request]
    calls: list[Call]

    @property
    def pids(self) -> set[int]:
        return {call.pid for call in self.calls}


class Server(Protocol):
    """A running server."""

    @property
    def pids(self) -> list[int]: ...

    def base(self, address: str, protocol: str, tls: bool) -> str: ...

    def calls(self) -> list[Call]: ...

    def stop(self) -> None: ...


class Client(Protocol):
    """A client that is ready to make its calls."""

    @property
    def pids(self) -> list[int]: ...

    def drive(self, requests: list[Request]) -> list[Call]: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Scenario:
    """One way in which two real programs talk."""

    name: str
    """Also the first segment of every path: lower case letters, digits, hyphens."""
    server: Literal["nginx", "threads", "aiohttp", "node", "container-nginx"]
    client: Literal["curl", "curl-each", "requests", "aiohttp", "node", "container-curl"]
    protocol: Literal["http/1.1", "h2"] = "http/1.1"
    tls: bool = True
    concurrency: int = 1
    """Calls at once."""
    keep: bool = True
    """Connections are kept for the next call."""
    address: str = "127.0.0.1"
    count: int = 1000
    """Requests."""
    workers: int = 1
    """nginx only: worker processes."""
    sendfile: bool = False
    """nginx only."""

    def start(self, directory: Path) -> Run:
        """Starts server and client in a directory of this scenario; no call is made yet."""
        return Run(self, directory)

    def run(self, directory: Path) -> Truth:
        """Starts both, makes all calls, waits for both logs, ends both.

        Raises:
            PeerError: a peer did not start, failed or hung; the text has its last words.
        """
        with self.start(directory) as run:
            return run.drive()


class Run:
    """A scenario under way; a context manager that ends whatever was started."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.requests = plan(scenario.name, scenario.count)
        directory.mkdir(parents=True, exist_ok=True)
        certificate = certificates.make(directory.parent / "certificate")
        self.server: Server = _SERVERS[scenario.server](scenario, directory / "server", certificate)
        try:
            base = self.server.base(scenario.address, scenario.protocol, scenario.tls)
            self.client: Client = _CLIENTS[scenario.client](scenario, directory / "client", certificate, base)
        except BaseException:
            self.server.stop()
            raise

    @property
    def pids(self) -> list[int]:
        """The processes that will make and serve the calls, as far as they run yet."""
        return [*self.server.pids, *self.client.pids]

    def drive(self) -> Truth:
        """Makes the calls and returns both sides' logs."""
        made = self.client.drive(self.requests)
        wait_until(
            lambda: len(self.server.calls()) >= len(self.requests),
            LOGGED_SECONDS,
            f"the server to log {len(self.requests)} calls",
        )
        return Truth(self.scenario.name, self.requests, [*made, *self.server.calls()])

    def stop(self) -> None:
        self.client.stop()
        self.server.stop()

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _ProgramServer:
    """A server of `programs/`."""

    def __init__(self, scenario: Scenario, directory: Path, certificate: Certificate) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "calls"
        options = {
            "address": scenario.address,
            "protocol": scenario.protocol,
            "tls": scenario.tls,
            "certificate": str(certificate.certificate),
            "key": str(certificate.key),
            "log": str(self._log),
        }
        self._peer = Peer([*_program(f"{scenario.server}_server"), _json(options)], directory / "stderr")
        try:
            self._port = int(self._peer.wait_ready()[0])
        except BaseException:
            self._peer.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [self._peer.pid]

    def base(self, address: str, protocol: str, tls: bool) -> str:  # noqa: ARG002 - nginx has a port for each
        return url(address, self._port, tls)

    def calls(self) -> list[Call]:
        return read_calls(self._log)

    def stop(self) -> None:
        self._peer.stop()


class _ProgramClient:
    """A client of `programs/`."""

    def __init__(self, scenario: Scenario, directory: Path, certificate: Certificate, base: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "calls"
        planned = directory / "plan"
        planned.write_bytes(b"".join(msgspec.json.encode(r) + b"\n" for r in plan(scenario.name, scenario.count)))
        options = {
            "base": base,
            "plan": str(planned),
            "log": str(self._log),
            "certificate": str(certificate.certificate),
            "protocol": scenario.protocol,
            "concurrency": scenario.concurrency,
            "keep": scenario.keep,
        }
        self._peer = Peer([*_program(f"{scenario.client}_client"), _json(options)], directory / "stderr")
        try:
            self._peer.wait_ready()
        except BaseException:
            self._peer.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [self._peer.pid]

    def drive(self, requests: list[Request]) -> list[Call]:  # noqa: ARG002 - the plan went to the process in a file
        self._peer.finish()
        return read_calls(self._log)

    def stop(self) -> None:
        self._peer.stop()


@dataclass
class _CurlClient:
    """One curl that waits for its configuration."""

    curl: Curl
    peer: Peer = field(init=False)

    def __post_init__(self) -> None:
        self.peer = self.curl.start()

    @property
    def pids(self) -> list[int]:
        return [self.peer.pid]

    def drive(self, requests: list[Request]) -> list[Call]:
        return self.curl.drive(self.peer, requests)

    def stop(self) -> None:
        self.peer.stop()


@dataclass
class _CurlEach:
    """A curl process a call; none runs before the calls."""

    curl: Curl
    pids: list[int] = field(default_factory=list)

    def drive(self, requests: list[Request]) -> list[Call]:
        return self.curl.each(requests)

    def stop(self) -> None:
        """Each call ends its own process."""


def _program(name: str) -> list[str]:
    if name.startswith("node_"):
        return [node(), str(PROGRAMS / f"{name.removeprefix('node_')}.js")]
    module = {"threads_server": "threaded_server"}.get(name, name)
    return [sys.executable, "-m", f"tests.peers.programs.{module}"]


def _json(options: dict[str, Any]) -> str:
    return msgspec.json.encode(options).decode()


def _nginx(scenario: Scenario, directory: Path, certificate: Certificate) -> Server:
    return Nginx(directory, certificate, workers=scenario.workers, sendfile=scenario.sendfile)


def _curl(scenario: Scenario, directory: Path, certificate: Certificate, base: str) -> Curl:
    return Curl(
        directory,
        base,
        certificate.certificate,
        scenario.protocol,
        concurrency=scenario.concurrency,
        keep=scenario.keep,
    )


_SERVERS: dict[str, Callable[[Scenario, Path, Certificate], Server]] = {
    "nginx": _nginx,
    "threads": _ProgramServer,
    "aiohttp": _ProgramServer,
    "node": _ProgramServer,
    "container-nginx": lambda scenario, directory, certificate: ContainerNginx(
        directory, certificate, workers=scenario.workers, sendfile=scenario.sendfile
    ),
}

_CLIENTS: dict[str, Callable[[Scenario, Path, Certificate, str], Client]] = {
    "curl": lambda *arguments: _CurlClient(_curl(*arguments)),
    "curl-each": lambda *arguments: _CurlEach(_curl(*arguments)),
    "requests": _ProgramClient,
    "aiohttp": _ProgramClient,
    "node": _ProgramClient,
    "container-curl": lambda scenario, directory, certificate, base: ContainerCurl(
        _curl(scenario, directory, certificate, base), directory.parent.parent
    ),
}

SCENARIOS = [
    # curl to nginx: OpenSSL on the socket on both ends.
    Scenario("curl-nginx", "nginx", "curl"),
    Scenario("curl-nginx-50", "nginx", "curl", concurrency=50, workers=2),
    Scenario("curl-nginx-new", "nginx", "curl", keep=False),
    Scenario("curl-nginx-new-50", "nginx", "curl", keep=False, concurrency=50, workers=2),
    Scenario("curl-nginx-six", "nginx", "curl", address="::1"),
    Scenario("curl-nginx-each", "nginx", "curl-each", concurrency=4, count=100),
    Scenario("curl-nginx-h2", "nginx", "curl", "h2"),
    Scenario("curl-nginx-h2-50", "nginx", "curl", "h2", concurrency=50, workers=2),
    Scenario("curl-nginx-h2-each", "nginx", "curl-each", "h2", concurrency=4, count=100),
    Scenario("curl-nginx-plain", "nginx", "curl", tls=False),
    Scenario("curl-nginx-plain-50", "nginx", "curl", tls=False, concurrency=50, workers=2),
    Scenario("curl-nginx-plain-six", "nginx", "curl", tls=False, keep=False, address="::1"),
    Scenario("curl-nginx-sendfile", "nginx", "curl", tls=False, sendfile=True),
    Scenario("curl-nginx-sendfile-50", "nginx", "curl", tls=False, sendfile=True, concurrency=50),
    Scenario("curl-nginx-h2c-each", "nginx", "curl-each", "h2", tls=False, concurrency=4, count=100),
    Scenario("node-nginx-h2c-50", "nginx", "node", "h2", tls=False, concurrency=50),
    Scenario("node-nginx-h2c-sendfile", "nginx", "node", "h2", tls=False, sendfile=True),
    # Python requests: SSL_read_ex and SSL_write_ex on the socket; a thread a connection.
    Scenario("requests-nginx", "nginx", "requests"),
    Scenario("requests-nginx-50", "nginx", "requests", concurrency=50, workers=2),
    Scenario("requests-threads", "threads", "requests"),
    Scenario("requests-threads-50", "threads", "requests", concurrency=50),
    Scenario("requests-threads-new-50", "threads", "requests", concurrency=50, keep=False),
    Scenario("requests-threads-plain-50", "threads", "requests", tls=False, concurrency=50),
    Scenario("requests-aiohttp-six", "aiohttp", "requests", concurrency=8, address="::1"),
    # aiohttp: memory buffers on an event loop.
    Scenario("aiohttp", "aiohttp", "aiohttp"),
    Scenario("aiohttp-50", "aiohttp", "aiohttp", concurrency=50),
    Scenario("aiohttp-new-50", "aiohttp", "aiohttp", concurrency=50, keep=False),
    Scenario("aiohttp-plain-50", "aiohttp", "aiohttp", tls=False, concurrency=50),
    Scenario("curl-aiohttp-50", "aiohttp", "curl", concurrency=50),
    # Node.js: memory buffers, OpenSSL in its own binary.
    Scenario("node", "node", "node"),
    Scenario("node-50", "node", "node", concurrency=50),
    Scenario("node-new-50", "node", "node", concurrency=50, keep=False),
    Scenario("node-plain-50", "node", "node", tls=False, concurrency=50),
    Scenario("node-h2", "node", "node", "h2"),
    Scenario("node-h2-50", "node", "node", "h2", concurrency=50),
    Scenario("node-h2-new-50", "node", "node", "h2", concurrency=50, keep=False),
    Scenario("node-h2c-50", "node", "node", "h2", tls=False, concurrency=50),
    Scenario("node-six", "node", "node", concurrency=8, address="::1"),
    Scenario("curl-node-50", "node", "curl", concurrency=50),
    Scenario("curl-node-h2-50", "node", "curl", "h2", concurrency=50),
    Scenario("node-nginx-50", "nginx", "node", concurrency=50, workers=2),
    Scenario("node-nginx-h2-50", "nginx", "node", "h2", concurrency=50),
    Scenario("requests-node-50", "node", "requests", concurrency=50),
    Scenario("aiohttp-nginx-50", "nginx", "aiohttp", concurrency=50),
]
"""What the sensor must get right: by library, protocol, concurrency, kept and new connections, address."""

CONTAINER_SCENARIOS = [
    # Both in containers of their own, each with its overlay of one folder: one libssl, two device numbers.
    Scenario("containers", "container-nginx", "container-curl"),
    Scenario("containers-h2-50", "container-nginx", "container-curl", "h2", concurrency=50, workers=2),
    Scenario("container-server", "container-nginx", "curl", concurrency=8),
    Scenario("container-client", "nginx", "container-curl", concurrency=8),
]
"""The same in podman containers; these need root."""

BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, *CONTAINER_SCENARIOS)}
