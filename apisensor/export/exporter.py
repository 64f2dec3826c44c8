"""Transactions in, OTLP out: what the core holds. Never blocks and never raises while traffic flows."""

from __future__ import annotations

import socket
from collections.abc import Mapping

import msgspec

from apisensor.export import configuration
from apisensor.export.configuration import Configuration
from apisensor.export.delivery import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, Batch, Delivery
from apisensor.export.outcome import Sender
from apisensor.export.receiver import destination, open_sender, secrets
from apisensor.export.resource import ResourceEncoder, export_request
from apisensor.export.span import SpanEncoder
from apisensor.transactions.model import Transaction

REQUEST_BYTES = 4 * 1024 * 1024 - 65_536
"""A batch is handed over before it grows beyond this: gRPC receivers refuse more than 4 MiB (OTLP specification)."""
QUEUE_BYTES = 64 * 1024 * 1024
"""Bound of the queue in bytes, beside the one in spans, for spans that are unusually long."""
GROUP_BYTES = 256
"""Encoded scope, schema and lengths around the spans of one resource; a little less in truth."""


class ExportStats(msgspec.Struct, frozen=True):
    """Counters since the start. offered == sent + sum(dropped.values()) + queued, at every moment."""

    offered: int
    """Spans that the sampler let through."""
    unsampled: int
    """Transactions that the sampler left out; not in offered."""
    encoded: int
    sent: int
    """Spans that the receiver accepted."""
    dropped: dict[str, int]
    """By cause, every cause present: delivery.CAUSES."""
    queued: int
    """Spans in the open batch, in the queue and in flight."""
    queued_bytes: int
    requests: int
    """Attempts, repeated ones included."""
    retries: int
    """Attempts that failed and may be repeated."""
    last_error: str | None
    """One line, without header values; None where nothing failed yet."""
    state: str
    """ "idle", "sending", "retrying" (the last attempt failed) or "closed"."""


class Exporter:
    """Owns encoders, the open batch and the delivery thread. One thread calls all of its methods."""

    def __init__(
        self,
        config: Configuration,
        sender: Sender,
        *,
        host_name: str,
        first_backoff_s: float = FIRST_BACKOFF_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
    ) -> None:
        """Starts the delivery thread, so: in the process that will offer, after any fork."""
        self._sampler = config.sampler
        self._queue_spans = config.queue_spans
        self._batch_spans = config.batch_spans
        self._schedule_delay_ns = config.schedule_delay_ns
        self._encode_span = SpanEncoder(
            known_methods=config.known_methods,
            **{f"{name}_headers": names for name, names in config.capture_headers.items()},
        ).encode
        self._encode_resource = ResourceEncoder({"host.name": host_name, **config.resource_attributes}).encode
        self._delivery = Delivery(
            sender,
            timeout_s=config.otlp.timeout_s,
            export_timeout_s=config.export_timeout_s,
            crowded_items=config.queue_spans - config.batch_spans,
            secrets=secrets(config.otlp),
            first_backoff_s=first_backoff_s,
            longest_backoff_s=longest_backoff_s,
        )
        self.destination = destination(config.otlp)
        """Protocol and endpoint, without credentials."""
        self._offered = self._unsampled = self._encoded = 0
        self._open: dict[bytes, list[bytes]] = {}
        """The batch that fills: encoded resource -> its encoded spans."""
        self._open_spans = self._open_bytes = 0
        self._open_since_ns: int | None = None
        self._closed = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, host_name: str | None = None) -> Exporter | None:
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

    def offer(self, t: Transaction) -> None:
        """Takes a transaction's span into the open batch, or counts why not. Never blocks on I/O, never raises."""
        try:
            if not self._sampler(t):
                self._unsampled += 1
                return
            self._offered += 1
            delivery = self._delivery
            if self._closed:
                delivery.drop("shutdown")
            elif (
                self._open_spans + delivery.items >= self._queue_spans
                or self._open_bytes + delivery.bytes >= QUEUE_BYTES
            ):
                delivery.drop("queue_full")
            else:
                self._add(self._encode_resource(t.process), self._encode_span(t))
        except Exception as error:  # noqa: BLE001  (one odd transaction costs its own span only, and is counted)
            self._delivery.drop("encode_error", f"a span could not be encoded: {type(error).__name__}: {error}")

    def _add(self, resource: bytes, span: bytes) -> None:
        size = len(span) if resource in self._open else len(span) + len(resource) + GROUP_BYTES
        if self._open_spans and self._open_bytes + size > REQUEST_BYTES:
            self._hand_over()
            size = len(span) + len(resource) + GROUP_BYTES
        self._open.setdefault(resource, []).append(span)
        self._open_bytes += size
        self._open_spans += 1
        self._encoded += 1
        if self._open_spans >= self._batch_spans:
            self._hand_over()

    def _hand_over(self) -> None:
        batch = Batch(export_request(self._open.items()), self._open_spans)
        self._open = {}
        self._open_spans = self._open_bytes = 0
        self._open_since_ns = None
        self._delivery.put(batch)

    def tick(self, now_ns: int) -> None:
        """Hands over the open batch when it has been open for OTEL_BSP_SCHEDULE_DELAY. now_ns: monotonic."""
        if not self._open_spans:
            return
        if self._open_since_ns is None:
            self._open_since_ns = now_ns
        if now_ns - self._open_since_ns >= self._schedule_delay_ns:
            self._hand_over()

    def stats(self) -> ExportStats:
        counters = self._delivery.counters()
        return ExportStats(
            offered=self._offered,
            unsampled=self._unsampled,
            encoded=self._encoded,
            sent=counters.sent,
            dropped=counters.dropped,
            queued=counters.queued + self._open_spans,
            queued_bytes=counters.queued_bytes + self._open_bytes,
            requests=counters.requests,
            retries=counters.retries,
            last_error=counters.last_error,
            state=counters.state,
        )

    def close(self, timeout_s: float) -> None:
        """Delivers what is left for up to timeout_s; what is left then counts as dropped (shutdown). Idempotent.

        With a receiver that cannot be reached this takes the whole time.
        """
        if self._open_spans:
            self._hand_over()
        self._closed = True
        self._delivery.close(timeout_s)
