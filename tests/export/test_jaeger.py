"""A real Jaeger has every span once, under the right service and parent, over both protocols."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator

import pytest

from apisensor.export.exporter import Exporter
from apisensor.transactions.model import Process, Transaction
from tests.export.records import NGINX, SERVER, call
from tests.peers import jaeger
from tests.peers.jaeger import Jaeger
from tests.peers.process import wait_until

pytestmark = pytest.mark.timeout(2 * jaeger.BUILD_SECONDS)
"""The first run on a machine builds Jaeger."""

WAIT_S = 30.0
CALLS = 300
"""Each is seen from both sides: with the roots, more than one batch."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with jaeger.running(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


def both_views(n: int, suffix: str) -> tuple[Transaction, Transaction]:
    """The client's and the server's view of one call that carried a traceparent."""
    trace_id, parent = secrets.token_hex(16), secrets.token_hex(8)
    common = {"trace_id": trace_id, "parent_span_id": parent, "path": f"/orders/{n}"}
    client = call(**common, span_id=secrets.token_hex(8), side="client", process=Process(1, service=f"shop{suffix}"))
    server = call(**common, span_id=secrets.token_hex(8), process=Process(2, "/usr/sbin/nginx", service=f"api{suffix}"))
    return client, server


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_each_view_is_one_span_under_its_service_and_parent(server: Jaeger, protocol: str) -> None:
    suffix = "-" + protocol[:4]
    endpoint = server.otlp_grpc if protocol == "grpc" else server.otlp_http
    exporter = Exporter.from_environment(
        {"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}, host_name="node1"
    )
    assert exporter is not None
    offered = [view for n in range(CALLS) for view in both_views(n, suffix)]
    offered.append(
        call(
            trace_id=secrets.token_hex(16),
            span_id=secrets.token_hex(8),
            parent_span_id=None,
            process=Process(3, service=f"alone{suffix}"),
            status=503,
        )
    )
    for t in offered:
        exporter.offer(t)
    exporter.close(WAIT_S)
    assert exporter.stats().sent == len(offered) == exporter.stats().offered

    services = {f"shop{suffix}", f"api{suffix}", f"alone{suffix}"}
    wait_until(lambda: services <= set(server.services()), WAIT_S, "Jaeger to know the services")
    wait_until(
        lambda: sum(len(server.spans(service)) for service in services) >= len(offered), WAIT_S, "Jaeger to have all"
    )
    found = {(service, span["spanID"]): span for service in services for span in server.spans(service)}
    count = Counter(span["spanID"] for service in services for span in server.spans(service))
    assert max(count.values()) == 1
    assert len(found) == len(offered)
    for t in offered:
        assert t.process is not None
        span = found[(str(t.process.service), t.span_id)]
        assert (span["traceID"], span["parent"]) == (t.trace_id, t.parent_span_id)
        assert span["operationName"] == "GET"
        assert span["startTime"] == (t.start_ns + t.wall_offset_ns) // 1000
        assert span["duration"] == (t.duration_ns or 0) // 1000
        assert span["tags"]["span.kind"] == t.side
        assert span["tags"]["url.path"] == (t.path or "").partition("?")[0]
        assert span["tags"]["http.response.status_code"] == t.status
        assert span["tags"]["network.peer.port"] == (SERVER.port if t.side == "client" else 40001)
        assert span["tags"].get("error") == (True if t.status == 503 else None)
        assert span["process"]["process.pid"] == t.process.pid
        assert span["process"]["host.name"] == "node1"


def test_a_trace_shows_both_views_as_children_of_the_applications_span(server: Jaeger) -> None:
    client, served = both_views(0, "-trace")
    exporter = Exporter.from_environment({"OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_http + "/"}, host_name="node1")
    assert exporter is not None
    for t in (client, served, call(process=NGINX, trace_id=secrets.token_hex(16), span_id=secrets.token_hex(8))):
        exporter.offer(t)
    exporter.close(WAIT_S)
    wait_until(lambda: server.trace(client.trace_id) is not None, WAIT_S, "the trace")
    trace = server.trace(client.trace_id)
    assert trace is not None
    assert {span["spanID"] for span in trace["spans"]} == {client.span_id, served.span_id}
    parents = {reference["spanID"] for span in trace["spans"] for reference in span["references"]}
    assert parents == {client.parent_span_id}
    assert server.trace(secrets.token_hex(16)) is None
