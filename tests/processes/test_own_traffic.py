"""The sensor sees neither its own export nor what the collector serves of it, and everything else of the collector."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.peers.process import program, wait_until
from tests.peers.scenarios import BY_NAME
from tests.processes.collector import collector
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

WAIT_S = 30.0
CALLS = 20


@pytest.mark.parametrize(
    ("protocol", "path"),
    [("grpc", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"), ("http/protobuf", "/v1/traces")],
)
def test_export_is_not_observed(protocol: str, path: str, tmp_path: Path) -> None:
    with collector(protocol, tmp_path) as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{receiver.port}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        curl = [program("curl"), "-sS", "-o", "/dev/null"]
        # curl as another exporter would: to the collector's port, with the same path on HTTP.
        url = f"http://127.0.0.1:{receiver.port}/v1/traces?control="
        if protocol == "grpc":
            curl.append("--http2-prior-knowledge")
        with Sensor(environment=environment) as sensor:
            for n in range(CALLS):
                subprocess.run([*curl, "--data-binary", "", url + str(n)], check=False, timeout=20)
            control = {f"/v1/traces?control={n}" for n in range(CALLS)}
            sides = ("client", "server") if protocol != "grpc" else ("client",)

            def seen() -> set[tuple[str, str]]:
                return {(t["side"], t["path"]) for t in sensor.transactions if t["path"] in control}

            wait_until(lambda: len(seen()) >= CALLS * len(sides), WAIT_S, "both views of the control calls")
            wait_until(lambda: receiver.spans() >= CALLS * len(sides), WAIT_S, "the spans")
            before = receiver.spans()
            # An export that is seen makes a span, whose export is seen: it would never end.
            wait_until(lambda: sensor.status()["export"]["queued"] == 0, WAIT_S, "the queue to be sent")
            own = [t for t in sensor.transactions if t["path"] == path]
            assert own == []
            ports = {end["port"] for t in sensor.transactions for end in (t["client"], t["server"]) if end}
            assert receiver.port in ports
            status = sensor.status()
            pids = {part["pid"] for part in status["parts"]}
            assert [t for t in sensor.transactions if (t["process"] or {}).get("pid") in pids] == []
            sensor.wait_for_report()
            assert sensor.status()["counters"]["kernel.own_bytes"] > 0
            assert sensor.status()["export"]["sent"] >= before >= CALLS * len(sides)


def test_calls_to_the_page_are_not_shown(tmp_path: Path) -> None:
    with Sensor() as sensor:
        address, token = sensor.page()
        for _ in range(CALLS):
            answer = subprocess.run(
                [program("curl"), "-sS", "-H", f"Authorization: Bearer {token}", f"{address}/api/v1/facts"],
                capture_output=True, check=True, timeout=30,
            )  # fmt: skip
            assert b'"endpoints"' in answer.stdout
        verdict = sensor.verdict(BY_NAME["curl-nginx-plain-six"].run(tmp_path).calls)
        assert verdict.passes(), verdict.report() + sensor.log()
        port = int(address.rpartition(":")[2])
        assert not [t for t in sensor.transactions if t["server"] and t["server"]["port"] == port]
        assert sensor.status()["counters"]["core.own_calls"] == CALLS
