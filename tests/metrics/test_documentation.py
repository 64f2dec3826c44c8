"""docs/metrics.md against the code: every metric with type, unit and labels, every counter, every variable."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from apisensor.capture.counters import NAMES as KERNEL_NAMES
from apisensor.export.delivery import CAUSES
from apisensor.export.semantics import SCHEMA_URL
from apisensor.metrics import configuration
from apisensor.metrics.calls import OVERFLOW_SERIES, CallMetrics
from apisensor.metrics.conventions import (
    CALL_METRICS,
    HTTP_BOUNDS_NS,
    MOST_CHARACTERS,
    RPC_BOUNDS_NS,
    WITHOUT_DURATION,
    measured,
)
from apisensor.metrics.exporter import MetricExporter
from apisensor.metrics.health import FIXED, GAUGES, health
from apisensor.metrics.model import Metric
from apisensor.metrics.naming import family, label
from apisensor.processes.calls import Calls
from apisensor.processes.pages import core_counters, worker_counters
from apisensor.sections import Settings, Store
from apisensor.store.service import StoreService
from tests.export.records import call
from tests.export.test_delivery import ScriptedSender
from tests.metrics.test_prometheus import STATUS

TEXT = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
CODE = set(re.findall(r"`([^`]+)`", TEXT))


def rows(heading: str) -> dict[str, list[str]]:
    """Cells of the table after a heading, by the name in the first."""
    table = TEXT.partition(f"| {heading}")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]
    return {row[0].strip("`"): row[1:] for row in cells}


def shown(metric: Metric) -> str:
    return family(metric) + ("_total" if metric.kind == "counter" else "")


CALLS = [
    call(protocol=protocol, side=side, route="/x", status=500, path="/a.B/C", grpc_status=grpc_status)
    for protocol, grpc_status in (("http/1.1", None), ("websocket", None), ("grpc", 2))
    for side in ("server", "client")
] + [call(duration_ns=None, incomplete_reason="ring_full")]


def test_metrics_of_calls() -> None:
    labels: dict[Metric, set[str]] = {}
    for t in CALLS:
        metric, attributes = measured(t, frozenset({"GET"}))
        labels.setdefault(metric, set()).update(label(name) for name, _ in attributes)
    assert set(labels) == set(CALL_METRICS)
    expected = {shown(m): [f"`{m.name}`", m.kind, m.unit, found] for m, found in labels.items()}
    documented = {
        name: [*cells[:3], set(re.findall(r"`(\w+)`", cells[3]))] for name, cells in rows("Prometheus | Open").items()
    }
    assert documented == expected


def test_metrics_of_health() -> None:
    labels: dict[Metric, set[str]] = {}
    fixed = msgspec.structs.replace(STATUS, counters={"a.lost.b": 1, "a.lost.b_bytes": 1})
    for value in health(fixed, {}):
        labels.setdefault(value.metric, set()).update(name for name, _ in value.attributes)
    assert set(FIXED) <= set(labels)
    expected = {shown(metric): (metric.kind, found) for metric, found in labels.items()}
    documented = {
        name: (cells[0], set(re.findall(r"`(\w+)`", cells[1]))) for name, cells in rows("Prometheus | type").items()
    }
    assert documented == expected


def entries() -> set[str]:
    """Every entry of the status document's counters that this version has."""
    page = memoryview(bytearray(8 * 512)).cast("Q")
    config = configuration.read({"OTEL_METRICS_EXPORTER": "otlp"})
    assert config is not None
    exporter = MetricExporter(config, ScriptedSender(), host_name="x")
    exporter.close(0)
    live = {"live.clients", "live.subscribers", "live.sent", "live.dropped", "live.refused"}
    return {
        *KERNEL_NAMES,
        "kernel.lost.recursion",
        "kernel.socket_ends_untold",
        *worker_counters([page]),
        *core_counters(page),
        *live,
        *CallMetrics(1, started_ns=0).counters(),
        *exporter.counters(),
        *Calls(Settings(), store=None, on_finding=lambda _finding: None).counters(),
        *StoreService("/dev/null/store.db", Store()).counters(),
        "core.lost.findings_not_printed",
    }


@pytest.mark.parametrize("name", sorted(entries()))
def test_every_counter(name: str) -> None:
    assert name in CODE


def test_gauges() -> None:
    assert set(re.findall(r"`([a-z_.]+)` \(gauge\)", TEXT)) == GAUGES


@pytest.mark.parametrize("name", configuration.VARIABLES)
def test_every_variable(name: str) -> None:
    documented = name if "TEMPORALITY" in name or "AGGREGATION" in name else name.replace("OTLP_METRICS_", "OTLP_")
    assert documented in CODE


def test_no_variable_that_is_not_read() -> None:
    named = {name for name in CODE if re.fullmatch(r"OTEL_[A-Z_]+[A-WYZ]", name)}
    assert named <= set(configuration.VARIABLES)


def test_numbers() -> None:
    assert ", ".join(f"{bound / 1e9:g}" for bound in HTTP_BOUNDS_NS) + " s" in TEXT.replace("\n  ", " ")
    assert ", ".join(str(bound // 10**6) for bound in RPC_BOUNDS_NS) + " ms" in TEXT.replace("\n  ", " ")
    assert f"{OVERFLOW_SERIES} places" in TEXT.replace("\n", " ")
    assert f"{MOST_CHARACTERS:,}" in TEXT
    assert SCHEMA_URL.rpartition("/")[2] in TEXT
    assert re.search(rf"`OTEL_METRIC_EXPORT_INTERVAL` .*\| {configuration.DEFAULT_INTERVAL_MS} \|", TEXT)
    assert all(f"metrics.points_dropped_{cause}" in CODE for cause in CAUSES)
    assert WITHOUT_DURATION.name in CODE
