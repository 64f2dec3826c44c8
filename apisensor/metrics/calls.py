"""Calls -> histograms of their durations, cumulative, in a bounded number of series.

    transaction ──> its shape ──known──────────────> series ──> bucket, sum
                        └──new──> metric, attributes ──┘
                                       └── no room: series idle for an hour make room,
                                           else the service's series with otel.metric.overflow

Values are whole nanoseconds, so sums are exact; whoever shows them divides. No clock: time comes with the transaction.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from apisensor.export.resource import UNKNOWN_SERVICE, service_name
from apisensor.export.semantics import KNOWN_METHODS
from apisensor.metrics.conventions import CALL_METRICS, OVERFLOW, measured, text
from apisensor.metrics.model import Attributes, Metric, Series
from apisensor.transactions.model import Transaction

OVERFLOW_SERIES = 64
"""Overflow series kept beyond max_series: each service that overflows gets its own while there is room, so that its
total stays right; all others share those of unknown_service."""
IDLE_NS = 3600 * 10**9
"""A series without a call for so long makes room for another: destinations and routes come and go, the sensor stays.
Scrapes and exports are at most minutes apart, so its last value has been seen."""
SWEEP_NS = 60 * 10**9
"""Between looks for idle series: each look passes over all of them."""
SHAPES_PER_SERIES = 4
"""Shapes remembered for each series allowed: unknown methods and the like give several shapes one series."""


class CallMetrics:
    """One thread calls all of its methods."""

    def __init__(self, max_series: int, *, started_ns: int, known_methods: frozenset[str] = KNOWN_METHODS) -> None:
        """started_ns: Unix time since when calls are counted."""
        self._max_series = max_series
        self._epoch_ns = started_ns
        self._known_methods = known_methods
        self._series: dict[tuple[Metric, str, Attributes], Series] = {}
        self._overflow: dict[tuple[Metric, str], Series] = {}
        self._shapes: dict[tuple[object, ...], Series] = {}
        self._swept_ns = 0
        self._overflowed = self._retired = 0

    def observe(self, t: Transaction) -> None:
        """Counts one view of a call."""
        duration, process, client = t.duration_ns, t.process, t.side == "client"
        shape = (
            t.side,
            t.protocol,
            t.method,
            t.scheme,
            t.status,
            t.grpc_status,
            t.route,
            None if process is None else (process.service or process.executable, not process.service),
            (t.authority, t.server) if client else None,
            t.path if t.protocol == "grpc" else None,
            t.incomplete_reason if duration is None else 0,
        )
        series = self._shapes.get(shape)
        if series is None:
            series = self._resolve(t, shape)
        if duration is None:
            series.counts[0] += 1
            series.last_ns = t.start_ns
            return
        bounds = series.metric.bounds_ns
        series.counts[bisect_left(bounds, duration)] += 1
        series.max_ns = max(series.max_ns, duration)
        series.min_ns = min(series.min_ns, duration)
        series.sum_ns += duration
        series.last_ns = t.start_ns + duration

    def _resolve(self, t: Transaction, shape: tuple[object, ...]) -> Series:
        """The series of a shape that is seen for the first time, or again after it was forgotten."""
        metric, attributes = measured(t, self._known_methods)
        service = text(service_name(t.process))
        key = (metric, service, attributes)
        series = self._series.get(key)
        if series is None and len(self._series) >= self._max_series:
            self._retire_idle(t)
        if series is None and len(self._series) >= self._max_series:
            # Not remembered as a shape: the next sweep may make room for it.
            self._overflowed += 1
            return self._overflow_of(metric, service)
        if series is None:
            series = self._series[key] = self._begin(metric, service, attributes)
        if len(self._shapes) >= SHAPES_PER_SERIES * self._max_series:
            self._shapes.clear()
        self._shapes[shape] = series
        return series

    def _begin(self, metric: Metric, service: str, attributes: Attributes) -> Series:
        return Series(metric, service, attributes, self._epoch_ns, [0] * (len(metric.bounds_ns) + 1))

    def _overflow_of(self, metric: Metric, service: str) -> Series:
        own = (metric, service)
        # The shared ones always have room: one for each metric.
        if own not in self._overflow and len(self._overflow) >= OVERFLOW_SERIES - len(CALL_METRICS):
            own = (metric, UNKNOWN_SERVICE)
        if own not in self._overflow:
            self._overflow[own] = self._begin(metric, own[1], OVERFLOW)
        return self._overflow[own]

    def _retire_idle(self, t: Transaction) -> None:
        """Forgets series without a call for IDLE_NS. One that comes back begins anew, which its start time says."""
        now_ns = t.start_ns + (t.duration_ns or 0)
        if now_ns - self._swept_ns < SWEEP_NS:
            return
        self._swept_ns = now_ns
        idle = [key for key, series in self._series.items() if now_ns - series.last_ns > IDLE_NS]
        if idle:
            for key in idle:
                del self._series[key]
            self._shapes.clear()
            self._retired += len(idle)
            self._epoch_ns = now_ns + t.wall_offset_ns

    def series(self) -> Iterator[Series]:
        """All of them, those of the overflow last."""
        yield from self._series.values()
        yield from self._overflow.values()

    def counters(self) -> dict[str, int]:
        """For the status document and the metrics."""
        return {
            "metrics.series": len(self._series) + len(self._overflow),
            "metrics.overflowed_calls": self._overflowed,
            "metrics.retired_series": self._retired,
        }
