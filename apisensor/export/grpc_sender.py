"""OTLP over gRPC with bytes that are encoded already: the stub's serializers are the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc._channel  # grpc itself would load it when a channel is opened
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from apisensor.export.answer import accepted
from apisensor.export.otlp import Otlp
from apisensor.export.outcome import Outcome, Refused, Retryable

RETRYABLE = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""OTLP specification, "Failures". RESOURCE_EXHAUSTED is one too where RetryInfo says that it will pass."""

OPTIONS = (
    # How long a channel waits before it dials again; the exporter's own backoff decides when it is used again.
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.min_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # A collector that went away without a FIN is noticed.
    ("grpc.keepalive_time_ms", 60_000),
    # Retries are the exporter's business, which counts them.
    ("grpc.enable_retries", 0),
    ("grpc.primary_user_agent", "apisensor"),
)


def _read(path: str | None) -> bytes | None:
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def _retry_delay(metadata: Sequence[tuple[str, str | bytes]] | None) -> float | None:
    """Seconds in the RetryInfo of grpc-status-details-bin, which is how a status carries details."""
    for key, value in metadata or ():
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        except DecodeError:
            continue
    return None


class GrpcSender:
    """One channel to the receiver; gRPC reconnects it."""

    def __init__(self, otlp: Otlp) -> None:
        """Raises OSError where a certificate file cannot be read any more."""
        compression = grpc.Compression.Gzip if otlp.gzip else grpc.Compression.NoCompression
        if otlp.secure:
            credentials = grpc.ssl_channel_credentials(
                _read(otlp.certificate), _read(otlp.client_key), _read(otlp.client_certificate)
            )
            self._channel = grpc.secure_channel(otlp.endpoint, credentials, options=OPTIONS, compression=compression)
        else:
            self._channel = grpc.insecure_channel(otlp.endpoint, options=OPTIONS, compression=compression)
        self._metadata = otlp.headers
        self._signal = otlp.signal
        self._export: Any = self._channel.unary_unary(
            otlp.signal.method, request_serializer=None, response_deserializer=None
        )

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        try:
            response: bytes = self._export(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return self._failure(error)
        except ValueError as error:  # the channel was closed
            return Retryable(f"gRPC: {error}")
        return accepted(self._signal, response)

    @staticmethod
    def _failure(error: Any) -> Outcome:
        code = error.code()
        message = f"gRPC {code.name}" + (f": {error.details()}" if error.details() else "")
        delay = _retry_delay(error.trailing_metadata())
        if code in RETRYABLE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and delay is not None):
            return Retryable(message, delay)
        return Refused(message)

    def close(self) -> None:
        self._channel.close()
