"""Metrics by OTLP: one export an interval, by the same senders and with the same retries as spans.

An export that could not be delivered yet is not followed by another: nothing piles up while a receiver is away, and
nothing is lost, for the next export, cumulative or delta, tells all that happened since the last one.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Mapping

import msgspec

from apisensor.export.delivery import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, Delivery
from apisensor.export.outcome import Sender
from apisensor.export.receiver import destination, open_sender, secrets
from apisensor.live.status import Status
from apisensor.metrics import configuration
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.configuration import Configuration
from apisensor.metrics.health import health
from apisensor.metrics.otlp import RequestEncoder


class MetricExportStats(msgspec.Struct, frozen=True):
    """Data points since the start. offered == sent + sum(dropped.values()) + queued, at every moment."""

    offered: int
    sent: int
    dropped: dict[str, int]
    """By cause, every cause present: delivery.CAUSES. "encode_error" counts exports, of which nothing is known."""
    queued: int
    postponed: int
    """Exports that were due while the one before was not delivered; the next one told all."""
    requests: int
    retries: int
    last_error: str | None
    """One line, without header values; None where nothing failed yet."""
    state: str
    """ "idle", "sending", "retrying" (the last attempt failed) or "closed"."""


class MetricExporter:
    """Owns the encoder and a delivery thread. One thread calls all of its methods."""

    def __init__(
        self,
        config: Configuration,
        sender: Sender,
        *,
        host_name: str,
        first_backoff_s: float = FIRST_BACKOFF_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
        unix_time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """Starts the delivery thread, so: in the process that will tick, after any fork."""
        self._interval_ns = config.interval_ns
        self._encoder = RequestEncoder(config.temporality, {"host.name": host_name, **config.resource_attributes})
        self._unix_time_ns = unix_time_ns
        self._delivery = Delivery(
            sender,
            timeout_s=config.otlp.timeout_s,
            # Only one export waits at a time, and it is never given up for another.
            export_timeout_s=0.0,
            crowded_items=sys.maxsize,
            secrets=secrets(config.otlp),
            first_backoff_s=first_backoff_s,
            longest_backoff_s=longest_backoff_s,
        )
        self.destination = destination(config.otlp)
        """Protocol and endpoint, without credentials."""
        self._due_ns: int | None = None
        self._sources: tuple[CallMetrics, Callable[[], Status]] | None = None
        self._offered = self._postponed = 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, host_name: str | None = None) -> MetricExporter | None:
        """An exporter as the OTEL_* variables describe it; None where they switch export off or are not set.

        Args:
            host_name: host.name of the resources; None: what the kernel says.

        Raises:
            SettingsError: a variable is not allowed; one line that names it.
        """
        config = configuration.read(environ)
        if config is None:
            return None
        return cls(config, open_sender(config.otlp), host_name=host_name or socket.gethostname())

    def tick(self, now_ns: int, calls: CallMetrics, status: Callable[[], Status]) -> None:
        """Exports when OTEL_METRIC_EXPORT_INTERVAL has passed. Never blocks on I/O, never raises.

        Args:
            now_ns: monotonic.
            status: makes the status document; asked only when it is needed.
        """
        self._sources = (calls, status)
        if self._due_ns is None:
            self._due_ns = now_ns + self._interval_ns
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + self._interval_ns
        if self._delivery.items:
            self._postponed += 1
        else:
            self._export(calls, status)

    def _export(self, calls: CallMetrics, status: Callable[[], Status]) -> None:
        try:
            document = status()
            values = health(document, calls.counters() | self.counters())
            started_ns, now_ns = int(document.started * 1e9), self._unix_time_ns()
            batches = self._encoder.encode(calls.series(), values, started_ns, now_ns)
        except Exception as error:  # noqa: BLE001  (an export that fails is counted; the core goes on)
            self._offered += 1
            self._delivery.drop("encode_error", f"metrics could not be encoded: {type(error).__name__}: {error}")
            return
        for batch in batches:
            self._offered += batch.items
            self._delivery.put(batch)

    def stats(self) -> MetricExportStats:
        counters = self._delivery.counters()
        return MetricExportStats(
            offered=self._offered,
            sent=counters.sent,
            dropped=counters.dropped,
            queued=counters.queued,
            postponed=self._postponed,
            requests=counters.requests,
            retries=counters.retries,
            last_error=counters.last_error,
            state=counters.state,
        )

    def counters(self) -> dict[str, int]:
        """For the status document and the metrics. No losses: they are of telemetry, not of what was observed."""
        stats = self.stats()
        return {
            "metrics.points_sent": stats.sent,
            "metrics.points_queued": stats.queued,
            "metrics.exports_postponed": stats.postponed,
            **{f"metrics.points_dropped_{cause}": count for cause, count in stats.dropped.items()},
        }

    def close(self, timeout_s: float) -> None:
        """Exports what happened since the last export and delivers for up to timeout_s. Idempotent.

        With a receiver that cannot be reached this takes the whole time.
        """
        if self._sources is not None:
            self._export(*self._sources)
            self._sources = None
        self._delivery.close(timeout_s)
