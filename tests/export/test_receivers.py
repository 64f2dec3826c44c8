"""Delivery to real gRPC and HTTP receivers: what arrives, with TLS and compression, through failures and restarts."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from apisensor.export import configuration
from apisensor.export.delivery import CAUSES
from apisensor.export.exporter import Exporter, ExportStats
from apisensor.export.http_sender import retry_after
from apisensor.export.receiver import open_sender
from tests.export.receivers import Answer, GrpcReceiver, HttpReceiver, Receiver
from tests.export.records import NGINX, numbered
from tests.peers import certificates
from tests.peers.certificates import Certificate
from tests.peers.process import wait_until

WAIT_S = 30.0
Make = Callable[..., Exporter]
Open = Callable[..., Any]

BUSY = {"grpc": grpc.StatusCode.UNAVAILABLE, "http/protobuf": 503}
BAD_DATA = {"grpc": grpc.StatusCode.INVALID_ARGUMENT, "http/protobuf": 400}


@pytest.fixture(params=["grpc", "http/protobuf"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("server"))


@pytest.fixture(scope="module")
def client_pem(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificates.make(tmp_path_factory.mktemp("client"))


@pytest.fixture
def receive(protocol: str) -> Iterator[Open]:
    """Opens receivers of the protocol."""
    opened: list[Any] = []

    def make(*answers: Answer, **options: Any) -> Any:
        opened.append((GrpcReceiver if protocol == "grpc" else HttpReceiver)(answers, **options))
        return opened[-1]

    yield make
    for receiver in opened:
        receiver.stop()


@pytest.fixture
def export(protocol: str) -> Iterator[Make]:
    """Makes exporters for an endpoint, with backoffs short enough for tests."""
    made: list[Exporter] = []

    def make(endpoint: str, **environ: str) -> Exporter:
        config = configuration.read(
            {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environ}
        )
        assert config is not None
        sender = open_sender(config.otlp)
        made.append(Exporter(config, sender, host_name="node1", first_backoff_s=0.05, longest_backoff_s=0.2))
        return made[-1]

    yield make
    for exporter in made:
        exporter.close(0)
        assert_exact(exporter.stats())


def assert_exact(stats: ExportStats) -> None:
    assert set(stats.dropped) == set(CAUSES)
    assert stats.offered == stats.sent + sum(stats.dropped.values()) + stats.queued


def offer(exporter: Exporter, count: int, first: int = 0) -> list[str]:
    """Offers distinct spans, hands the last batch over, and returns the span ids."""
    for n in range(first, first + count):
        exporter.offer(numbered(n, process=NGINX))
    exporter.tick(0)
    exporter.tick(10**18)
    return [f"{n + 1:016x}" for n in range(first, first + count)]


def settle(exporter: Exporter) -> ExportStats:
    def empty() -> bool:
        assert_exact(exporter.stats())
        return exporter.stats().queued == 0

    wait_until(empty, WAIT_S, "an empty queue")
    return exporter.stats()


def test_every_span_arrives_once_with_its_resource(receive: Open, export: Make) -> None:
    receiver = receive()
    exporter = export(receiver.endpoint, OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test")
    ids = offer(exporter, 1200)
    stats = settle(exporter)
    assert receiver.span_ids == ids
    assert (stats.sent, stats.encoded, stats.requests, stats.last_error) == (1200, 1200, 3, None)
    resource = receiver.requests[0].resource_spans[0].resource
    found = {pair.key: pair.value.string_value for pair in resource.attributes}
    assert found["service.name"] == "frontend"
    assert (found["host.name"], found["deployment.environment.name"]) == ("node1", "test")


def test_headers_go_along(receive: Open, export: Make) -> None:
    receiver = receive()
    exporter = export(receiver.endpoint, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hunter22,x-tenant=7")
    offer(exporter, 1)
    settle(exporter)
    assert receiver.headers[0]["authorization"] == "Bearer hunter22"
    assert receiver.headers[0]["x-tenant"] == "7"
    assert receiver.headers[0]["user-agent"].startswith("apisensor")


class Wiretap:
    """A TCP relay that keeps what the client sent."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = port
        self.port = int(self._listener.getsockname()[1])
        self.sent = bytearray()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._relay, args=(client, server, self.sent), daemon=True).start()
            threading.Thread(target=self._relay, args=(server, client, bytearray()), daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket, kept: bytearray) -> None:
        try:
            while passed := source.recv(65_536):
                kept += passed
                target.sendall(passed)
        except OSError:
            pass
        finally:
            target.close()

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_compression_on_the_wire(compression: str, receive: Open, export: Make) -> None:
    receiver = receive()
    tap = Wiretap(receiver.port)
    exporter = export(f"http://127.0.0.1:{tap.port}", OTEL_EXPORTER_OTLP_COMPRESSION=compression)
    ids = offer(exporter, 300)
    settle(exporter)
    tap.close()
    assert receiver.span_ids == ids
    assert (b"apisensor.transaction.id" in tap.sent) == (compression == "none")
    if compression == "gzip":
        assert len(tap.sent) < receiver.requests[0].ByteSize() / 4


