"""Names of OpenTelemetry -> names of Prometheus ("Prometheus and OpenMetrics Compatibility", metrics specification)."""

from __future__ import annotations

import re
from functools import lru_cache

from apisensor.metrics.model import Metric

UNITS = {"s": "seconds", "ms": "milliseconds", "By": "bytes"}
"""UCUM: the word that Prometheus has for it. A unit in braces, or none, adds nothing to a name."""

NAMES = 1024
"""Translations kept; names are the sensor's own and some hundreds."""

_OTHER = re.compile(r"[^a-zA-Z0-9]+")
"""What becomes one underscore: everything else, and several of them. Applied to the sensor's own names only."""


@lru_cache(NAMES)
def family(metric: Metric) -> str:
    """Name of the metric family: with the unit, without the suffixes of samples (_total, _bucket, ...)."""
    name = _OTHER.sub("_", metric.name).strip("_").removesuffix("_total")
    unit = unit_of(metric)
    return name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"


def unit_of(metric: Metric) -> str:
    """The unit as Prometheus names it, or ""."""
    return UNITS.get(metric.unit, "")


@lru_cache(NAMES)
def label(name: str) -> str:
    """Name of a label."""
    return _OTHER.sub("_", name).strip("_")
