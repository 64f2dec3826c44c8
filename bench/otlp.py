"""What a span costs: our encoding beside protobuf's objects and the OpenTelemetry SDK, over the same calls.

    python -m bench.otlp [--spans 5000] [--rounds 5]

All three end with the bytes of an ExportTraceServiceRequest that decode to the same spans; that is checked first.
`objects` builds opentelemetry-proto's messages (upb) and serializes them; `SDK encoder` encodes finished SDK spans;
`SDK` also makes those, as a program that used the SDK for export would have to. These are given each span's attributes
ready made, ours the transaction; ours keeps its caches from round to round, as a running sensor does. Microseconds of
CPU time; rounds are interleaved, medians quoted, and the ratio is what can be compared between machines.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from apisensor.events.model import Address
from apisensor.export.resource import ResourceEncoder, export_request
from apisensor.export.span import SpanEncoder
from apisensor.transactions.lines import written
from apisensor.transactions.model import Process, Transaction

CONNECTIONS = 1_000
BATCH = 512
"""Spans in a request: the default of OTEL_BSP_MAX_EXPORT_BATCH_SIZE."""

Attributes = dict[str, str | bool | int | float]


def calls(count: int) -> list[Transaction]:
    """Server views over CONNECTIONS kept connections, 8 request header fields, distinct paths and sizes."""
    names = ("Host", "Accept", "Accept-Encoding", "Accept-Language", "User-Agent", "Content-Type", "Content-Length")
    headers: list[tuple[str | None, str | None]] = [(name, "some value") for name in (*names, "traceparent")]
    process = Process(4242, "/usr/sbin/nginx", "nginx: worker process", "www-data", service="frontend")
    return [
        Transaction(
            id=f"{n + 1:016x}",
            protocol="http/1.1",
            side="server",
            method=("GET", "POST", "PUT")[n % 3],
            scheme="https",
            authority="api.example.com",
            path=f"/v1/users/{n}/orders?page={n % 10}",
            request_lines=written(headers),
            response_lines=written(headers),
            request_trailers=[],
            response_trailers=[],
            status=(200, 201, 404, 500)[n % 4],
            grpc_status=None,
            request_body_size=400 + n % 600,
            response_body_size=400 + n % 599,
            client=Address("10.0.0.1", 32_768 + n % CONNECTIONS),
            server=Address("10.0.0.2", 443),
            auth=None,
            sensitive=[],
            binding="set_fd",
            pid=4242,
            start_ns=10**15 + n,
            duration_ns=2_000_000 + n,
            ttfb_ns=1_000_000 + n,
            trace_id=f"{n + 1:032x}",
            span_id=f"{n + 1:016x}",
            parent_span_id=f"{n + 2:016x}",
            anomalies=[],
            incomplete_reason=None,
            stream_id=None,
            conn_id=f"{n % CONNECTIONS:x}",
            flow_id=f"{n % CONNECTIONS:x}",
            encrypted=True,
            process=process,
            wall_offset_ns=1_700_000_000 * 10**9,
        )
        for n in range(count)
    ]


def ours(batches: Sequence[Sequence[Transaction]], spans: SpanEncoder, resources: ResourceEncoder) -> list[bytes]:
    made = []
    for batch in batches:
        groups: dict[bytes, list[bytes]] = {}
        for t in batch:
            groups.setdefault(resources.encode(t.process), []).append(spans.encode(t))
        made.append(export_request(groups.items()))
    return made


def any_value(value: str | bool | int | float) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


class Description:
    """What the competitors are given for nothing: each span's attributes as a dictionary, ready made."""

    def __init__(self, span: Span) -> None:
        self.attributes: Attributes = {}
        for pair in span.attributes:
            kind = pair.value.WhichOneof("value")
            self.attributes[pair.key] = getattr(pair.value, str(kind))
        self.span = span


def objects(batches: Sequence[Sequence[Description]], template: ResourceSpans) -> list[bytes]:
    made = []
    for batch in batches:
        spans = [
            Span(
                trace_id=d.span.trace_id,
                span_id=d.span.span_id,
                parent_span_id=d.span.parent_span_id,
                name=d.span.name,
                kind=d.span.kind,
                start_time_unix_nano=d.span.start_time_unix_nano,
                end_time_unix_nano=d.span.end_time_unix_nano,
                attributes=[KeyValue(key=key, value=any_value(value)) for key, value in d.attributes.items()],
                status=d.span.status if d.span.HasField("status") else None,
                flags=d.span.flags,
            )
            for d in batch
        ]
        scope = ScopeSpans(scope=template.scope_spans[0].scope, spans=spans, schema_url=template.schema_url)
        whole = ResourceSpans(resource=template.resource, scope_spans=[scope], schema_url=template.schema_url)
        made.append(ExportTraceServiceRequest(resource_spans=[whole]).SerializeToString())
    return made


