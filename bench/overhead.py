"""What observing costs nginx with TLS, side by side on the same cores. Needs root, nginx, wrk, h2load.

    python -m bench.overhead [--rounds 5] [--seconds 5] [--sslsniff PATH] [--only NAME ...]

bare       nothing observes
floor      a BPF program that counts SSL_read and SSL_write (floor.py): no sensor can cost less
every      apisensor, every call a span, exported by OTLP to a receiver that looks at nothing
governed   the same with governor.cpu_share=20
sslsniff   bcc's, on nginx's worker (sslsniff.py)

Runs take turns, because the machine's speed changes within seconds; each round's ratios are to its own bare and floor.
The clients, wrk and h2load, are observed by none: they have a copy of libssl of their own that no program attaches to,
and the sensor has them on its never-capture list.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import sslsniff
from bench.floor import Floor
from bench.nginx_wrk import Load, Nginx, captured_of, cpu_us, pinned, read_wrk
from bench.paced import Latencies, paced
from tests.peers.process import ROOT, PeerError, program
from tests.sensor import Sensor

GOVERNED_PERCENT = 20
WARM_SECONDS = 8
"""Full load before a governed run: the governor takes some seconds to find its level."""


@dataclass
class Run:
    """One arm in one round."""

    load: Load
    paced: Latencies | None
    """None: not measured."""
    spans: int | None = None
    """Of nginx's calls in `load`; None: this one makes none."""
    served: int = 0
    sensor_us: float = 0.0
    """CPU of the observer per request, all its processes."""
    shed: dict[str, int] = field(default_factory=dict)


class Clients:
    """wrk and h2load, with a libssl of their own."""

    def __init__(self, directory: Path) -> None:
        maps = subprocess.run([program("ldd"), program("wrk")], check=True, capture_output=True, text=True).stdout
        self.library = next(line.split()[2] for line in maps.splitlines() if "libssl" in line)
        # Its name is none that a sensor knows, and its inode another.
        self._own = directory / "tls-of-the-clients.so"
        shutil.copyfile(self.library, self._own)

    def _command(self, name: str) -> list[str]:
        return pinned(1, [program("env"), f"LD_PRELOAD={self._own}", program(name)])

    def load(self, nginx: Nginx, seconds: int, connections: int) -> Load:
        command = self._command("wrk")
        options = ["--threads=1", f"--connections={connections}", f"--duration={seconds}s", "--latency"]
        done = subprocess.run(
            [*command, *options, nginx.url], check=True, capture_output=True, text=True, timeout=seconds + 60
        )
        return read_wrk(done.stdout)

    def paced(self, nginx: Nginx, rate: int, seconds: int, connections: int, directory: Path) -> Latencies:
        log = directory / "h2load.log"
        command = self._command("h2load")
        return paced(command, nginx.url, rate=rate, connections=connections, seconds=seconds, log=log)


