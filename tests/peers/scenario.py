"""Scenarios: a server, a client, how they talk, and a plan of what is asked. `scenarios` lists them.

truth = scenario.run(directory)                 # all at once

with scenario.start(directory) as run:          # or: both processes are up and have mapped their libraries,
    ...                                         #     a sensor may look at run.pids,
    truth = run.drive()                         #     then the calls are made
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import msgspec

from tests.peers import certificates
from tests.peers.certificates import Certificate
from tests.peers.containers import ContainerCurl, ContainerNginx
from tests.peers.curl import Curl
from tests.peers.go import FORMS, go_peers
from tests.peers.grpcio import DEBIAN_GRPCIO, debian_grpcio
from tests.peers.haproxy import Haproxy
from tests.peers.httpd import Httpd
from tests.peers.nginx import Nginx, url
from tests.peers.openssl import openssl_1_1_1
from tests.peers.pipe import Pipe
from tests.peers.plan import WEB, Mix, Request, new_run, plan, plan_of_sizes
from tests.peers.process import LOGGED_SECONDS, Peer, node, read_calls, unix_path, wait_until
from tests.peers.proxied import Gateway, NginxProxy
from tests.peers.wget import Wget
from tests.truth import Call

PROGRAMS = Path(__file__).parent / "programs"


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
    server: str
    """A name of `_SERVERS`."""
    client: str
    """A name of `_CLIENTS`."""
    protocol: Literal["http/1.1", "h2", "grpc"] = "http/1.1"
    tls: bool = True
    concurrency: int = 1
    """Calls at once."""
    keep: bool = True
    """Connections are kept for the next call."""
    address: str = "127.0.0.1"
    """That the client connects to; "unix": the path of a unix socket."""
    listen: str = ""
    """Programs only: that the server listens on, where it is another ("::": of both families, IPv4 mapped)."""
    count: int = 1000
    """Requests."""
    workers: int = 1
    """nginx only: worker processes."""
    sendfile: bool = False
    """nginx only."""
    mix: Mix = WEB
    """What is asked how often."""
    before: int = 0
    """Go's clients only: calls that are made before the client is ready; the connections wait on from then."""
    ktls: bool = False
    """nginx only: TLS in the kernel, where it has it."""
    sizes: tuple[int, ...] = ()
    """One request of each of these sizes instead of the mix. Not for nginx, whose contents are made ahead."""
    library: Literal["openssl", "openssl-1.1.1", "gnutls", "none", "sockets"] = "openssl"
    """Of native peers; in plaintext "none", or "sockets", where the way names system calls."""
    way: str = ""
    """How native peers call their library: a name of programs/native.py or ways.py."""
    serving: Literal["threads", "fork", "pass"] = "threads"
    """Native server only: what a connection is served by."""
    views: int = 2
    """Calls that the peers log for each request: 4 where a proxy passes it on."""

    @property
    def tls_libraries(self) -> set[str | None]:
        """What both ends' plaintext comes from, by its public name."""
        if not self.tls:
            return {None}
        named = {
            **dict.fromkeys(FORMS, "go"),
            **dict.fromkeys(("gnucurl", "gnutls-cli", "wget"), "gnutls"),
            "native": self.library.removesuffix("-1.1.1"),
        }
        return {named.get(end, "openssl") for end in (self.server, self.client)}

    def start(self, directory: Path) -> Run:
        """Starts server and client in a directory of this scenario; no call is made yet."""
        return Run(self, directory)

    def run(self, directory: Path, started: Callable[[list[int]], None] | None = None) -> Truth:
        """Starts both, makes all calls, waits for both logs, ends both.

        Args:
            started: called with the ids of the processes before any call is made.

        Raises:
            PeerError: a peer did not start, failed or hung; the text has its last words.
        """
        with self.start(directory) as run:
            if started is not None:
                started(run.pids)
            return run.drive()


class Run:
    """A scenario under way; a context manager that ends whatever was started."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        if scenario.sizes:
            self.requests = plan_of_sizes(scenario.name, scenario.sizes, new_run())
        else:
            self.requests = plan(scenario.name, scenario.count, new_run(), scenario.mix)
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = certificate = certificates.make(directory.parent / "certificate")
        # Each run has a path of its own.
        self.address = scenario.address if scenario.address != "unix" else unix_path()
        scenario = replace(scenario, address=self.address)
        self.server: Server = _SERVERS[scenario.server](scenario, directory / "server", certificate)
        try:
            base = self.server.base(scenario.address, scenario.protocol, scenario.tls)
            made = _CLIENTS[scenario.client](scenario, directory / "client", certificate, base, self.requests)
            self.client: Client = made
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
        expected = len(self.requests) * (self.scenario.views - 1)
        wait_until(lambda: len(self.server.calls()) >= expected, LOGGED_SECONDS, f"the servers to log {expected} calls")
        served = self.server.calls()
        return Truth(self.scenario.name, self.requests, [*_with_ends(made, served), *served])

    def stop(self) -> None:
        self.client.stop()
        self.server.stop()
        if self.address.startswith("/"):
            Path(self.address).unlink(missing_ok=True)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _with_ends(made: list[Call], served: list[Call]) -> list[Call]:
    """Where a client's log has no port of its own, the server knows it."""
    ends = {(call.method, call.path): (call.remote, call.local) for call in served}
    completed = []
    for call in made:
        if not call.local.port:
            local, remote = ends[call.method, call.path]
            call = msgspec.structs.replace(call, local=local, remote=remote)  # noqa: PLW2901
        completed.append(call)
    return completed


