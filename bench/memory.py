"""What the sensor holds in memory: idle, with many open connections, and after another call on each. Needs root.

    python -m bench.memory [--connections 10000] [--tls 2000] [--rate 1000] [--both] [--set section.key=value ...]

A client opens connections to nginx, some with TLS, makes a call on each and keeps them open. Only nginx is observed, so
a connection is one view; with --both the client is, too, and each is two. Measured is what `apisensor status` tells,
once all calls are reported and the rate has fallen: for each part its share of memory (Pss), and the kernel's memory of
the BPF maps, whose pages are counted there alone even where a part has mapped them. Nobody looks at the page, so `web`
rests, and has none.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from apisensor.web.serving import UNVISITED_SECONDS
from bench.nginx_wrk import Nginx, captured_of
from bench.open_connections import raise_limit
from tests.peers.process import Peer
from tests.sensor import Sensor

CALLS_SECONDS = 120.0
"""For one call on each connection, most."""
FALLEN_SECONDS = 15.0
"""After the last call: views that found no twin are kept for 10 s, flows rest after 2 s, `run` looks every 2 s."""

Sizes = dict[str, int]
"""Part of the sensor, or "BPF maps": bytes."""


def sizes(status: Mapping[str, Any]) -> Sizes:
    """What a status tells of memory. Raises ValueError: a part is not running, or its memory is not known."""
    parts = {part["name"]: 0 if part["resting"] else part["memory_bytes"] for part in status["parts"]}
    if missing := [part["name"] for part in status["parts"] if not part["resting"] and not part["memory_bytes"]]:
        raise ValueError(f"nothing is known of the memory of {', '.join(missing)}")
    return {**parts, "BPF maps": sum(status["maps"].values())}


def report(moments: Mapping[str, Sizes]) -> Iterator[str]:
    """A table: a row for each part and one for all, a column for each moment, MB (1,000,000 bytes)."""
    width = max(map(len, moments)) + 2
    yield f"{'MB':<12}" + "".join(f"{moment:>{width}}" for moment in moments)
    names = dict.fromkeys(name for found in moments.values() for name in found)
    for name in names:
        yield f"{name:<12}" + "".join(f"{found.get(name, 0) / 1e6:>{width}.1f}" for found in moments.values())
    totals = [sum(found.values()) for found in moments.values()]
    yield f"{'all':<12}" + "".join(f"{total / 1e6:>{width}.1f}" for total in totals)


def largest(maps: Mapping[str, int], most: int = 8) -> str:
    """The maps that take most."""
    ordered = sorted(maps.items(), key=lambda row: -row[1])[:most]
    return ", ".join(f"{name} {size / 1e6:.1f}" for name, size in ordered)


class Client:
    """The process that holds the connections."""

    def __init__(self, nginx: Nginx, directory: Path, connections: int, tls: int, rate: int) -> None:
        numbers = map(str, (nginx.plain, nginx.tls, connections, tls, rate))
        command = [sys.executable, "-m", "bench.open_connections", *numbers, str(directory / "certificate.pem")]
        self._peer = Peer(command, directory / "client.stderr")
        self.pid = self._peer.pid

    def call(self) -> None:
        """One call on each connection."""
        process = self._peer.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        if not process.stdout.readline():
            raise ValueError(f"the client ended: {self._peer.last_words()}")

    def stop(self) -> None:
        self._peer.stop()


def measure(connections: int, tls: int, rate: int, both: bool, settings: Sequence[str]) -> Iterator[str]:
    """Runs everything; yields the report."""
    raise_limit(connections + 1024)
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as folder:
        directory = Path(folder)
        nginx = Nginx(
            directory, connections=connections + connections // 8 + 64
        )  # it closes idle ones when few are left
        client = Client(nginx, directory, connections, tls, rate)
        try:
            never = [] if both else [f"capture.never_pids={client.pid}"]
            with Sensor([*never, *settings], arguments=["--format", "none"]) as sensor:
                sensor.attached([nginx.worker])
                time.sleep(UNVISITED_SECONDS + 1)
                moments = {"idle": sizes(sensor.status())}
                seen = captured_of(sensor, nginx.worker)
                for moment in ("open", "used again"):
                    client.call()
                    seen, before = captured_of(sensor, nginx.worker), seen
                    time.sleep(FALLEN_SECONDS)
                    status = sensor.status()
                    moments[moment] = sizes(status)
                    flows = status["counters"]["worker.flows_begun"]
                    yield f"{moment}: {seen - before:,} calls of nginx reported, {flows:,} flows so far"
                yield from report(moments)
                yield f"largest maps: {largest(status['maps'])}"
                yield "lost: " + (
                    ", ".join(f"{name} {count:,}" for name, count in sensor.losses().items()) or "nothing"
                )
        finally:
            client.stop()
            nginx.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--tls", type=int, default=2_000, help="so many of them with TLS")
    parser.add_argument("--rate", type=int, default=1_000, help="calls a second")
    parser.add_argument("--both", action="store_true", help="observe the client, too")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    options = parser.parse_args()
    for line in measure(options.connections, options.tls, options.rate, options.both, options.set):
        print(line, flush=True)


if __name__ == "__main__":
    main()