@dataclass
class Bench:
    """What all arms share."""

    nginx: Nginx
    clients: Clients
    directory: Path
    seconds: int
    connections: int
    sniff: str | None
    settings: list[str]
    rate: int

    def _paced(self) -> Latencies | None:
        if not self.rate:
            return None
        return self.clients.paced(self.nginx, self.rate, self.seconds, self.connections, self.directory)

    def _both(self) -> Run:
        nginx, clients = self.nginx, self.clients
        served = nginx.served()
        full = clients.load(nginx, self.seconds, self.connections)
        served = nginx.served() - served - 1  # the question itself
        return Run(full, self._paced(), served=served)

    def bare(self) -> Run:
        return self._both()

    def floor(self) -> Run:
        with contextlib.closing(Floor(self.clients.library, [self.nginx.worker])) as floor:
            run = self._both()
            if not all(floor.counts()):
                raise RuntimeError("the floor counted nothing")
            return run

    def sslsniff(self) -> Run:
        assert self.sniff is not None
        with sslsniff.SslSniff(self.sniff, self.nginx.worker) as sniffer:
            before = cpu_us([sniffer.pid])
            run = self._both()
            run.sensor_us = (cpu_us([sniffer.pid]) - before) / run.served
            return run

    def every(self) -> Run:
        return self._sensor(["governor.cpu_share=0"], warm=0)

    def governed(self) -> Run:
        return self._sensor([f"governor.cpu_share={GOVERNED_PERCENT}"], warm=WARM_SECONDS)

    def _sensor(self, settings: Sequence[str], warm: int) -> Run:
        nginx, clients = self.nginx, self.clients
        never = f"capture.never_executables={program('wrk')},{program('h2load')}"
        with (
            _sink() as endpoint,
            Sensor(
                [never, *self.settings, *settings],
                {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_METRICS_EXPORTER": "none"},
                ["--format", "none"],
            ) as sensor,
        ):
            sensor.attached([nginx.worker])
            quiet = self._paced()
            seen, served, used = captured_of(sensor, nginx.worker), nginx.served(), cpu_us(sensor.pids())
            if warm:
                clients.load(nginx, warm, self.connections)  # no pause behind it: it would be given back in pauses
            full = clients.load(nginx, self.seconds, self.connections)
            served = nginx.served() - served - 1
            seen = captured_of(sensor, nginx.worker) - seen
            used = cpu_us(sensor.pids()) - used
            export = sensor.status()["export"]
            if export["sent"] + export["queued"] < seen:
                raise RuntimeError(f"not every call became a span: {export}")
            return Run(full, quiet, seen, served, used / served, sensor.losses())


@contextmanager
def _sink() -> Iterator[str]:
    sink = subprocess.Popen([sys.executable, "-m", "bench.otlp_sink"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        yield f"http://127.0.0.1:{sink.stdout.readline().strip()}"
    finally:
        sink.terminate()
        sink.wait(30)


def report(runs: dict[str, list[Run]]) -> Iterator[str]:
    """The figures, line by line."""
    bare, floor = runs["bare"], runs["floor"]
    for name, made in runs.items():
        rate = statistics.median(run.load.requests_per_second for run in made)
        line = f"{name:9} {rate:8,.0f} requests/s"
        for other, theirs in (("bare", bare), ("floor", floor)):
            line += f", {_ratio(made, theirs):.2f} of {other}"
        if any(run.spans is not None for run in made):
            share = sum(run.spans or 0 for run in made) / sum(run.served for run in made)
            line += f"; spans of {share:.1%} of what nginx served"
        if any(run.sensor_us for run in made):
            line += f"; {statistics.median(run.sensor_us for run in made):.0f} us of CPU a request"
        yield line
    yield from _latencies(runs)
    for name, made in runs.items():
        lost: dict[str, int] = {}
        for run in made:
            for cause, count in run.shed.items():
                lost[cause] = lost.get(cause, 0) + count
        if any(run.spans is not None for run in made):
            yield f"{name:9} lost: " + (", ".join(f"{k} {v:,}" for k, v in sorted(lost.items())) or "nothing")


def _ratio(made: Sequence[Run], others: Sequence[Run]) -> float:
    pairs = zip(made, others, strict=True)
    return statistics.median(run.load.requests_per_second / other.load.requests_per_second for run, other in pairs)


def _latencies(runs: dict[str, list[Run]]) -> Iterator[str]:
    floor = [run.paced for run in runs["floor"]]
    for name, made in runs.items():
        pairs = [(run.paced, least) for run, least in zip(made, floor, strict=True) if run.paced and least]
        if not pairs:
            return
        median, p99 = (statistics.median(getattr(run, which) for run, _ in pairs) for which in ("median_us", "p99_us"))
        added = statistics.median(run.median_us - least.median_us for run, least in pairs)
        added99 = statistics.median(run.p99_us - least.p99_us for run, least in pairs)
        beyond = f"beyond the floor {added:+.0f}, {added99:+.0f} us"
        yield f"{name:9} paced: median {median:6.0f} us, p99 {p99:6.0f} us; {beyond}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rate", type=int, default=1_000, help="requests/s of the runs not at full load; 0: none")
    parser.add_argument("--sslsniff", metavar="PATH", help="where bcc's sslsniff lies; bpfcc-tools has it")
    parser.add_argument("--without", action="append", default=[], choices=["every", "governed", "sslsniff"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the sensor")
    options = parser.parse_args()
    try:
        sniff = None if "sslsniff" in options.without else sslsniff.find(options.sslsniff)
    except PeerError as error:
        parser.error(f"{error}; or leave it out: --without sslsniff")
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as folder:
        directory = Path(folder)
        os.chmod(directory, 0o755)
        nginx = Nginx(directory)
        try:
            made = Bench(
                nginx,
                Clients(directory),
                directory,
                options.seconds,
                options.connections,
                sniff,
                options.set,
                options.rate,
            )
            arms: dict[str, Callable[[], Run]] = {
                name: getattr(made, name)
                for name in ("bare", "floor", "every", "governed", "sslsniff")
                if name not in options.without
            }
            made.bare()  # caches, sessions, frequency
            runs: dict[str, list[Run]] = {name: [] for name in arms}
            for _ in range(options.rounds):
                for name, arm in arms.items():
                    runs[name].append(arm())
        finally:
            nginx.stop()
    print(f"nginx with TLS, {options.connections} connections, {options.seconds} s, {options.rounds} rounds")
    for line in report(runs):
        print(line)


if __name__ == "__main__":
    main()
