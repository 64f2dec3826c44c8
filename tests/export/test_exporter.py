"""The exporter as a whole: batching, bounds and exact accounts, with senders in memory."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apisensor.export import configuration, exporter
from apisensor.export.exporter import QUEUE_BYTES, REQUEST_BYTES, Exporter
from apisensor.export.outcome import Outcome, Retryable
from apisensor.settings import SettingsError
from apisensor.transactions.model import Process
from tests.export.records import NGINX, call, numbered
from tests.export.test_delivery import ScriptedSender
from tests.peers.process import wait_until

WAIT_S = 30.0
MANY = 100_000
Make = Callable[..., Exporter]


class DeadSender:
    """A receiver that is never there."""

    def __init__(self) -> None:
        self.attempts = 0

    def send(self, request: bytes, timeout_s: float) -> Outcome:  # noqa: ARG002
        self.attempts += 1
        return Retryable("connection refused")

    def close(self) -> None:
        pass


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Exporter] = []

    def make_exporter(sender: Any, **environ: str) -> Exporter:
        config = configuration.read({"OTEL_TRACES_EXPORTER": "otlp", **environ})
        assert config is not None
        made.append(Exporter(config, sender, host_name="node1", first_backoff_s=0.01, longest_backoff_s=0.02))
        return made[-1]

    yield make_exporter
    for each in made:
        each.close(0)
        assert_exact(each)


def assert_exact(subject: Exporter) -> None:
    stats = subject.stats()
    assert stats.offered == stats.sent + sum(stats.dropped.values()) + stats.queued


def requests(sender: ScriptedSender) -> list[ExportTraceServiceRequest]:
    return [ExportTraceServiceRequest.FromString(sent) for sent in sender.sent]


def span_count(request: ExportTraceServiceRequest) -> int:
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


def drained(subject: Exporter) -> None:
    wait_until(lambda: subject.stats().queued == 0, WAIT_S, "an empty queue")


def test_a_full_batch_goes_at_once(make: Make) -> None:
    sender = ScriptedSender()
    subject = make(sender, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    for n in range(25):
        subject.offer(numbered(n))
    wait_until(lambda: len(sender.sent) == 2, WAIT_S, "two batches")
    assert [span_count(request) for request in requests(sender)] == [10, 10]
    assert subject.stats().queued == 5


def test_an_open_batch_goes_when_it_is_old_enough(make: Make) -> None:
    sender = ScriptedSender()
    subject = make(sender, OTEL_BSP_SCHEDULE_DELAY="1000")
    subject.tick(0)
    subject.offer(numbered(0))
    subject.tick(10 * 10**9)
    subject.tick(11 * 10**9 - 1)
    assert subject.stats().queued == 1
    assert sender.sent == []
    subject.tick(11 * 10**9)
    drained(subject)
    assert [span_count(request) for request in requests(sender)] == [1]
    subject.tick(20 * 10**9)
    assert len(sender.sent) == 1


def test_spans_are_grouped_by_process(make: Make) -> None:
    sender = ScriptedSender()
    subject = make(sender, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="6")
    other = Process(7, service="backend")
    for n in range(6):
        subject.offer(numbered(n, process=[NGINX, other, None][n % 3]))
    drained(subject)
    (request,) = requests(sender)
    names = [resource_spans.resource.attributes[0].value.string_value for resource_spans in request.resource_spans]
    assert names == ["frontend", "backend", "unknown_service"]
    assert span_count(request) == 6


def test_a_request_stays_below_what_receivers_take(make: Make) -> None:
    sender = ScriptedSender()
    subject = make(sender)
    path = "/" + "x" * 100_000
    for n in range(100):
        subject.offer(call(span_id=f"{n:016x}", path=path, process=Process(n + 1, command_line="c" * 1000)))
    subject.tick(0)
    subject.tick(10**18)
    drained(subject)
    assert sum(span_count(request) for request in requests(sender)) == 100
    assert max(map(len, sender.sent)) <= REQUEST_BYTES
    assert len(sender.sent) == 3


def test_what_cannot_be_encoded_is_counted_and_explained(make: Make) -> None:
    subject = make(ScriptedSender())
    subject.offer(call(trace_id="short"))
    subject.offer(call(start_ns=-(10**30)))
    subject.offer(call(side="sideways"))
    subject.offer(numbered(1))
    stats = subject.stats()
    assert (stats.offered, stats.encoded, stats.dropped["encode_error"]) == (4, 1, 3)
    assert stats.last_error == "a span could not be encoded: KeyError: 'sideways'"


def test_the_sampler_decides_before_anything_is_counted(make: Make) -> None:
    subject = make(ScriptedSender())
    subject.offer(call(trace_flags=0))
    subject.offer(call(trace_flags=1))
    stats = subject.stats()
    assert (stats.offered, stats.unsampled, stats.queued) == (1, 1, 1)


def test_a_dead_receiver_neither_blocks_nor_grows_memory(make: Make) -> None:
    sender = DeadSender()
    subject = make(sender)
    transactions = [numbered(n, process=NGINX) for n in range(1000)]
    limit = configuration.DEFAULT_QUEUE_SPANS
    at_limit = 0
    tracemalloc.start()
    for n in range(MANY):
        subject.offer(transactions[n % 1000])
        if n == limit + configuration.DEFAULT_BATCH_SPANS:
            at_limit, _ = tracemalloc.get_traced_memory()
        if n % 10_000 == 0:
            assert_exact(subject)
    grown, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stats = subject.stats()
    assert (stats.offered, stats.sent, stats.queued) == (MANY, 0, limit)
    assert stats.dropped["queue_full"] == stats.offered - stats.encoded == MANY - limit
    assert stats.queued_bytes < 1200 * limit
    # What 84,000 more spans cost once the queue was full, and what all of them ever held.
    assert grown - at_limit < 256 * 1024
    assert peak < stats.queued_bytes + 8 * 1024 * 1024
    assert sender.attempts > 0
    subject.close(0)
    assert subject.stats().dropped["shutdown"] == limit


def test_offering_never_waits_for_the_receiver(make: Make) -> None:
    sender = ScriptedSender()
    sender.gate = threading.Event()
    subject = make(sender, OTEL_BSP_MAX_QUEUE_SIZE="100", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    # Every send hangs until the gate opens, which happens after all offers have returned.
    for n in range(1000):
        subject.offer(numbered(n))
    stats = subject.stats()
    assert (stats.queued, stats.dropped["queue_full"], stats.sent) == (100, 900, 0)
    sender.gate.set()
    drained(subject)
    assert subject.stats().sent == 100


def test_the_queue_is_bounded_in_bytes_too(make: Make) -> None:
    subject = make(DeadSender())
    path = "/" + "x" * 1_000_000
    for n in range(100):
        subject.offer(call(span_id=f"{n:016x}", path=path))
    stats = subject.stats()
    assert stats.dropped["queue_full"] > 0
    assert QUEUE_BYTES <= stats.queued_bytes < QUEUE_BYTES + 2 * len(path)


def test_close_flushes_the_open_batch(make: Make) -> None:
    sender = ScriptedSender()
    subject = make(sender)
    subject.offer(numbered(0))
    subject.close(WAIT_S)
    subject.offer(numbered(1))
    stats = subject.stats()
    assert (stats.sent, stats.dropped["shutdown"], stats.queued, stats.state) == (1, 1, 0, "closed")


def test_nothing_configured_is_no_exporter_and_wrong_is_an_error() -> None:
    assert Exporter.from_environment({}) is None
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_PROTOCOL"):
        Exporter.from_environment({"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"})


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_from_environment_to_a_port_where_nobody_listens(protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    subject = Exporter.from_environment(
        {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    )
    assert subject is not None
    subject.offer(numbered(0))
    subject.tick(0)
    subject.tick(10**18)
    wait_until(lambda: subject.stats().retries > 0, WAIT_S, "a failed attempt")
    assert subject.stats().last_error is not None
    assert "refused" in (subject.stats().last_error or "").lower()
    assert subject.destination.startswith(f"{protocol} http://127.0.0.1:{port}")
    subject.close(0)
    assert subject.stats().dropped["shutdown"] == 1
    assert exporter.ExportStats is type(subject.stats())
