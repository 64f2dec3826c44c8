"""Calls at a given rate through the real sensor with one worker: what it loses, and what each part takes. Needs root.

    python -m bench.live_rate [--rates 1000 2000 5000] [--seconds 10] [--protocol http/1.1|h2] [--plain]

h2load calls nginx at a steady rate. Only nginx is observed (capture.never_executables names h2load), so a call is
one transaction; with both ends in sight it would be two. What nginx counted itself (stub_status) is compared with what
the sensor reported of it. Load, server and sensor share the machine: where h2load falls short of its rate, or a part
takes all of a core, the line shows the limit of the machine, not of the worker.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.nginx_wrk import TICK_US, Nginx, captured_of
from tests.peers.process import program
from tests.sensor import Sensor

CONNECTIONS = 50
SETTINGS = ("worker.count=1",)


@dataclass(frozen=True)
class Run:
    """One rate."""

    asked: int
    """Calls a second that h2load was to make."""
    seconds: int
    served: int
    """Requests that nginx counted."""
    captured: int
    """Transactions that the sensor reported of nginx."""
    cpu_us: dict[str, int]
    """Part of the sensor -> CPU, microseconds."""
    losses: dict[str, int]
    """Loss counters that rose meanwhile."""


def load(url: str, rate: int, seconds: int, protocol: str) -> None:
    """Calls the URL at the rate, from CONNECTIONS connections.

    Raises:
        ValueError: calls failed, or none was made.
    """
    command = [program("h2load"), f"--clients={CONNECTIONS}", "--threads=1", f"--duration={seconds}"]
    command += [f"--rps={rate // CONNECTIONS}", *(["--h1"] if protocol == "http/1.1" else [])]
    done = subprocess.run([*command, url], check=True, capture_output=True, text=True, timeout=seconds + 60)
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    succeeded, *failed = map(int, found.groups()) if found else (0,)
    if not succeeded or any(failed):
        raise ValueError(f"h2load: {found[0] if found else done.stdout[-300:]!r}")


def _cpu_us(sensor: Sensor) -> dict[str, int]:
    """CPU that each part of the sensor has taken, user and system, in microseconds."""
    taken: dict[str, int] = {}
    for part in sensor.status()["parts"]:
        with contextlib.suppress(FileNotFoundError):
            fields = Path(f"/proc/{part['pid']}/stat").read_text().rpartition(")")[2].split()
            taken[part["name"]] = (int(fields[11]) + int(fields[12])) * TICK_US
    return taken


def observe(sensor: Sensor, nginx: Nginx, url: str, rate: int, seconds: int, protocol: str) -> Run:
    """One rate, watched by a sensor that runs."""
    served, captured = nginx.served(), captured_of(sensor, nginx.worker)
    before, losses = _cpu_us(sensor), sensor.losses()
    load(url, rate, seconds, protocol)
    captured = captured_of(sensor, nginx.worker) - captured
    served = nginx.served() - served - 1  # the question itself
    after = _cpu_us(sensor)
    rose = {name: count - losses.get(name, 0) for name, count in sensor.losses().items()}
    cpu = {name: us - before.get(name, 0) for name, us in after.items()}
    return Run(rate, seconds, served, captured, cpu, {name: count for name, count in rose.items() if count})


def report(runs: Sequence[Run]) -> Iterator[str]:
    """The figures, a line for each rate and one for what was lost."""
    for run in runs:
        cores = {name: us / 1e6 / run.seconds for name, us in run.cpu_us.items()}
        parts = ", ".join(f"{name} {share:.2f}" for name, share in cores.items() if share >= 0.005)
        yield (
            f"{run.asked:,} calls/s asked, {run.served / run.seconds:,.0f} made: {run.captured:,} of {run.served:,} "
            f"captured ({run.captured / max(run.served, 1):.3%}); cores taken: {parts}"
        )
        yield "  lost: " + (", ".join(f"{name} {count:,}" for name, count in sorted(run.losses.items())) or "nothing")


def measure(rates: Sequence[int], seconds: int, protocol: Any, plain: bool) -> Iterator[str]:
    """The report of one sensor that sees one rate after the other."""
    settings = [*SETTINGS, f"capture.never_executables={os.path.realpath(program('h2load'))}"]
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as directory:
        nginx = Nginx(Path(directory))
        try:
            url = f"http://127.0.0.1:{nginx.plain}/" if plain else f"https://127.0.0.1:{nginx.tls}/"
            with Sensor(settings, arguments=["--format", "none"]) as sensor:
                load(url, CONNECTIONS, 1, protocol)
                sensor.attached([nginx.worker])
                yield from report([observe(sensor, nginx, url, rate, seconds, protocol) for rate in rates])
        finally:
            nginx.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 2_000, 5_000])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--protocol", choices=["http/1.1", "h2"], default="http/1.1")
    parser.add_argument("--plain", action="store_true", help="without TLS (HTTP/1.1 only)")
    options = parser.parse_args()
    for line in measure(options.rates, options.seconds, options.protocol, options.plain):
        print(line, flush=True)


if __name__ == "__main__":
    main()
