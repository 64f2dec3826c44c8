"""Latencies at a fixed rate, by h2load: wrk only knows full load."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Latencies:
    """Of one run, microseconds."""

    median_us: float
    p99_us: float
    requests: int


def read_log(text: str) -> Latencies:
    """Reads h2load's log of single requests: start, status, microseconds.

    Raises:
        ValueError: a request failed, or there is none.
    """
    rows = [line.split("\t") for line in text.splitlines()]
    if failed := [row for row in rows if row[1] != "200"]:
        raise ValueError(f"h2load: {len(failed)} of {len(rows)} requests were not answered with 200")
    if not rows:
        raise ValueError("h2load: no request was made")
    times = sorted(int(row[2]) for row in rows)
    return Latencies(statistics.median(times), times[int(len(times) * 0.99)], len(times))


def paced(command: Sequence[str], url: str, *, rate: int, connections: int, seconds: int, log: Path) -> Latencies:
    """One run at `rate` requests a second over HTTP/1.1. `command`: how h2load is started (taskset, environment)."""
    log.unlink(missing_ok=True)
    subprocess.run(
        [*command, "--h1", f"--clients={connections}", f"--rps={rate / connections:g}", f"--duration={seconds}",
         f"--log-file={log}", url],
        check=True, capture_output=True, timeout=seconds + 60,
    )  # fmt: skip
    return read_log(log.read_text())
