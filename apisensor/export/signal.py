"""The OTLP signals that are sent: what differs between them for configuration and senders."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse


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
    partial_success: Callable[[bytes], tuple[int, str]]
    """An encoded answer: how many items were rejected, and the receiver's message. Raises DecodeError."""


def _rejected_spans(response: bytes) -> tuple[int, str]:
    partial = ExportTraceServiceResponse.FromString(response).partial_success
    return partial.rejected_spans, partial.error_message


def _rejected_points(response: bytes) -> tuple[int, str]:
    partial = ExportMetricsServiceResponse.FromString(response).partial_success
    return partial.rejected_data_points, partial.error_message


TRACES = Signal(
    infix="TRACES",
    path="/v1/traces",
    method="/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    response="ExportTraceServiceResponse",
    partial_success=_rejected_spans,
)
METRICS = Signal(
    infix="METRICS",
    path="/v1/metrics",
    method="/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    response="ExportMetricsServiceResponse",
    partial_success=_rejected_points,
)
