"""The exporter: to real receivers over gRPC and HTTP, and with senders in memory where the receiver is away."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from apisensor.export.outcome import Retryable
from apisensor.export.receiver import open_sender
from apisensor.live.status import Status
from apisensor.metrics import configuration
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.exporter import MetricExporter
from apisensor.settings import SettingsError
from tests.export.receivers import Answer, GrpcReceiver, HttpReceiver, Receiver
from tests.export.records import call
from tests.export.test_delivery import ScriptedSender
from tests.export.test_exporter import DeadSender
from tests.metrics.test_otlp import decoded, metrics_of
from tests.peers.process import wait_until

WAIT_S = 30.0
INTERVAL_NS = 60 * 10**9
DURATION = "http.server.request.duration"
Make = Callable[..., MetricExporter]


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[MetricExporter] = []

    def make_exporter(sender: Any = None, **environ: str) -> MetricExporter:
        config = configuration.read({"OTEL_METRICS_EXPORTER": "otlp", **environ})
        assert config is not None
        made.append(
            MetricExporter(
                config,
                sender or open_sender(config.otlp),
                host_name="node1",
                first_backoff_s=0.01,
                longest_backoff_s=0.02,
            )
        )
        return made[-1]

    yield make_exporter
    for each in made:
        each.close(0)
        stats = each.stats()
        assert stats.offered == stats.sent + sum(stats.dropped.values()) + stats.queued


def status() -> Status:
    return Status(version="1", started=1.0, counters={"kernel.records": 5})


def observed(count: int) -> CallMetrics:
    calls = CallMetrics(1000, started_ns=1)
    for _ in range(count):
        calls.observe(call())
    return calls


def idle(subject: MetricExporter) -> None:
    wait_until(lambda: subject.stats().queued == 0, WAIT_S, "an empty queue")


@pytest.fixture(params=["grpc", "http/protobuf"])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    opened = GrpcReceiver() if request.param == "grpc" else HttpReceiver()
    yield opened
    opened.stop()


def environ(receiver: Receiver, **more: str) -> dict[str, str]:
    protocol = "grpc" if isinstance(receiver, GrpcReceiver) else "http/protobuf"
    return {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, **more}


def test_what_arrives(receiver: Receiver, make: Make) -> None:
    headers = {"OTEL_EXPORTER_OTLP_METRICS_HEADERS": "x-tenant=7", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    subject = make(**environ(receiver, **headers))
    calls = observed(3)
    for seconds in (0, 59, 60, 61, 119, 120):
        subject.tick(seconds * 10**9, calls, status)
        idle(subject)
    assert [metrics_of(r)[DURATION].histogram.data_points[0].count for r in receiver.metrics] == [3, 3]
    assert metrics_of(receiver.metrics[0])["apisensor.kernel.records"].sum.data_points[0].as_int == 5
    assert receiver.headers[0]["x-tenant"] == "7"
    assert not receiver.requests, "no spans"
    stats = subject.stats()
    assert (stats.offered, stats.postponed, stats.last_error) == (stats.sent, 0, None)
    assert metrics_of(receiver.metrics[1])["apisensor.metrics.points_sent"].sum.data_points[0].as_int > 0


def test_partial_success_counts_data_points(receiver: Receiver, make: Make) -> None:
    receiver.answers.append(Answer(rejected=2, message="too old"))
    subject = make(**environ(receiver))
    subject.tick(0, observed(1), status)
    subject.tick(INTERVAL_NS, observed(1), status)
    idle(subject)
    stats = subject.stats()
    assert (stats.dropped["rejected"], stats.sent, stats.last_error) == (2, stats.offered - 2, "too old")


def test_a_receiver_without_metrics_is_said_and_counted(receiver: Receiver, make: Make) -> None:
    is_grpc = isinstance(receiver, GrpcReceiver)
    receiver.answers.append(Answer(code=grpc.StatusCode.UNIMPLEMENTED if is_grpc else 404))
    subject = make(**environ(receiver))
    subject.tick(0, observed(1), status)
    subject.tick(INTERVAL_NS, observed(1), status)
    idle(subject)
    stats = subject.stats()
    assert stats.dropped["refused"] == stats.offered > 0
    assert ("UNIMPLEMENTED" if is_grpc else "404") in (stats.last_error or "")


def test_close_exports_what_happened_since(receiver: Receiver, make: Make) -> None:
    subject = make(**environ(receiver))
    calls = observed(1)
    subject.tick(0, calls, status)
    calls.observe(call())
    subject.close(WAIT_S)
    subject.close(WAIT_S)
    (request,) = receiver.metrics
    assert metrics_of(request)[DURATION].histogram.data_points[0].count == 2
    assert subject.stats().state == "closed"


def test_a_dead_receiver_neither_blocks_nor_grows_memory(make: Make) -> None:
    sender = DeadSender()
    subject = make(sender)
    calls = observed(1)
    for n in range(500):
        calls.observe(call(route=f"/{n}"))
    subject.tick(0, calls, status)
    subject.tick(INTERVAL_NS, calls, status)
    held = subject.stats().queued
    tracemalloc.start()
    for n in range(2, 1000):
        subject.tick(n * INTERVAL_NS, calls, status)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    stats = subject.stats()
    assert (stats.queued, stats.offered, stats.postponed) == (held, held, 998)
    assert grown < 64 * 1024
    wait_until(lambda: sender.attempts > 1, WAIT_S, "a second attempt")
    assert subject.stats().state == "retrying"


@pytest.mark.parametrize("temporality", ["cumulative", "delta"])
def test_an_outage_loses_no_call(temporality: str, make: Make) -> None:
    sender = ScriptedSender(*[Retryable("down")] * 5)
    subject = make(sender, OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=temporality)
    calls = observed(1)
    subject.tick(0, calls, status)
    subject.tick(INTERVAL_NS, calls, status)
    for n in range(2, 50):
        calls.observe(call())
        subject.tick(n * INTERVAL_NS, calls, status)
    idle(subject)
    subject.tick(50 * INTERVAL_NS, calls, status)
    idle(subject)
    delivered = dict.fromkeys(sender.sent)  # without repetitions
    requests = decoded([Delivered(request) for request in delivered])
    counts = [point.count for r in requests if (m := metrics_of(r).get(DURATION)) for point in m.histogram.data_points]
    assert (sum(counts) if temporality == "delta" else counts[-1]) == 49


class Delivered:
    def __init__(self, request: bytes) -> None:
        self.request = request


def test_a_status_that_fails_costs_one_export(make: Make) -> None:
    def broken() -> Status:
        raise RuntimeError("no status")

    subject = make(ScriptedSender())
    subject.tick(0, observed(1), broken)
    subject.tick(INTERVAL_NS, observed(1), broken)
    stats = subject.stats()
    assert (stats.offered, stats.dropped["encode_error"]) == (1, 1)
    assert stats.last_error == "metrics could not be encoded: RuntimeError: no status"


def test_the_status_is_made_only_when_it_is_due(make: Make) -> None:
    asked = []

    def counting() -> Status:
        asked.append(1)
        return status()

    subject = make(ScriptedSender())
    for n in range(100):
        subject.tick(n * INTERVAL_NS // 50, observed(0), counting)
    assert len(asked) == 1


def test_nothing_configured_is_no_exporter_and_wrong_is_an_error() -> None:
    assert MetricExporter.from_environment({}) is None
    with pytest.raises(SettingsError, match="OTEL_METRIC_EXPORT_INTERVAL"):
        MetricExporter.from_environment({"OTEL_METRICS_EXPORTER": "otlp", "OTEL_METRIC_EXPORT_INTERVAL": "soon"})


def test_from_environment() -> None:
    subject = MetricExporter.from_environment({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/x"})
    assert subject is not None
    assert subject.destination == "http/protobuf http://127.0.0.1:9/x"
    subject.close(0)
