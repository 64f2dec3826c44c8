"""Load that never pauses: kept connections of several kinds, older than any sensor that is started meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from tests.peers.certificates import Certificate
from tests.peers.plan import new_run
from tests.peers.process import Peer, PeerError, read_calls
from tests.truth import Call


class Steady:
    """One client of `programs/steady_client.py`, all of whose connections have made a call.

    Args:
        how: "threads": sockets that block; "asyncio": TLS in memory buffers.
    """

    def __init__(self, directory: Path, certificate: Certificate, base: str, how: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._log, self._run = directory / "calls", new_run()
        options = {
            "base": base,
            "certificate": str(certificate.certificate),
            "log": str(self._log),
            "run": self._run,
            "how": how,
        }
        command = [sys.executable, "-m", "tests.peers.programs.steady_client", msgspec.json.encode(options).decode()]
        self._peer = Peer(command, directory / "stderr")
        self._peer.wait_ready()

    @property
    def pid(self) -> int:
        return self._peer.pid

    def begin(self, phase: str) -> None:
        """Calls begin in this phase from now on; returns once all of earlier ones are over."""
        if self._peer.process.stdin is None or self._peer.process.stdout is None:
            raise PeerError("its standard streams are not pipes")
        self._peer.process.stdin.write(phase.encode() + b"\n")
        self._peer.process.stdin.flush()
        said = self._peer.process.stdout.readline().decode().strip()
        if said != phase:
            raise PeerError(f"the client said {said!r}: {self._peer.last_words()}")

    def is_of(self, phase: str, path: str) -> bool:
        """Whether this client made the call in that phase."""
        return path.startswith(f"/steady-{self._run}-{phase}/")

    def calls(self) -> list[Call]:
        return read_calls(self._log)

    def stop(self) -> None:
        self._peer.stop()
