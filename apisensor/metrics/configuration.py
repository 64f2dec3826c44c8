"""The standard OTEL_* variables for metrics -> one frozen object. docs/metrics.md has the table; a test compares it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from apisensor.export.environment import Environment
from apisensor.export.otlp import Otlp, variables
from apisensor.export.otlp import read as read_otlp
from apisensor.export.signal import METRICS

DEFAULT_INTERVAL_MS = 60_000

Temporality = Literal["cumulative", "delta", "lowmemory"]

TEMPORALITIES: tuple[Temporality, ...] = ("cumulative", "delta", "lowmemory")
"""OTLP metrics exporter specification. Calls are measured as they happen (synchronous instruments), the sensor's own
counters are read (observable ones): lowmemory is delta for the first and cumulative for the second."""

AGGREGATION = "explicit_bucket_histogram"
"""The only one: the conventions advise explicit boundaries, and Prometheus shows the same histograms."""

EXPORTERS = ("otlp", "prometheus", "none")
"""prometheus: only the page, which is always there."""

VARIABLES = (
    "OTEL_SDK_DISABLED",
    "OTEL_METRICS_EXPORTER",
    *variables(METRICS),
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_RESOURCE_ATTRIBUTES",
)


class Configuration(msgspec.Struct, frozen=True):
    """Everything that the OTEL_* variables say about the export of metrics."""

    otlp: Otlp
    interval_ns: int
    temporality: Temporality
    resource_attributes: dict[str, str]


def read(environ: Mapping[str, str]) -> Configuration | None:
    """What to do; None where export is switched off or nothing asks for it.

    Raises:
        SettingsError: a variable has a value that is not allowed; one line, with name, value and what is allowed.
    """
    env = Environment(environ, METRICS)
    if env.boolean("OTEL_SDK_DISABLED"):
        return None
    exporter = env.get("OTEL_METRICS_EXPORTER").lower()
    if exporter not in {"", *EXPORTERS}:
        raise env.error("OTEL_METRICS_EXPORTER", ", ".join(EXPORTERS))
    if exporter in {"prometheus", "none"} or (not exporter and not any(env.get(name) for name in variables(METRICS))):
        return None
    aggregation = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
    if env.get(aggregation).lower() not in {"", AGGREGATION}:
        raise env.error(aggregation, AGGREGATION)
    return Configuration(
        otlp=read_otlp(env),
        interval_ns=1_000_000 * env.integer("OTEL_METRIC_EXPORT_INTERVAL", DEFAULT_INTERVAL_MS, 1_000, 3_600_000),
        temporality=_temporality(env),
        resource_attributes=env.pairs("OTEL_RESOURCE_ATTRIBUTES"),
    )


def _temporality(env: Environment) -> Temporality:
    name = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    value = env.get(name).lower() or "cumulative"
    for temporality in TEMPORALITIES:
        if value == temporality:
            return temporality
    raise env.error(name, ", ".join(TEMPORALITIES))
