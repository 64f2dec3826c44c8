"""What the sensor costs an application: nginx with TLS under wrk, bare against with the sensor. Needs root.

    python -m bench.nginx_wrk [--rounds 5] [--seconds 5] [--connections 8] [--set section.key=value ...]

Bare and observed runs take turns, because the machine's speed changes within seconds; medians and the ratio are quoted.
nginx and wrk get a core each where there are two; the sensor takes what it gets. What nginx counted itself
(stub_status) is compared with what the sensor reported of it: a sensor that keeps up by not looking would show here.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.peers import certificates
from tests.peers.process import Peer, free_port, listens, program
from tests.sensor import Sensor

CONTENT_BYTES = 1_000
SETTLE_SECONDS = 30.0
"""For the sensor to report what it has already seen; it may be behind."""
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
"""Microseconds of one clock tick in /proc/PID/stat."""


@dataclass(frozen=True)
class Load:
    """What wrk said of one run."""

    requests_per_second: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Observed:
    """One run with the sensor."""

    load: Load
    served: int
    """Requests that nginx counted."""
    captured: int
    """Transactions that the sensor reported of nginx."""
    sensor_us: float
    """CPU of all parts of the sensor per request, microseconds; it sees nginx's view and wrk's."""
    losses: dict[str, int]


_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def read_wrk(output: str) -> Load:
    """Reads wrk's --latency report.

    Raises:
        ValueError: it is not one, or requests failed.
    """
    if failed := re.search(r"^ *(Socket errors|Non-2xx).*$", output, re.MULTILINE):
        raise ValueError(f"wrk: {failed[0].strip()}")
    rate = re.search(r"^Requests/sec: +([\d.]+)$", output, re.MULTILINE)
    latencies = {p: re.search(rf"^ *{p}% +([\d.]+)(us|ms|s)$", output, re.MULTILINE) for p in (50, 99)}
    if rate is None or latencies[50] is None or latencies[99] is None:
        raise ValueError(f"not a report of wrk: {output[:300]!r}")
    median, p99 = (float(found[1]) * _UNITS_MS[found[2]] for found in latencies.values() if found)
    return Load(float(rate[1]), median, p99)


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command on one core, where there are at least two."""
    cores = sorted(os.sched_getaffinity(0))
    return [program("taskset"), "-c", str(cores[core]), *command] if len(cores) > 1 else list(command)


def _configuration(directory: Path, tls: int, plain: int, connections: int) -> str:
    return f"""
        daemon off;
        {"user root;" if os.geteuid() == 0 else ""}
        worker_processes 1;
        pid {directory}/nginx.pid;
        error_log {directory}/error.log warn;
        worker_rlimit_nofile {connections + 256};
        events {{ worker_connections {connections}; }}
        http {{
            access_log off;
            keepalive_requests 100000000;
            keepalive_timeout 600s;
            ssl_certificate {directory}/certificate.pem;
            ssl_certificate_key {directory}/key.pem;
            server {{
                listen 127.0.0.1:{tls} ssl http2;
                location / {{ default_type application/json; return 200 '{"x" * CONTENT_BYTES}'; }}
            }}
            server {{
                listen 127.0.0.1:{plain};
                location / {{ default_type application/json; return 200 '{"x" * CONTENT_BYTES}'; }}
                location = /served {{ stub_status; }}
            }}
        }}
    """


