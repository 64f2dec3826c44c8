"""Connections opened and closed as fast as two processes can, TLS and plain in turn: descriptors, sockets and TLS
sessions of the one are the other's a moment later."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from tests.peers.certificates import Certificate
from tests.peers.plan import new_run
from tests.peers.process import LOGGED_SECONDS, Peer, read_calls, wait_until
from tests.truth import Call


class Churn:
    """Server and client, ready to make `count` calls, each on a connection of its own; every third is TLS."""

    def __init__(self, directory: Path, certificate: Certificate, count: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._logs, self._count = [directory / "client", directory / "server"], count
        options = {
            "certificate": str(certificate.certificate),
            "key": str(certificate.key),
            "run": new_run(),
            "count": count,
        }
        self._server = self._start("server", directory, {**options, "log": str(self._logs[1])})
        try:
            ports = [int(word) for word in self._server.wait_ready()]
            self._client = self._start("client", directory, {**options, "log": str(self._logs[0]), "ports": ports})
            self._client.wait_ready()
        except BaseException:
            self._server.stop()
            raise

    @staticmethod
    def _start(side: str, directory: Path, options: dict[str, object]) -> Peer:
        command = [sys.executable, "-m", f"tests.peers.programs.churn_{side}", msgspec.json.encode(options).decode()]
        return Peer(command, directory / f"{side}.stderr")

    @property
    def pids(self) -> list[int]:
        return [self._server.pid, self._client.pid]

    def drive(self) -> tuple[list[Call], int]:
        """Makes the calls. Returns both logs, and how many file descriptors the client's connections had."""
        descriptors = int(self._client.finish())
        wait_until(lambda: len(read_calls(self._logs[1])) >= self._count, LOGGED_SECONDS, "the server's log")
        return [call for log in self._logs for call in read_calls(log)], descriptors

    def stop(self) -> None:
        self._client.stop()
        self._server.stop()