class _ProgramServer:
    """A server of `programs/`."""

    def __init__(
        self, scenario: Scenario, directory: Path, certificate: Certificate, name: str = "", **further: str
    ) -> None:
        """`name` of the program where it is not the scenario's server, `further` options of it."""
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "calls"
        options = {
            "address": scenario.listen or scenario.address,
            "protocol": scenario.protocol,
            "tls": scenario.tls,
            "certificate": str(certificate.certificate),
            "key": str(certificate.key),
            "log": str(self._log),
            **_native(scenario),
            **further,
        }
        self._peer = Peer([*_program(name or f"{scenario.server}_server"), _json(options)], directory / "stderr")
        try:
            port = self._peer.wait_ready()
            self._port = int(port[0]) if port else 0  # none of a unix socket
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

    def __init__(
        self, scenario: Scenario, directory: Path, certificate: Certificate, base: str, requests: list[Request]
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "calls"
        planned = directory / "plan"
        planned.write_bytes(b"".join(msgspec.json.encode(request) + b"\n" for request in requests))
        options = {
            "base": base,
            "plan": str(planned),
            "log": str(self._log),
            "certificate": str(certificate.certificate),
            "protocol": scenario.protocol,
            "concurrency": scenario.concurrency,
            "keep": scenario.keep,
            "before": scenario.before,
            **_native(scenario),
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
    form, _, side = name.rpartition("_")
    if form in FORMS:
        return [str(go_peers(form)), side]
    if form == DEBIAN_GRPCIO:
        return ["env", f"PYTHONPATH={debian_grpcio()}", *_program(f"grpcio_{side}")]
    if name.startswith("node_"):
        return [node(), str(PROGRAMS / f"{name.removeprefix('node_')}.js")]
    module = {"threads_server": "threaded_server"}.get(name, name)
    return [sys.executable, "-m", f"tests.peers.programs.{module}"]


def _native(scenario: Scenario) -> dict[str, Any]:
    """What native peers are told besides."""
    if not scenario.way:
        return {}
    folder = str(openssl_1_1_1()) if scenario.library == "openssl-1.1.1" else ""
    library = scenario.library.removesuffix("-1.1.1")
    return {"library": library, "folder": folder, "way": scenario.way, "serving": scenario.serving}


def _json(options: dict[str, Any]) -> str:
    return msgspec.json.encode(options).decode()


def _nginx(scenario: Scenario, directory: Path, certificate: Certificate) -> Server:
    unix = scenario.address if scenario.address.startswith("/") else ""
    return Nginx(
        directory, certificate, workers=scenario.workers, sendfile=scenario.sendfile, unix=unix, ktls=scenario.ktls
    )


def _curl(scenario: Scenario, directory: Path, certificate: Certificate, base: str) -> Curl:
    return Curl(
        directory,
        base,
        certificate.certificate,
        scenario.protocol,
        concurrency=scenario.concurrency,
        keep=scenario.keep,
    )


def _behind_nginx(scenario: Scenario, directory: Path, certificate: Certificate) -> Server:
    return NginxProxy(
        directory, certificate, _ProgramServer(scenario, directory / "behind", certificate, "aiohttp_server")
    )


def _behind_gateway(scenario: Scenario, directory: Path, certificate: Certificate) -> Server:
    behind = _ProgramServer(scenario, directory / "behind", certificate, "aiohttp_server")
    try:
        base = behind.base("127.0.0.1", "http/1.1", tls=True)
        return Gateway(_ProgramServer(scenario, directory, certificate, "gateway", base=base), behind)
    except BaseException:
        behind.stop()
        raise


_SERVERS: dict[str, Callable[[Scenario, Path, Certificate], Server]] = {
    "nginx": _nginx,
    "httpd": lambda _, directory, certificate: Httpd(directory, certificate),
    "haproxy": lambda _, directory, certificate: Haproxy(directory, certificate),
    "threads": _ProgramServer,
    "aiohttp": _ProgramServer,
    "node": _ProgramServer,
    "native": _ProgramServer,
    "uvicorn": _ProgramServer,
    **dict.fromkeys(("grpcio", DEBIAN_GRPCIO), _ProgramServer),
    **dict.fromkeys(FORMS, _ProgramServer),
    "nginx-proxy": _behind_nginx,
    "gateway": _behind_gateway,
    "container-nginx": lambda scenario, directory, certificate: ContainerNginx(
        directory, certificate, workers=scenario.workers, sendfile=scenario.sendfile
    ),
}

_CLIENTS: dict[str, Callable[[Scenario, Path, Certificate, str, list[Request]], Client]] = {
    "curl": lambda scenario, directory, certificate, base, _: _CurlClient(
        _curl(scenario, directory, certificate, base)
    ),
    "curl-each": lambda scenario, directory, certificate, base, _: _CurlEach(
        _curl(scenario, directory, certificate, base)
    ),
    "requests": _ProgramClient,
    "aiohttp": _ProgramClient,
    "node": _ProgramClient,
    "native": _ProgramClient,
    "httpx": _ProgramClient,
    "gnucurl": _ProgramClient,
    "boringcurl": _ProgramClient,
    **dict.fromkeys(("grpcio", DEBIAN_GRPCIO), _ProgramClient),
    "wget": lambda scenario, directory, certificate, base, _: Wget(
        directory, certificate.certificate, base, scenario.keep
    ),
    "static": lambda _, directory, certificate, base, __: Pipe("static", directory, certificate.certificate, base),
    "gnutls-cli": lambda _, directory, certificate, base, __: Pipe(
        "gnutls-cli", directory, certificate.certificate, base
    ),
    **dict.fromkeys(FORMS, _ProgramClient),
    "container-curl": lambda scenario, directory, certificate, base, _: ContainerCurl(
        _curl(scenario, directory, certificate, base), directory.parent.parent
    ),
}