class Finished(SpanProcessor):
    """Keeps the spans that ended."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def sdk_spans(batch: Sequence[Description]) -> list[ReadableSpan]:
    provider = TracerProvider(resource=Resource({}), shutdown_on_exit=False)
    finished = Finished()
    provider.add_span_processor(finished)
    tracer = provider.get_tracer("apisensor")
    for d in batch:
        parent = trace.SpanContext(
            int.from_bytes(d.span.trace_id), int.from_bytes(d.span.parent_span_id), True, trace.TraceFlags(1)
        )
        span = tracer.start_span(
            d.span.name,
            trace.set_span_in_context(trace.NonRecordingSpan(parent), Context()),
            kind=trace.SpanKind.SERVER,
            attributes=d.attributes,
            start_time=d.span.start_time_unix_nano,
        )
        if d.span.HasField("status"):
            span.set_status(trace.StatusCode.ERROR)
        span.end(d.span.end_time_unix_nano)
    return finished.spans


def sdk_encode(batches: Sequence[Sequence[ReadableSpan]]) -> list[bytes]:
    return [encode_spans(batch).SerializeToString() for batch in batches]


def spans_of(requests: Sequence[bytes]) -> list[Span]:
    return [
        span
        for request in requests
        for resource_spans in ExportTraceServiceRequest.FromString(request).resource_spans
        for scope_spans in resource_spans.scope_spans
        for span in scope_spans.spans
    ]


def comparable(span: Span, ids: bool = True) -> Span:
    """Attributes in one order, an unset status absent; without what the SDK invents itself (span id, flags)."""
    if span.status == Status():
        span.ClearField("status")
    span.attributes.sort(key=lambda pair: pair.key)
    if not ids:
        span.ClearField("span_id")
        span.ClearField("flags")
    return span


def microseconds(run: Callable[[], Any], count: int) -> float:
    gc.collect()
    begun = time.process_time_ns()
    run()
    return (time.process_time_ns() - begun) / 1000 / count


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of encoding a span, beside protobuf objects and the SDK.")
    parser.add_argument("--spans", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()

    transactions = calls(arguments.spans)
    batches = [transactions[n : n + BATCH] for n in range(0, len(transactions), BATCH)]
    spans, resources = SpanEncoder(), ResourceEncoder({})
    encoded = ours(batches, spans, resources)
    template = ExportTraceServiceRequest.FromString(encoded[0]).resource_spans[0]
    described = [[Description(span) for span in spans_of([request])] for request in encoded]

    expected = [comparable(span) for span in spans_of(encoded)]
    if [comparable(span) for span in spans_of(objects(described, template))] != expected:
        raise SystemExit("protobuf's objects do not decode to the same spans")
    ready = [sdk_spans(batch) for batch in described]
    expected = [comparable(span, ids=False) for span in spans_of(encoded)]
    if [comparable(span, ids=False) for span in spans_of(sdk_encode(ready))] != expected:
        raise SystemExit("the SDK's spans do not decode to the same spans")

    contestants: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours(batches, spans, resources),
        "objects": lambda: objects(described, template),
        "SDK encoder": lambda: sdk_encode(ready),
        "SDK": lambda: sdk_encode([sdk_spans(batch) for batch in described]),
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, run in contestants.items():
            times[name].append(microseconds(run, arguments.spans))

    attributes = statistics.mean(len(span.attributes) for span in expected)
    size = sum(map(len, encoded)) / len(transactions)
    print(f"{arguments.spans} spans of {attributes:.1f} attributes, {size:.0f} bytes each; {arguments.rounds} rounds")
    base = statistics.median(times["ours"])
    for name, measured in times.items():
        ratio = statistics.median(other / mine for other, mine in zip(measured, times["ours"], strict=True))
        print(f"{name:12} {statistics.median(measured):7.2f} us a span, {ratio:5.1f} times ours")
    print(f"one core encodes {1e6 / base:,.0f} spans a second")


if __name__ == "__main__":
    main()
