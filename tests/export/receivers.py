"""Receivers of OTLP that decode what they are sent with opentelemetry-proto and answer as a script tells them."""

from __future__ import annotations

import gzip
import http.server
import socket
import ssl
import threading
from collections import deque
from collections.abc import Iterable
from concurrent import futures
from typing import Any

import grpc
import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import (
    MetricsServiceServicer,
    add_MetricsServiceServicer_to_server,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from apisensor.export.signal import METRICS
from tests.peers.certificates import Certificate


class Answer(msgspec.Struct, frozen=True):
    """How a receiver answers one request; the default is full success."""

    rejected: int = 0
    message: str = ""
    code: Any = None
    """grpc.StatusCode or HTTP status of a failure."""
    retry_after: str | float | None = None
    """HTTP: the Retry-After field. gRPC: seconds of a RetryInfo."""
    body: bytes | None = None
    """HTTP: the body instead of the proper one."""


class Receiver:
    """What both receivers have: the requests that came, and the answers that are due."""

    endpoint: str
    port: int

    def __init__(self, answers: Iterable[Answer] = ()) -> None:
        self._lock = threading.Lock()
        self.answers = deque(answers)
        """Given to the next requests; without any left, success."""
        self.requests: list[ExportTraceServiceRequest] = []
        """All that came, decoded, refused ones included."""
        self.accepted: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        """Requests with metrics that were accepted."""
        self.headers: list[dict[str, str]] = []
        """Field lines or metadata of each request, names in lower case."""
        self.encodings: list[str | None] = []
        """Compression of each request: "gzip" or None."""

    def take(
        self,
        request: ExportTraceServiceRequest | ExportMetricsServiceRequest,
        headers: dict[str, str],
        encoding: str | None,
    ) -> Answer:
        with self._lock:
            answer = self.answers.popleft() if self.answers else Answer()
            self.headers.append(headers)
            self.encodings.append(encoding)
            if isinstance(request, ExportMetricsServiceRequest):
                if answer.code is None:
                    self.metrics.append(request)
                return answer
            self.requests.append(request)
            if answer.code is None:
                self.accepted.append(request)
        return answer

    def stop(self) -> None:
        """Ends it and every connection to it."""
        raise NotImplementedError

    @property
    def spans(self) -> list[Span]:
        """Spans of the requests that were accepted."""
        with self._lock:
            return [
                span
                for request in self.accepted
                for resource_spans in request.resource_spans
                for scope_spans in resource_spans.scope_spans
                for span in scope_spans.spans
            ]

    @property
    def span_ids(self) -> list[str]:
        return sorted(span.span_id.hex() for span in self.spans)


def _response(answer: Answer) -> ExportTraceServiceResponse:
    if not answer.rejected and not answer.message:
        return ExportTraceServiceResponse()
    partial = ExportTracePartialSuccess(rejected_spans=answer.rejected, error_message=answer.message)
    return ExportTraceServiceResponse(partial_success=partial)


def _metrics_response(answer: Answer) -> ExportMetricsServiceResponse:
    if not answer.rejected and not answer.message:
        return ExportMetricsServiceResponse()
    partial = ExportMetricsPartialSuccess(rejected_data_points=answer.rejected, error_message=answer.message)
    return ExportMetricsServiceResponse(partial_success=partial)


class _GrpcMetrics(MetricsServiceServicer):
    """The service for metrics beside a GrpcReceiver's own, whose method has the same name."""

    def __init__(self, receiver: GrpcReceiver) -> None:
        self._receiver = receiver

    def Export(self, request: ExportMetricsServiceRequest, context: Any) -> ExportMetricsServiceResponse:
        return _metrics_response(self._receiver.answer(request, context))


class GrpcReceiver(Receiver, TraceServiceServicer):
    """A gRPC server with opentelemetry-proto's own servicer."""

    def __init__(
        self,
        answers: Iterable[Answer] = (),
        *,
        port: int = 0,
        tls: Certificate | None = None,
        client_authority: Certificate | None = None,
    ) -> None:
        Receiver.__init__(self, answers)
        options = [("grpc.so_reuseport", 0)]
        self._server = grpc.server(futures.ThreadPoolExecutor(2), options=options)
        add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        add_MetricsServiceServicer_to_server(_GrpcMetrics(self), self._server)  # type: ignore[no-untyped-call]
        address = f"127.0.0.1:{port}"
        if tls is None:
            self.port = self._server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials(
                [(tls.key.read_bytes(), tls.certificate.read_bytes())],
                root_certificates=client_authority.certificate.read_bytes() if client_authority else None,
                require_client_auth=client_authority is not None,
            )
            self.port = self._server.add_secure_port(address, credentials)
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._server.start()

    def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        return _response(self.answer(request, context))

    def answer(self, request: ExportTraceServiceRequest | ExportMetricsServiceRequest, context: Any) -> Answer:
        """Takes a request; one that is to fail is aborted here."""
        metadata = dict(context.invocation_metadata())
        # gRPC's Python interface keeps grpc-encoding to itself; grpc-accept-encoding tells nothing about the request.
        answer = self.take(request, metadata, None)
        if answer.code is not None:
            if answer.retry_after is not None:
                detail = AnyMessage()
                seconds, nanos = divmod(round(float(answer.retry_after) * 1e9), 10**9)
                detail.Pack(RetryInfo(retry_delay=Duration(seconds=seconds, nanos=nanos)))
                status = Status(code=answer.code.value[0], message=answer.message, details=[detail])
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(answer.code, answer.message)
        return answer

    def stop(self) -> None:
        self._server.stop(None).wait(5)


class HttpReceiver(Receiver):
    """An HTTP server for binary protobuf: metrics on POST /v1/metrics, spans on any other path."""

    def __init__(
        self,
        answers: Iterable[Answer] = (),
        *,
        port: int = 0,
        tls: Certificate | None = None,
        client_authority: Certificate | None = None,
    ) -> None:
        super().__init__(answers)
        receiver = self
        self.connections: list[socket.socket] = []
        self.paths: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver.connections.append(self.connection)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                encoding = self.headers["Content-Encoding"]
                decoded = gzip.decompress(body) if encoding == "gzip" else body
                receiver.paths.append(self.path)
                fields = {name.lower(): value for name, value in self.headers.items()}
                metrics = self.path == METRICS.path
                kind = ExportMetricsServiceRequest if metrics else ExportTraceServiceRequest
                answer = receiver.take(kind.FromString(decoded), fields, encoding)
                if answer.body is not None:
                    payload = answer.body
                elif answer.code is None:
                    payload = (_metrics_response if metrics else _response)(answer).SerializeToString()
                else:
                    payload = Status(message=answer.message).SerializeToString()
                self.send_response(answer.code or 200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", str(len(payload)))
                if answer.retry_after is not None:
                    self.send_header("Retry-After", str(answer.retry_after))
                if answer.code in {301, 302, 307}:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_: object) -> None:
                """Standard error belongs to pytest."""

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                """A client that gives up a TLS handshake is what some tests want."""

        self._server = Server(("127.0.0.1", port), Handler)
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            if client_authority is not None:
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(client_authority.certificate)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self.endpoint = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it is closed already
