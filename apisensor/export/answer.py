"""What a receiver's answer says: protobuf, which only who exports pays for."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from apisensor.export.outcome import Accepted
from apisensor.export.signal import METRICS, TRACES, Signal


def _rejected_spans(response: bytes) -> tuple[int, str]:
    partial = ExportTraceServiceResponse.FromString(response).partial_success
    return partial.rejected_spans, partial.error_message


def _rejected_points(response: bytes) -> tuple[int, str]:
    partial = ExportMetricsServiceResponse.FromString(response).partial_success
    return partial.rejected_data_points, partial.error_message


_PARTIAL_SUCCESS = {TRACES: _rejected_spans, METRICS: _rejected_points}
"""An encoded answer: how many items were rejected, and the receiver's message. Raises DecodeError."""


def accepted(signal: Signal, response: bytes) -> Accepted:
    """What a successful response says. One that cannot be decoded still means success."""
    try:
        rejected, message = _PARTIAL_SUCCESS[signal](response)
    except DecodeError:
        return Accepted(message=f"the receiver's answer is no {signal.response}")
    return Accepted(rejected=max(0, rejected), message=message)
