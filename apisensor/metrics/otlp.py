"""Everything as ExportMetricsServiceRequests, built with opentelemetry-proto's objects: once a minute they are cheap.

One resource for each service, with host.name and without what is of a process; the sensor's own metrics under
service.name=apisensor. One request unless it would be larger than gRPC receivers take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric as Family
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from apisensor.export.delivery import Batch
from apisensor.export.exporter import REQUEST_BYTES
from apisensor.export.resource import VERSION, described
from apisensor.export.semantics import SCHEMA_URL
from apisensor.metrics.configuration import Temporality
from apisensor.metrics.model import NS_PER_UNIT, Attributes, Metric, Series, Value

SENSOR = "apisensor"
"""service.name of the sensor's own metrics, and name of the instrumentation scope."""

FRAME_BYTES = 2048
"""Reserved for resource and metric around a point that begins one."""

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA

Key = tuple[str, str, Attributes]
"""Metric, service, attributes."""


class Exported(msgspec.Struct, frozen=True, gc=False):
    """What of a stream is exported already; for delta."""

    start_ns: int
    """Start of the stream: another one means that it began anew."""
    until_ns: int
    counts: tuple[int | float, ...]
    sum_ns: int = 0


class RequestEncoder:
    """Holds what delta needs between exports. One thread uses it."""

    def __init__(self, temporality: Temporality, common: Mapping[str, str]) -> None:
        """common: attributes of every resource, e.g. host.name."""
        self._common = described(common)
        self._calls_delta = temporality != "cumulative"
        self._health_delta = temporality == "delta"
        self._exported: dict[Key, Exported] = {}

    def encode(self, series: Iterable[Series], values: Iterable[Value], started_ns: int, now_ns: int) -> list[Batch]:
        """All metrics at now_ns (Unix time).

        Args:
            started_ns: Unix time since when the counters among values count.
        """
        requests = _Requests(self._common)
        before, self._exported = self._exported, {}
        for each in series:
            self._add_series(requests, each, before, now_ns)
        for value in values:
            self._add_value(requests, value, before, started_ns, now_ns)
        return requests.batches()

    def _add_series(self, requests: _Requests, series: Series, before: Mapping[Key, Exported], now_ns: int) -> None:
        metric = series.metric
        key = (metric.name, series.service, series.attributes)
        counts, sum_ns, start_ns = series.counts, series.sum_ns, series.start_ns
        if self._calls_delta:
            last = before.get(key)
            self._exported[key] = Exported(start_ns, now_ns, tuple(counts), sum_ns)
            if last is not None and last.start_ns == start_ns:
                counts = [int(now - then) for now, then in zip(counts, last.counts, strict=True)]
                sum_ns, start_ns = sum_ns - last.sum_ns, last.until_ns
            if not any(counts):
                return
        temporality = DELTA if self._calls_delta else CUMULATIVE
        if metric.kind == "counter":
            requests.add_number(series.service, metric, series.attributes, counts[0], start_ns, now_ns, temporality)
            return
        unit_ns = NS_PER_UNIT[metric.unit]
        point = requests.histogram(series.service, metric, temporality).data_points.add(
            attributes=_key_values(series.attributes),
            start_time_unix_nano=start_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=sum_ns / unit_ns,
            bucket_counts=counts,
            explicit_bounds=[bound / unit_ns for bound in metric.bounds_ns],
        )
        if not self._calls_delta:
            # Of one interval alone they are not known: the series keeps those since its start.
            point.min, point.max = series.min_ns / unit_ns, series.max_ns / unit_ns
        requests.added(point)

    def _add_value(
        self, requests: _Requests, value: Value, before: Mapping[Key, Exported], started_ns: int, now_ns: int
    ) -> None:
        metric, number, start_ns = value.metric, value.value, started_ns
        if metric.kind == "gauge":
            requests.add_number(SENSOR, metric, value.attributes, number, 0, now_ns, None)
            return
        if self._health_delta:
            key = (metric.name, SENSOR, value.attributes)
            last = before.get(key)
            self._exported[key] = Exported(started_ns, now_ns, (number,))
            # A counter that fell began anew: all that it shows is new.
            if last is not None and last.counts[0] <= number:
                number, start_ns = number - last.counts[0], last.until_ns
        temporality = DELTA if self._health_delta else CUMULATIVE
        requests.add_number(SENSOR, metric, value.attributes, number, start_ns, now_ns, temporality)


class _Requests:
    """Requests that fill one after the other; a resource or metric that continues in the next is named again there."""

    def __init__(self, common: Mapping[str, str]) -> None:
        self._common = common
        self._batches: list[Batch] = []
        self._begin()

    def _begin(self) -> None:
        self._request = ExportMetricsServiceRequest()
        self._scopes: dict[str, ScopeMetrics] = {}
        self._families: dict[tuple[str, str], Family] = {}
        self._points = self._bytes = 0

    def batches(self) -> list[Batch]:
        self._finish()
        return self._batches

    def _finish(self) -> None:
        if self._points:
            self._batches.append(Batch(self._request.SerializeToString(), self._points))
        self._begin()

    def histogram(self, service: str, metric: Metric, temporality: AggregationTemporality.ValueType) -> Histogram:
        histogram = self._family(service, metric).histogram
        histogram.aggregation_temporality = temporality
        return histogram

    def add_number(
        self,
        service: str,
        metric: Metric,
        attributes: Attributes,
        number: int | float,
        start_ns: int,
        now_ns: int,
        temporality: AggregationTemporality.ValueType | None,
    ) -> None:
        """A point of a sum; of a gauge where temporality is None."""
        point = NumberDataPoint(
            attributes=_key_values(attributes), start_time_unix_nano=start_ns, time_unix_nano=now_ns
        )
        if isinstance(number, int):
            point.as_int = number
        else:
            point.as_double = number
        found = self._family(service, metric)
        if temporality is None:
            found.gauge.data_points.append(point)
        else:
            found.sum.aggregation_temporality = temporality
            found.sum.is_monotonic = True
            found.sum.data_points.append(point)
        self.added(point)

    def added(self, point: HistogramDataPoint | NumberDataPoint) -> None:
        """A point was added. The last one may pass the limit, which is far enough below what receivers take."""
        self._points += 1
        self._bytes += point.ByteSize()
        if self._bytes >= REQUEST_BYTES:
            self._finish()

    def _family(self, service: str, metric: Metric) -> Family:
        key = (service, metric.name)
        found = self._families.get(key)
        if found is None:
            found = self._families[key] = self._scope(service).metrics.add(
                name=metric.name, description=metric.description, unit=metric.unit
            )
            self._bytes += FRAME_BYTES
        return found

    def _scope(self, service: str) -> ScopeMetrics:
        found = self._scopes.get(service)
        if found is None:
            whole: ResourceMetrics = self._request.resource_metrics.add(
                resource=Resource(attributes=_key_values(self._resource(service))), schema_url=SCHEMA_URL
            )
            found = self._scopes[service] = whole.scope_metrics.add(
                scope=InstrumentationScope(name=SENSOR, version=VERSION), schema_url=SCHEMA_URL
            )
        return found

    def _resource(self, service: str) -> Attributes:
        own = (("service.version", VERSION),) if service == SENSOR else ()
        return (("service.name", service), *own, *self._common.items())


def _key_values(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=name, value=_any_value(value)) for name, value in attributes]


def _any_value(value: str | int | bool) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
