"""The records of a recording that are not events: who recorded, the clocks, what was lost."""

from __future__ import annotations

import msgspec

SCHEMA = 1
"""Version of the recording format. Raised when an older reader would misread a new file."""


class RecordingHeader(msgspec.Struct, frozen=True):
    """Who recorded, and how."""

    run_id: bytes
    """Random, the same for all writers of one run: identifiers of flows and connections are unique within it."""
    sensor_version: str
    kernel_release: str
    architecture: str
    start_monotonic_ns: int
    wall_offset_ns: int
    """Unix time minus monotonic time at the start, ns."""
    settings: dict[str, str] = {}
    """Settings that decide what was captured, as `section.key`."""
    schema: int = SCHEMA


class ClockSample(msgspec.Struct, frozen=True, gc=False):
    """Both clocks at one moment; sampled each second, because Unix time is corrected while the sensor runs."""

    time_ns: int
    """CLOCK_MONOTONIC, ns."""
    wall_offset_ns: int
    """Unix time minus `time_ns`, ns."""


class LossCounters(msgspec.Struct, frozen=True, gc=False):
    """What was lost while recording."""

    time_ns: int
    counters: dict[str, int]
    """Running totals since the start, by cause."""