class Nginx:
    """An nginx that does as little as it can, and counts."""

    def __init__(self, directory: Path, connections: int = 512) -> None:
        certificates.make(directory)
        self.tls, self.plain = free_port("127.0.0.1"), free_port("127.0.0.1")
        configuration = directory / "nginx.conf"
        configuration.write_text(_configuration(directory, self.tls, self.plain, connections))
        command = [program("nginx"), "-p", str(directory), "-c", str(configuration), "-e", str(directory / "error.log")]
        self._peer = Peer(pinned(0, command), directory / "nginx.stderr")
        # It listens before it starts its worker.
        self._peer.wait_until(lambda: bool(self._peer.children()) and listens("127.0.0.1", self.tls), "nginx")

    @property
    def worker(self) -> int:
        """Pid of the process that serves."""
        return self._peer.children()[0]

    @property
    def url(self) -> str:
        """Of what it serves."""
        return f"https://127.0.0.1:{self.tls}/"

    def served(self) -> int:
        """Requests served so far, this one included."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.plain}/served", timeout=10) as response:
            return int(response.read().splitlines()[2].split()[2])

    def stop(self) -> None:
        self._peer.stop()


def load(nginx: Nginx, seconds: int, connections: int) -> Load:
    """One run of wrk."""
    command = [program("wrk"), "--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency"]
    done = subprocess.run(
        pinned(1, [*command, nginx.url]),
        check=True,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
    )
    return read_wrk(done.stdout)


def captured_of(sensor: Sensor, pid: int) -> int:
    """Transactions of a process that the sensor has reported, once the number has stopped rising."""
    deadline = time.monotonic() + SETTLE_SECONDS
    before = -1
    while True:
        counted = sum(process["transactions"] for process in sensor.status()["processes"] if process["pid"] == pid)
        if counted == before or time.monotonic() > deadline:
            return int(counted)
        before = counted
        time.sleep(2)


def cpu_us(pids: Iterable[int]) -> int:
    """CPU that processes have taken, user and system, in microseconds."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_US


def observe(nginx: Nginx, seconds: int, connections: int, settings: Sequence[str]) -> Observed:
    """One run with a sensor of its own."""
    with Sensor(settings, arguments=["--format", "none"]) as sensor:
        served = nginx.served()
        seen, cpu = captured_of(sensor, nginx.worker), cpu_us(sensor.pids())
        result = load(nginx, seconds, connections)
        seen = captured_of(sensor, nginx.worker) - seen
        served = nginx.served() - served - 1  # the question itself
        return Observed(result, served, seen, (cpu_us(sensor.pids()) - cpu) / served, sensor.losses())


def report(bare: Sequence[Load], observed: Sequence[Observed]) -> Iterator[str]:
    """The figures, line by line."""
    rates = [run.requests_per_second for run in bare]
    yield f"bare:     {_row(bare)}"
    yield f"observed: {_row([run.load for run in observed])}"
    ratios = [run.load.requests_per_second / rate for run, rate in zip(observed, rates, strict=True)]
    yield f"ratio:    {statistics.median(ratios):.2f} of bare (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    served, seen = (sum(getattr(run, name) for run in observed) for name in ("served", "captured"))
    yield f"captured: {seen:,} of {served:,} requests that nginx served, {seen / served:.2%}"
    yield f"sensor:   {statistics.median(run.sensor_us for run in observed):.0f} us of CPU per request, all parts"
    losses: dict[str, int] = {}
    for run in observed:
        for name, count in run.losses.items():
            losses[name] = losses.get(name, 0) + count
    yield "lost:     " + (", ".join(f"{name} {count:,}" for name, count in sorted(losses.items())) or "nothing")


def _row(runs: Sequence[Load]) -> str:
    rate = statistics.median(run.requests_per_second for run in runs)
    median = statistics.median(run.median_ms for run in runs)
    p99 = statistics.median(run.p99_ms for run in runs)
    return f"{rate:,.0f} requests/s, median {median:.2f} ms, p99 {p99:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    options = parser.parse_args()
    bare: list[Load] = []
    observed: list[Observed] = []
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as directory:
        nginx = Nginx(Path(directory))
        try:
            load(nginx, 1, options.connections)  # caches, sessions, frequency
            for _ in range(options.rounds):
                bare.append(load(nginx, options.seconds, options.connections))
                observed.append(observe(nginx, options.seconds, options.connections, options.set))
        finally:
            nginx.stop()
    print(f"nginx with TLS, wrk, {options.connections} connections, {options.seconds} s, {options.rounds} rounds")
    for line in report(bare, observed):
        print(line)


if __name__ == "__main__":
    main()
