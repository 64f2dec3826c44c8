"""The right peer, or none: behind a proxy, where connections come and go, and where they are older than the sensor."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers.certificates import Certificate
from tests.peers.churn import Churn
from tests.peers.nginx import Nginx
from tests.peers.programs.answer import span_of
from tests.peers.scenario import Scenario, Server
from tests.peers.scenarios import BY_NAME, PROXY_SCENARIOS
from tests.peers.steady import Steady
from tests.sensor import Sensor
from tests.truth import Call, Match, compare

pytestmark = pytest.mark.kernel

CHURNED = 6000
LEAST_WHOLE = 0.999
"""Share of calls that are bound and complete."""
PHASE_S = 3.0
"""How long calls are made under a sensor: some 900 by three clients, each seen from both ends."""
SETTLE_S = 1.0
"""For what was under way to be printed, and logged."""


@pytest.mark.parametrize("scenario", PROXY_SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_proxy_has_two_views_of_its_own(scenario: Scenario, sensor: Sensor, tmp_path: Path) -> None:
    """Four views of two calls that are alike but for process, side and connection; and one trace of all four."""
    truth = scenario.run(tmp_path, sensor.attached)
    verdict = sensor.verdict(truth.calls)
    assert verdict.expected == 4 * scenario.count
    assert verdict.passes(), verdict.report() + sensor.log()
    views: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for match in verdict.matched:
        views[match.call.path].append(match.transaction)
    for request in truth.requests:
        seen = views[request.path]
        assert len(seen) == 4
        if (context := dict(request.headers).get("traceparent")) is None:
            # Nothing in the calls says that one made the other, so nothing is said: four roots.
            assert {t["parent_span_id"] for t in seen} == {None}
            assert len({t["trace_id"] for t in seen}) == 4
            continue
        _, trace, span, _ = context.split("-")
        assert {t["trace_id"] for t in seen} == {trace}
        behind = span_of(request.path) if scenario.server == "gateway" else span  # nginx passes on what it gets
        assert Counter(t["parent_span_id"] for t in seen) == Counter([span, span, behind, behind])


def test_connections_that_come_and_go_as_fast_as_they_can(
    sensor: Sensor, certificate: Certificate, tmp_path: Path
) -> None:
    """Descriptors, sockets and TLS objects are another connection's, and another kind's, a moment later."""
    before = sensor.losses()
    churn = Churn(tmp_path, certificate, CHURNED)
    try:
        sensor.attached(churn.pids)
        calls, descriptors = churn.drive()
    finally:
        churn.stop()
    assert descriptors < 0.02 * CHURNED
    verdict = sensor.verdict(calls)
    assert verdict.expected == 2 * CHURNED
    assert verdict.passes(LEAST_WHOLE), f"{verdict.report()}{sensor.log()}{before} {sensor.losses()}"
    bindings = Counter((match.call.tls, match.transaction["binding"]) for match in verdict.matched)
    assert set(bindings) == {(True, "set_fd"), (False, "socket")}


class Load:
    """Clients whose connections stay, and their servers."""

    def __init__(self, directory: Path, certificate: Certificate, stack: ExitStack) -> None:
        run = stack.enter_context(BY_NAME["requests-aiohttp-six"].start(directory / "six"))
        nginx = Nginx(directory / "nginx", certificate)
        stack.callback(nginx.stop)
        self._servers: tuple[Server, ...] = (run.server, nginx)
        self._clients = {
            "ciphertext": Steady(directory / "a", run.certificate, run.server.base("::1", "http/1.1", True), "asyncio"),
            "nested": Steady(directory / "b", certificate, nginx.base("127.0.0.1", "http/1.1", True), "threads"),
            "socket": Steady(directory / "c", certificate, nginx.base("127.0.0.1", "http/1.1", False), "threads"),
        }
        for client in self._clients.values():
            stack.callback(client.stop)
        self.pids = [*run.server.pids, *nginx.pids, *(client.pid for client in self._clients.values())]

    def begin(self, phase: str) -> None:
        for client in self._clients.values():
            client.begin(phase)

    def calls(self) -> list[Call]:
        made = [call for client in self._clients.values() for call in client.calls()]
        return made + [call for server in self._servers for call in server.calls()]

    def binding_of(self, phase: str, path: str) -> str | None:
        """How the sensor can know the peer of a call of that phase; None: it is of another."""
        return next((name for name, client in self._clients.items() if client.is_of(phase, path)), None)


def observe(load: Load, sensor: Sensor, number: int) -> None:
    """Under a sensor that has just started: nothing is wrong ever, and what begins after that is bound and complete."""
    sensor.attached(load.pids)
    phase = f"seen-{'abc'[number]}"
    load.begin(phase)
    time.sleep(PHASE_S)
    load.begin("rest")
    time.sleep(SETTLE_S)
    printed = sensor.transactions
    # What was called while no sensor ran is no part of this.
    paths = {t["path"] for t in printed}
    calls = [call for call in load.calls() if call.path in paths or load.binding_of(phase, call.path)]
    assert sensor.left_out({call.pid for call in calls}) == 0, sensor.log()
    verdict = compare(calls, printed)
    told = f"{verdict.report()}\n{sensor.losses()}\n{sensor.log()}"
    assert verdict.wrong == [], told
    assert verdict.extra == [], told
    assert [call for call in verdict.missing if load.binding_of(phase, call.path)] == [], told

    def of_phase(matches: list[Match]) -> list[Match]:
        return [match for match in matches if load.binding_of(phase, match.call.path)]

    flawed = {id(match) for match in (*of_phase(verdict.unbound), *of_phase(verdict.incomplete))}
    judged = of_phase(verdict.matched)
    assert len(judged) > 1000
    assert 1 - len(flawed) / len(judged) >= LEAST_WHOLE, told
    for match in judged:
        binding = match.transaction["binding"]
        assert binding in (load.binding_of(phase, match.call.path), None), (binding, match.call)


def test_a_restart_under_load(certificate: Certificate, tmp_path: Path) -> None:
    """The connections are older than the sensor: of the first one, and of the one after it has been killed."""
    with ExitStack() as stack:
        load = Load(tmp_path, certificate, stack)
        with Sensor() as first:
            observe(load, first, 0)
            load.begin("killing")
            os.kill(first.pid, signal.SIGKILL)
        with Sensor() as second:
            observe(load, second, 1)
