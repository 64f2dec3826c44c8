"""Captures that tcpdump made of real programs: every call is reported exactly as its client logged it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest

from apisensor.processes.replay import replay
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Transaction
from tests.peers.scenario import Scenario
from tests.peers.scenarios import SCENARIOS
from tests.truth import compare

from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

NAMES = [
    "curl-nginx-plain-50",
    "curl-nginx-plain-six",
    "curl-nginx-sendfile-50",
    "curl-nginx-h2c-each",
    "node-nginx-h2c-50",
    "requests-threads-plain-50",
    "aiohttp-plain-50",
    "node-plain-50",
    "node-h2c-50",
]


@pytest.mark.parametrize("name", NAMES)
def test_replay_equals_what_the_clients_logged(name: str, tmp_path: Path) -> None:
    scenario: Scenario = next(scenario for scenario in SCENARIOS if scenario.name == name)
    path = tmp_path / "x.pcap"
    with scenario.start(tmp_path / name) as run:
        url = urlsplit(run.server.base(scenario.address, scenario.protocol, scenario.tls))
        with tcpdump(path, f"tcp port {url.port}", "-i", "lo"):
            truth = run.drive()
    told: list[Transaction] = []
    summary = replay(str(path), told.append)
    assert summary.error is None
    assert summary.losses == {}
    # Packets know no process: each call is one transaction, compared with the client's log.
    calls = [msgspec.structs.replace(call, pid=0) for call in truth.calls if call.role == "client"]
    views = [{**public(transaction), "side": "client", "process": {"pid": 0}} for transaction in told]
    assert {transaction.side for transaction in told} == {"network"}
    verdict = compare(calls, views)
    assert verdict.passes(1.0), verdict.report()
    assert summary.incomplete == {}
