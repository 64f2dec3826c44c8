"""Real traffic in a real Jaeger: one span per view of a call, under the right service, kind and parent."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.peers import certificates, jaeger
from tests.peers.curl import Curl
from tests.peers.jaeger import Jaeger
from tests.peers.nginx import Nginx
from tests.peers.plan import Request, new_run, plan
from tests.peers.process import wait_until
from tests.sensor import Sensor

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(2 * jaeger.BUILD_SECONDS)]
"""The first run on a machine builds Jaeger."""

COUNT = 200
WAIT_S = 30.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    with jaeger.running(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


def requests() -> dict[str, tuple[Request, tuple[str, str] | None]]:
    """Path without query: its request, and (trace id, parent span id) where it carries a traceparent."""
    made = {}
    for request in plan("jaeger", COUNT, new_run()):
        context = (secrets.token_hex(16), secrets.token_hex(8)) if request.n % 2 else None
        headers = [header for header in request.headers if header[0] != "traceparent"]
        if context:
            headers.append(("traceparent", f"00-{context[0]}-{context[1]}-01"))
        made[request.path.partition("?")[0]] = (replace(request, headers=headers), context)
    return made


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_each_view_is_one_span(server: Jaeger, protocol: str, tmp_path: Path) -> None:
    certificate = certificates.make(tmp_path / "certificate")
    asked = requests()
    nginx = Nginx(tmp_path / "nginx", certificate)
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": server.otlp_grpc if protocol == "grpc" else server.otlp_http,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
    }
    try:
        with Sensor(environment=environment) as sensor:
            base = nginx.base("127.0.0.1", "http/1.1", tls=True)
            curl = Curl(tmp_path / "curl", base, certificate.certificate, "http/1.1")
            planned = [request for request, _ in asked.values()]
            peer = curl.start()
            calls = curl.drive(peer, planned)
            wait_until(lambda: len(nginx.calls()) >= COUNT, WAIT_S, "nginx's log")
            verdict = sensor.verdict([*calls, *nginx.calls()])
            assert verdict.passes(), verdict.report() + sensor.log()
            assert sensor.stop() == 0  # which sends what waits
    finally:
        nginx.stop()

    def spans(service: str) -> list[dict[str, Any]]:
        return [span for span in server.spans(service) if span["tags"].get("url.path") in asked]

    views = {"client": "curl", "server": "nginx"}
    pids = {"client": {call.pid for call in calls}, "server": {call.pid for call in nginx.calls()}}
    wait_until(lambda: all(len(spans(service)) >= COUNT for service in views.values()), WAIT_S, "all spans in Jaeger")
    traces: dict[str, list[str]] = {}
    for side, service in views.items():
        found = spans(service)
        assert Counter(span["tags"]["url.path"] for span in found) == dict.fromkeys(asked, 1)
        for span in found:
            request, context = asked[span["tags"]["url.path"]]
            assert span["tags"]["span.kind"] == side
            assert span["tags"]["http.request.method"] == request.method
            assert span["process"]["process.pid"] in pids[side]
            assert span["parent"] == (context[1] if context else None)
            traces.setdefault(request.path, []).append(span["traceID"])
            if context:
                assert span["traceID"] == context[0]
    # Without a traceparent each view is a root of its own.
    assert all(len(set(ids)) == (1 if asked[path.partition("?")[0]][1] else 2) for path, ids in traces.items())
