"""The peers agree with each other about every call, without any sensor: only then their logs are the truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers.scenario import Scenario
from tests.peers.scenarios import PROXY_SCENARIOS, SCENARIOS
from tests.truth import Call, disagreements


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_both_peers_log_the_same_calls(scenario: Scenario, tmp_path: Path) -> None:
    truth = scenario.run(tmp_path / scenario.name)
    assert disagreements(truth.calls) == []
    assert len(truth.calls) == 2 * scenario.count
    clients = [call for call in truth.calls if call.role == "client"]
    planned = {(request.method, request.path) for request in truth.requests}
    assert {(call.method, call.path) for call in clients} == planned
    assert {call.protocol for call in truth.calls} == {scenario.protocol}
    assert {call.tls for call in truth.calls} == {scenario.tls}
    if scenario.address == "unix":
        return  # clients have no name
    connections = {call.client for call in clients}
    if scenario.client == "curl-each" or not scenario.keep:
        # A port may be used again once its connection is gone.
        assert len(connections) > 0.9 * scenario.count
    else:
        # Some servers close after some responses (aiohttp after a 304).
        assert len(connections) < 0.1 * scenario.count + scenario.concurrency


@pytest.mark.parametrize("scenario", PROXY_SCENARIOS, ids=lambda scenario: scenario.name)
def test_all_peers_on_the_way_log_the_same_calls(scenario: Scenario, tmp_path: Path) -> None:
    truth = scenario.run(tmp_path / scenario.name)
    planned = {(request.method, request.path) for request in truth.requests}
    legs: dict[int | None, list[Call]] = {}
    for call in truth.calls:
        legs.setdefault(call.server.port, []).append(call)
    assert len(legs) == 2
    for calls in legs.values():
        assert disagreements(calls) == []
        assert {(call.method, call.path) for call in calls} == planned
        assert len(calls) == 2 * scenario.count
    assert len({(call.pid, call.role) for call in truth.calls}) >= 4
