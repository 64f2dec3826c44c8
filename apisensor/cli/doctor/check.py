"""One line of doctor's report."""

from __future__ import annotations

from typing import Literal

import msgspec

from apisensor.cli.doctor.facts import Facts

State = Literal["ok", "warn", "fail", "unknown"]


class Check(msgspec.Struct, frozen=True):
    """What was looked at, what was found, what that means."""

    name: str
    state: State
    """"fail": the sensor cannot work. "warn": it works, and something is less. "unknown": could not be seen."""
    found: str
    remedy: str | None = None


def not_seen(f: Facts, name: str, field: str) -> Check:
    why = f.unknown.get(field, "no answer")
    return Check(name, "unknown", f"could not be checked: {why}", "run apisensor doctor as root" if f.euid else None)