def test_tls_with_a_certificate_of_our_own(receive: Open, export: Make, pem: Certificate) -> None:
    receiver = receive(tls=pem)
    exporter = export(receiver.endpoint, OTEL_EXPORTER_OTLP_CERTIFICATE=str(pem.certificate))
    ids = offer(exporter, 10)
    settle(exporter)
    assert receiver.span_ids == ids


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(receive: Open, export: Make, pem: Certificate) -> None:
    receiver = receive(tls=pem)
    exporter = export(receiver.endpoint)
    offer(exporter, 10)
    wait_until(lambda: exporter.stats().retries > 0, WAIT_S, "a failed attempt")
    assert receiver.requests == []
    stats = exporter.stats()
    assert (stats.sent, stats.queued, stats.state) == (0, 10, "retrying")
    assert stats.last_error is not None


def test_mutual_tls(receive: Open, export: Make, pem: Certificate, client_pem: Certificate) -> None:
    receiver = receive(tls=pem, client_authority=client_pem)
    trust = {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(pem.certificate)}
    stranger = export(receiver.endpoint, **trust)
    offer(stranger, 5)
    wait_until(lambda: stranger.stats().retries > 0, WAIT_S, "a failed attempt")
    known = export(
        receiver.endpoint,
        **trust,
        OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=str(client_pem.certificate),
        OTEL_EXPORTER_OTLP_CLIENT_KEY=str(client_pem.key),
    )
    ids = offer(known, 5, first=100)
    settle(known)
    assert receiver.span_ids == ids
    assert stranger.stats().sent == 0


def test_a_busy_receiver_is_asked_again(protocol: str, receive: Open, export: Make) -> None:
    receiver = receive(Answer(code=BUSY[protocol], message="later"), Answer(code=BUSY[protocol]))
    exporter = export(receiver.endpoint)
    ids = offer(exporter, 20)
    stats = settle(exporter)
    assert receiver.span_ids == ids
    assert (len(receiver.requests), stats.retries, stats.sent) == (3, 2, 20)


