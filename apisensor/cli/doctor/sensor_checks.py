"""What a sensor that runs says of itself: is there one, and what has it lost? Pure functions over facts."""

from __future__ import annotations

from collections.abc import Iterator

from apisensor.cli.doctor.check import Check, not_seen
from apisensor.cli.doctor.facts import Facts
from apisensor.live.losses import OTHERWISE, remedies


def sensor(f: Facts) -> Iterator[Check]:
    if "sensor" in f.unknown:
        yield not_seen(f, "sensor", "sensor")
        return
    if f.sensor is None:
        yield Check("sensor", "ok", "none is running")
        return
    yield Check("sensor", "ok", f"version {f.sensor} is running: `apisensor status`")
    if not f.lost:
        yield Check("losses", "ok", "none since it was started")
        return
    found = ", ".join(f"{name} {count:,}" for name, count in sorted(f.lost.items()))
    yield Check("losses", "warn", f"since it was started: {found}", "; ".join(remedies(f.lost)) or OTHERWISE)
