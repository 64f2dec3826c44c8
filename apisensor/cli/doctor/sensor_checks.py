"""What a sensor that runs says of itself: is there one, and what has it lost? Pure functions over facts."""

from __future__ import annotations

from collections.abc import Iterator

from apisensor.cli.doctor.check import Check
from apisensor.cli.doctor.facts import Facts

REMEDIES = {
    "ring_full": "raise capture.ring_bytes or worker.count",
    "map_full": "raise capture.max_connections and capture.max_tls_sessions",
    "shed": "the governor keeps it under governor.cpu_share: raise that, or leave out what is not wanted "
    "(capture.never_*)",
    "core_behind": "core is too slow: leave out what is not wanted (capture.never_*)",
    "not_printed": "what reads its standard output is too slow",
    "disk_full": "free space for general.state_directory, or lower store.max_bytes",
    "queue_full": "the disk of general.state_directory is too slow: raise store.queue_bytes",
}
"""Beginning of a cause: what helps."""
OTHERWISE = "docs/metrics.md says what each of them is"


def sensor(f: Facts) -> Iterator[Check]:
    if f.sensor is None:
        yield Check("sensor", "ok", "none is running")
        return
    yield Check("sensor", "ok", f"version {f.sensor} is running: `apisensor status`")
    if not f.lost:
        yield Check("losses", "ok", "none since it was started")
        return
    causes = {name.partition(".lost.")[2] for name in f.lost}
    remedies = [text for cause, text in REMEDIES.items() if any(name.startswith(cause) for name in causes)]
    found = ", ".join(f"{name} {count:,}" for name, count in sorted(f.lost.items()))
    yield Check("losses", "warn", f"since it was started: {found}", "; ".join(remedies) or OTHERWISE)