def test_bad_data_is_dropped_and_counted(protocol: str, receive: Open, export: Make) -> None:
    receiver = receive(Answer(code=BAD_DATA[protocol], message="no such field"))
    exporter = export(receiver.endpoint, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    offer(exporter, 20)
    stats = settle(exporter)
    assert (stats.sent, stats.dropped["refused"], stats.retries) == (10, 10, 0)
    assert stats.last_error is not None
    assert "no such field" in stats.last_error


def test_partial_success(receive: Open, export: Make) -> None:
    receiver = receive(Answer(rejected=3, message="three are too old"))
    exporter = export(receiver.endpoint)
    offer(exporter, 10)
    stats = settle(exporter)
    assert (stats.sent, stats.dropped["rejected"], len(receiver.requests)) == (7, 3, 1)
    assert stats.last_error == "three are too old"


def test_a_restart_of_the_receiver_loses_nothing_that_fits_the_queue(receive: Open, export: Make) -> None:
    first: Receiver = receive()
    exporter = export(first.endpoint, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="100")
    before = offer(exporter, 500)
    settle(exporter)
    first.stop()
    during = offer(exporter, 2000, first=500)
    wait_until(lambda: exporter.stats().state == "retrying", WAIT_S, "a failed attempt")
    assert exporter.stats().queued == 2000
    second: Receiver = receive(port=first.port)
    stats = settle(exporter)
    assert first.span_ids == before
    assert second.span_ids == during
    assert (stats.sent, sum(stats.dropped.values())) == (2500, 0)


def test_a_receiver_that_never_answers_costs_a_timeout(export: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        exporter = export(endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="200")
        offer(exporter, 5)
        wait_until(lambda: exporter.stats().retries > 0, WAIT_S, "a timeout")
        assert exporter.stats().queued == 5
        exporter.close(0)
    assert exporter.stats().dropped["shutdown"] == 5


def test_errors_do_not_repeat_secrets(protocol: str, receive: Open, export: Make) -> None:
    receiver = receive(Answer(code=BAD_DATA[protocol], message="unknown token hunter22\nsecond line"))
    exporter = export(receiver.endpoint, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hunter22")
    offer(exporter, 1)
    line = settle(exporter).last_error
    assert line is not None
    assert "unknown token [redacted] second line" in line


# What only one of the protocols has.


@pytest.mark.parametrize("protocol", ["grpc"], indirect=True)
def test_retry_info_sets_the_wait_and_makes_exhaustion_retryable(receive: Open, export: Make) -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    receiver = receive(Answer(code=exhausted, retry_after=0.01), Answer(code=exhausted))
    exporter = export(receiver.endpoint, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    offer(exporter, 20)
    stats = settle(exporter)
    # The first batch is repeated, and then refused: without RetryInfo the code is final.
    assert (stats.retries, stats.dropped["refused"], stats.sent) == (1, 10, 10)


@pytest.mark.parametrize("protocol", ["grpc"], indirect=True)
@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_grpc_codes(code: grpc.StatusCode, receive: Open, export: Make) -> None:
    retryable = {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
    receiver = receive(Answer(code=code))
    exporter = export(receiver.endpoint)
    offer(exporter, 3)
    stats = settle(exporter)
    assert (stats.retries, stats.sent) == ((1, 3) if code.name in retryable else (0, 0))
    assert stats.dropped["refused"] == 3 - stats.sent
    assert stats.last_error == f"gRPC {code.name}"


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        *((code, False) for code in (301, 400, 401, 404, 408, 413, 500, 501)),
        *((code, True) for code in (429, 502, 503, 504)),
    ],
)
def test_http_codes(code: int, retryable: bool, receive: Open, export: Make) -> None:
    receiver = receive(Answer(code=code, retry_after="0"))
    exporter = export(receiver.endpoint)
    offer(exporter, 3)
    stats = settle(exporter)
    assert (stats.retries, stats.sent) == ((1, 3) if retryable else (0, 0))
    assert stats.dropped["refused"] == 3 - stats.sent
    assert set(receiver.paths) == {"/v1/traces"}
    assert stats.last_error is not None
    assert stats.last_error.startswith(f"HTTP {code} ")


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
def test_http_keeps_its_connection(receive: Open, export: Make) -> None:
    receiver = receive(Answer(body=b"not protobuf"))
    exporter = export(receiver.endpoint, OTEL_BSP_MAX_EXPORT_BATCH_SIZE="10")
    offer(exporter, 50)
    stats = settle(exporter)
    assert (stats.sent, len(receiver.requests), len(receiver.connections)) == (50, 5, 1)
    assert stats.last_error == "the receiver's answer is no ExportTraceServiceResponse"
    assert receiver.headers[0]["content-type"] == "application/x-protobuf"


@pytest.mark.parametrize("protocol", ["http/protobuf"], indirect=True)
def test_the_endpoints_user_is_sent_but_not_a_netrcs(
    receive: Open, export: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login stranger password stranger\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    receiver = receive()
    tokened = export(receiver.endpoint, OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20ours")
    offer(tokened, 1)
    settle(tokened)
    named = export(receiver.endpoint.replace("//", "//us%40r:pass@"))
    offer(named, 1)
    settle(named)
    basic = base64.b64encode(b"us@r:pass").decode()
    assert [headers["authorization"] for headers in receiver.headers] == ["Bearer ours", f"Basic {basic}"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0),
        ("Wed, 21 Oct 2015 07:26:00 GMT", 0.0),
        ("soon", None),
        ("-1", None),
        ("1e9", None),
        ("9" * 400, 999_999_999.0),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, 1445412420.0) == seconds
