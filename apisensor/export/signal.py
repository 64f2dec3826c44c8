"""The OTLP signals that are sent: what differs between them for configuration and senders."""

from __future__ import annotations

import msgspec


class Signal(msgspec.Struct, frozen=True):
    """One kind of telemetry, as the OTLP specification names its parts."""

    infix: str
    """In the names of variables: OTEL_EXPORTER_OTLP_<infix>_ENDPOINT."""
    path: str
    """Added to the general endpoint of HTTP."""
    method: str
    """Full name of the gRPC method."""
    response: str
    """Name of the message that answers it."""


TRACES = Signal(
    infix="TRACES",
    path="/v1/traces",
    method="/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    response="ExportTraceServiceResponse",
)
METRICS = Signal(
    infix="METRICS",
    path="/v1/metrics",
    method="/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    response="ExportMetricsServiceResponse",
)
