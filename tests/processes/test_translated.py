"""A call between two processes of the node whose addresses are translated on the way is one call all the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from apisensor.store.reader import StoreReader
from tests.peers.certificates import Certificate
from tests.peers.plan import new_run, plan
from tests.peers.process import Peer, read_calls, wait_until
from tests.peers.translated import CLIENT, NODE, SERVER, SERVICE, SERVICE_PORT, Translated
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

COUNT = 300
WAIT_S = 20.0


def peer(network: Translated, part: str, program: str, service: str, options: dict[str, Any], directory: Path) -> Peer:
    """A program of tests/peers/programs in a namespace."""
    command = [
        "env",
        f"OTEL_SERVICE_NAME={service}",
        *network.command(part),
        sys.executable,
        "-m",
        f"tests.peers.programs.{program}",
        json.dumps(options),
    ]
    return Peer(command, directory / f"{part}.stderr")


def test_it_counts_once_and_each_view_keeps_its_addresses(certificate: Certificate, tmp_path: Path) -> None:
    service = f"translated-{new_run()}"
    requests = plan("translated", COUNT, new_run())
    (tmp_path / "plan").write_bytes(b"".join(msgspec.json.encode(request) + b"\n" for request in requests))
    logs = {part: tmp_path / f"{part}.calls" for part in ("client", "server")}
    with Translated() as network, Sensor() as sensor:
        options = {"address": SERVER, "tls": False, "log": str(logs["server"])}
        server = peer(network, "server", "threaded_server", service, options, tmp_path)
        try:
            network.publish(int(server.wait_ready()[0]))
            options = {
                "base": f"http://{SERVICE}:{SERVICE_PORT}",
                "plan": str(tmp_path / "plan"),
                "log": str(logs["client"]),
                "certificate": str(certificate.certificate),
                "concurrency": 4,
                "keep": True,
            }
            client = peer(network, "client", "requests_client", "caller", options, tmp_path)
            client.wait_ready()
            client.finish()
            wait_until(lambda: len(read_calls(logs["server"])) >= COUNT, WAIT_S, "the server's log")
        finally:
            server.stop()
        calls = [call for log in logs.values() for call in read_calls(log)]
        # The peers themselves: neither knows the other by its address.
        assert {(call.role, call.client.address, call.server.address) for call in calls} == {
            ("client", CLIENT, SERVICE),
            ("server", NODE, SERVER),
        }
        verdict = sensor.verdict(calls)
        assert verdict.passes(), verdict.report() + sensor.log()

        known = StoreReader(f"{sensor.directory}/state/store/apisensor.db")

        def counted() -> dict[str, int]:
            return {row.owner: row.calls + row.unmatched for row in known.owners()}

        # The client's views wait for a moment: were they to count, it would be as calls that leave the node.
        wait_until(lambda: sensor.status()["counters"]["core.views_waiting"] == 0, WAIT_S, "all views")
        wait_until(lambda: counted().get(service, 0) >= COUNT, WAIT_S, "the inventory")
        assert counted()[service] == COUNT
        assert [owner for owner in counted() if SERVICE in owner] == []
        assert sensor.status()["counters"]["core.views_joined"] >= COUNT
