"""Requests, decoded with opentelemetry-proto and beside what the OpenTelemetry SDK makes of the same measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, HistogramDataPoint, Metric
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality as SdkTemporality
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from apisensor.export.exporter import REQUEST_BYTES
from apisensor.export.semantics import KNOWN_METHODS, SCHEMA_URL
from apisensor.live.status import Status
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.configuration import Temporality
from apisensor.metrics.conventions import CALL_METRICS, measured
from apisensor.metrics.health import health
from apisensor.metrics.model import NS_PER_UNIT
from apisensor.metrics.otlp import RequestEncoder
from apisensor.transactions.model import Process, Transaction
from tests.export.records import call

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
STARTED_NS, NOW_NS, LATER_NS = 1_000, 2_000, 3_000

DURATIONS_NS = (0, 4_999_999, 5_000_000, 5_000_001, 123_456_789, 10_000_000_000, 99_000_000_000)
MEASURED = [
    *(call(duration_ns=ns, route="/users/{id}") for ns in DURATIONS_NS),
    *(call(duration_ns=ns, side="client", status=500) for ns in DURATIONS_NS),
    *(call(duration_ns=ns, protocol="grpc", path="/a.B/C", grpc_status=14) for ns in DURATIONS_NS),
]


def decoded(batches: Sequence[Any]) -> list[ExportMetricsServiceRequest]:
    return [ExportMetricsServiceRequest.FromString(batch.request) for batch in batches]


def metrics_of(request: ExportMetricsServiceRequest, service: str | None = None) -> dict[str, Metric]:
    return {
        metric.name: metric
        for resource in request.resource_metrics
        if service in {None, resource.resource.attributes[0].value.string_value}
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


class Pair:
    """Calls and their encoder."""

    def __init__(self, temporality: Temporality = "cumulative") -> None:
        self.calls = CallMetrics(10_000, started_ns=STARTED_NS)
        self.encoder = RequestEncoder(temporality, {"host.name": "node1", "process.pid": "7"})

    def observe(self, *calls: Transaction) -> None:
        for each in calls:
            self.calls.observe(each)

    def export(self, now_ns: int, counters: dict[str, int] | None = None) -> ExportMetricsServiceRequest:
        values = health(Status(version="1", started=0.0), counters) if counters else ()
        batches = self.encoder.encode(self.calls.series(), values, STARTED_NS, now_ns)
        return decoded(batches)[0] if batches else ExportMetricsServiceRequest()


class Sdk:
    """The SDK with the same instruments; advice on boundaries as the conventions have it."""

    def __init__(self, temporality: SdkTemporality) -> None:
        self._reader = InMemoryMetricReader(preferred_temporality={Histogram: temporality})
        meter = MeterProvider([self._reader], shutdown_on_exit=False).get_meter("reference")
        self._instruments = {
            metric.name: meter.create_histogram(
                metric.name,
                unit=metric.unit,
                description=metric.description,
                explicit_bucket_boundaries_advisory=(
                    [bound / NS_PER_UNIT[metric.unit] for bound in metric.bounds_ns]
                    if metric.name.startswith("http.")
                    else None
                ),
            )
            for metric in CALL_METRICS
            if metric.kind == "histogram"
        }

    def record(self, *calls: Transaction) -> None:
        for t in calls:
            metric, attributes = measured(t, KNOWN_METHODS)
            assert t.duration_ns is not None
            self._instruments[metric.name].record(t.duration_ns / NS_PER_UNIT[metric.unit], dict(attributes))

    def export(self) -> dict[str, Metric]:
        data = self._reader.get_metrics_data()
        assert data is not None
        return metrics_of(encode_metrics(data))


def comparable(metric: Metric, *, extremes: bool) -> Any:
    """All of a histogram but the times."""
    points = []
    for point in metric.histogram.data_points:
        copy = HistogramDataPoint()
        copy.CopyFrom(point)
        copy.time_unix_nano = copy.start_time_unix_nano = 0
        copy.sum = round(copy.sum, 9)
        if not extremes:
            copy.ClearField("min")
            copy.ClearField("max")
        attributes = sorted(copy.attributes, key=lambda pair: pair.key)
        del copy.attributes[:]
        copy.attributes.extend(attributes)
        points.append(copy.SerializeToString(deterministic=True))
    return metric.name, metric.unit, metric.description, metric.histogram.aggregation_temporality, sorted(points)


def test_cumulative_points_are_the_sdks() -> None:
    ours, sdk = Pair(), Sdk(SdkTemporality.CUMULATIVE)
    for _ in range(2):
        ours.observe(*MEASURED)
        sdk.record(*MEASURED)
        found, expected = metrics_of(ours.export(NOW_NS)), sdk.export()
        assert len(found) == 3
        for name, metric in found.items():
            assert comparable(metric, extremes=True) == comparable(expected[name], extremes=True)


def test_delta_points_are_the_sdks_without_extremes() -> None:
    ours, sdk = Pair("delta"), Sdk(SdkTemporality.DELTA)
    for some in (MEASURED, MEASURED[:2]):
        ours.observe(*some)
        sdk.record(*some)
        found, expected = metrics_of(ours.export(NOW_NS)), sdk.export()
        assert set(found) == set(expected)
        for name, metric in found.items():
            assert not any(point.HasField("min") for point in metric.histogram.data_points)
            assert comparable(metric, extremes=False) == comparable(expected[name], extremes=False)


def test_times() -> None:
    for temporality, start in (("cumulative", STARTED_NS), ("delta", NOW_NS)):
        pair = Pair(temporality)  # type: ignore[arg-type]
        pair.observe(call())
        (first,) = metrics_of(pair.export(NOW_NS))["http.server.request.duration"].histogram.data_points
        pair.observe(call())
        (second,) = metrics_of(pair.export(LATER_NS))["http.server.request.duration"].histogram.data_points
        assert (first.start_time_unix_nano, first.time_unix_nano) == (STARTED_NS, NOW_NS)
        assert (second.start_time_unix_nano, second.time_unix_nano) == (start, LATER_NS)


def test_delta_has_no_point_for_what_did_not_happen() -> None:
    pair = Pair("delta")
    pair.observe(call())
    assert metrics_of(pair.export(NOW_NS))
    assert not metrics_of(pair.export(LATER_NS))


@pytest.mark.parametrize(
    ("temporality", "calls_kind", "health_kind", "second"),
    [("cumulative", CUMULATIVE, CUMULATIVE, 9), ("delta", DELTA, DELTA, 4), ("lowmemory", DELTA, CUMULATIVE, 9)],
)
def test_preferences(temporality: Temporality, calls_kind: int, health_kind: int, second: int) -> None:
    pair = Pair(temporality)
    pair.observe(call(), call(duration_ns=None, status=None, incomplete_reason="response_not_seen"))
    pair.export(NOW_NS, {"kernel.records": 5})
    pair.observe(call(), call(duration_ns=None, status=None, incomplete_reason="response_not_seen"))
    found = metrics_of(pair.export(LATER_NS, {"kernel.records": 9}))
    assert found["http.server.request.duration"].histogram.aggregation_temporality == calls_kind
    without = found["apisensor.calls.without_duration"].sum
    assert (without.aggregation_temporality, without.is_monotonic) == (calls_kind, True)
    assert without.data_points[0].as_int == (2 if calls_kind == CUMULATIVE else 1)
    records = found["apisensor.kernel.records"].sum
    assert (records.aggregation_temporality, records.data_points[0].as_int) == (health_kind, second)
    assert found["apisensor.start_time"].WhichOneof("data") == "gauge"


def test_a_counter_that_fell_began_anew() -> None:
    pair = Pair("delta")
    pair.export(NOW_NS, {"core.received": 100})
    found = metrics_of(pair.export(LATER_NS, {"core.received": 3}))
    assert found["apisensor.core.received"].sum.data_points[0].as_int == 3


def test_resources() -> None:
    pair = Pair()
    pair.observe(call(), call(process=Process(9, service="backend")), call(process=Process(10, service="backend")))
    request = pair.export(NOW_NS, {"kernel.records": 1})
    found = {}
    for resource in request.resource_metrics:
        attributes = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
        found[attributes.pop("service.name")] = attributes
        assert (resource.schema_url, resource.scope_metrics[0].schema_url) == (SCHEMA_URL, SCHEMA_URL)
        assert resource.scope_metrics[0].scope.name == "apisensor"
    assert list(found) == ["frontend", "backend", "apisensor"]
    assert all(attributes["host.name"] == "node1" for attributes in found.values())
    assert not any("process.pid" in attributes for attributes in found.values())
    assert "service.version" in found["apisensor"]


def test_a_large_export_is_split_and_complete() -> None:
    pair = Pair()
    routes = ["/" + "x" * 900 + str(n) for n in range(8_000)]
    pair.observe(*(call(route=route) for route in routes))
    batches = pair.encoder.encode(pair.calls.series(), (), STARTED_NS, NOW_NS)
    assert len(batches) > 1
    assert max(len(batch.request) for batch in batches) < REQUEST_BYTES + 65_536
    points = [
        point
        for request in decoded(batches)
        for point in metrics_of(request)["http.server.request.duration"].histogram.data_points
    ]
    found = {pair.value.string_value for point in points for pair in point.attributes if pair.key == "http.route"}
    assert found == set(routes)
    assert sum(batch.items for batch in batches) == len(points) == len(routes)
