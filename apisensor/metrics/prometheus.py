"""Everything as text for Prometheus: text format 0.0.4, or OpenMetrics 1.0 for who asks for it.

Calls carry service_name, for one exposition shows many services; the sensor's own metrics do not. The instrumentation
scope is one for all and is left out, as the compatibility specification allows on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import exposition as text_format
from prometheus_client.core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics_format
from prometheus_client.registry import Collector

from apisensor.live.status import Status
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.health import health
from apisensor.metrics.model import NS_PER_UNIT, Attributes, Metric, Series, Value
from apisensor.metrics.naming import family, label, unit_of

CONTENT_TYPE = text_format.CONTENT_TYPE_PLAIN_0_0_4
OPENMETRICS_CONTENT_TYPE = openmetrics_format.CONTENT_TYPE_LATEST


def exposition(calls: CallMetrics, status: Status, *, openmetrics: bool = False) -> str:
    """The body that answers a scrape; its Content-Type is CONTENT_TYPE, or OPENMETRICS_CONTENT_TYPE."""
    snapshot = _Snapshot(calls.series(), health(status, calls.counters()))
    generate = openmetrics_format.generate_latest if openmetrics else text_format.generate_latest
    return generate(snapshot).decode()


class _Snapshot(Collector):
    """The families of one scrape. A family's samples stand together, as both formats demand."""

    def __init__(self, series: Iterable[Series], values: Iterable[Value]) -> None:
        self._families: dict[str, Family] = {}
        for each in series:
            self._add_series(each)
        for value in values:
            self._add_value(value.metric, value.attributes, value.value)

    def collect(self) -> Iterator[Family]:
        return iter(self._families.values())

    def _family(self, metric: Metric) -> Family:
        name = family(metric)
        found = self._families.get(name)
        if found is None:
            unit = unit_of(metric)
            found = self._families[name] = Family(name, metric.description, metric.kind, unit)
        return found

    def _add_value(self, metric: Metric, attributes: Attributes, value: float) -> None:
        found = self._family(metric)
        suffix = "_total" if metric.kind == "counter" else ""
        found.add_sample(found.name + suffix, _labels(attributes), value)

    def _add_series(self, series: Series) -> None:
        metric = series.metric
        attributes: Attributes = (("service.name", series.service), *series.attributes)
        if metric.kind == "counter":
            self._add_value(metric, attributes, series.count)
            return
        found, labels, unit_ns = self._family(metric), _labels(attributes), NS_PER_UNIT[metric.unit]
        name = found.name
        for bound, count in zip(_le(metric), accumulate(series.counts), strict=True):
            found.add_sample(f"{name}_bucket", {**labels, "le": bound}, count)
        found.add_sample(f"{name}_sum", labels, series.sum_ns / unit_ns)
        found.add_sample(f"{name}_count", labels, series.count)


def _le(metric: Metric) -> list[str]:
    unit_ns = NS_PER_UNIT[metric.unit]
    return [*(str(bound / unit_ns) for bound in metric.bounds_ns), "+Inf"]


def _labels(attributes: Attributes) -> dict[str, str]:
    """Booleans in lower case, as the compatibility specification has it (values in JSON's form)."""
    return {label(name): str(value).lower() if isinstance(value, bool) else str(value) for name, value in attributes}
