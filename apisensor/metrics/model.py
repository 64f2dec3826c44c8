"""What a metric is, whoever shows it: named by OpenTelemetry's rules, with values at a moment."""

from __future__ import annotations

from typing import Literal

import msgspec

Attributes = tuple[tuple[str, str | int | bool], ...]
"""Names and values; a name that has no value is absent."""

NS_PER_UNIT = {"s": 1_000_000_000, "ms": 1_000_000}
"""Nanoseconds in the unit of a histogram."""


class Metric(msgspec.Struct, frozen=True):
    """An instrument. Equal ones are one metric."""

    name: str
    """Dotted, without the unit."""
    kind: Literal["histogram", "counter", "gauge"]
    unit: str
    """UCUM: "s", "ms", "By"; "" or "{call}" for what is counted."""
    description: str
    bounds_ns: tuple[int, ...] = ()
    """Of a histogram: upper bounds of its buckets but the last, inclusive (OTLP: (lower, upper])."""


class Series(msgspec.Struct, gc=False):
    """A histogram; a counter is one with a single bucket."""

    metric: Metric
    service: str
    """service.name of the resource."""
    attributes: Attributes
    start_ns: int
    """Unix time since which it counts."""
    counts: list[int]
    """Of calls, by bucket; the last is above every bound."""
    sum_ns: int = 0
    min_ns: int = 1 << 63
    """Above any duration while there is none."""
    max_ns: int = 0
    last_ns: int = 0
    """Event clock of the end of its latest call."""

    @property
    def count(self) -> int:
        return sum(self.counts)


class Value(msgspec.Struct, frozen=True):
    """One number of a counter or gauge."""

    metric: Metric
    attributes: Attributes
    value: int | float
