"""A receiver of OTLP in a process of its own, as a node has one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.peers.process import Peer

_COLLECTOR = """
import sys
from tests.export.receivers import GrpcReceiver, HttpReceiver
receiver = (GrpcReceiver if sys.argv[1] == "grpc" else HttpReceiver)()
print("ready", receiver.port, flush=True)
for _ in sys.stdin:
    print(len(receiver.spans), flush=True)
"""


class Collector:
    """A receiver of OTLP in a process of its own."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.port = int(peer.wait_ready()[0])

    def spans(self) -> int:
        """How many spans it has accepted."""
        assert self._peer.process.stdin is not None
        assert self._peer.process.stdout is not None
        self._peer.process.stdin.write(b"\n")
        self._peer.process.stdin.flush()
        return int(self._peer.process.stdout.readline())


@contextmanager
def collector(protocol: str, directory: Path) -> Iterator[Collector]:
    peer = Peer([sys.executable, "-c", _COLLECTOR, protocol], directory / "collector")
    try:
        yield Collector(peer)
    finally:
        peer.stop()
