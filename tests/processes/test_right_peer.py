"""The right peer, or none: behind a proxy, where connections come and go, and where they are older than the sensor."""

from __future__ import annotations

import contextlib
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
from tests.peers.process import PeerError, wait_until
from tests.peers.programs.answer import span_of
from tests.peers.scenario import Scenario, Server
from tests.peers.scenarios import BY_NAME, PROXY_SCENARIOS
from tests.peers.steady import Steady
from tests.sensor import Sensor
from tests.truth import Call, compare

pytestmark = pytest.mark.kernel

CHURNED = 6000
LEAST_WHOLE = 0.999
"""Share of calls that are bound and complete."""
LEAST_CALLS = 600
"""Made under a sensor, by three clients together in two seconds; each is seen from both ends."""
WAIT_S = 30.0
SETTLE_S = 0.5
"""For what should not come."""


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

    def made(self) -> list[Call]:
        """What the clients have logged."""
        return [call for client in self._clients.values() for call in client.calls()]

    def calls(self) -> list[Call]:
        """What both ends have logged."""
        return self.made() + [call for server in self._servers for call in server.calls()]

    def binding_of(self, phase: str, path: str) -> str | None:
        """How the sensor can know the peer of a call of that phase; None: it is of another."""
        return next((name for name, client in self._clients.items() if client.is_of(phase, path)), None)


def observe(load: Load, sensor: Sensor, number: int) -> None:
    """Under a sensor that has just started: nothing is wrong ever, and what begins after that is bound and complete."""
    phase = f"seen-{'abc'[number]}"

    def ours(path: str) -> bool:
        return load.binding_of(phase, path) is not None

    def of_phase(calls: list[Call]) -> int:
        return sum(ours(call.path) for call in calls)

    sensor.attached(load.pids)
    load.begin(phase)
    wait_until(lambda: of_phase(load.made()) >= LEAST_CALLS, WAIT_S, "calls to be made")
    load.begin("rest")
    both_ends = 2 * of_phase(load.made())
    wait_until(lambda: of_phase(load.calls()) >= both_ends, WAIT_S, "the servers' logs")
    with contextlib.suppress(PeerError):  # what is missing then is told below
        wait_until(lambda: sum(ours(str(t["path"])) for t in sensor.transactions) >= both_ends, WAIT_S, "the sensor")
    time.sleep(SETTLE_S)
    printed = sensor.transactions
    # What was called while no sensor ran is no part of this.
    paths = {t["path"] for t in printed}
    calls = [call for call in load.calls() if call.path in paths or ours(call.path)]
    assert sensor.left_out({call.pid for call in calls}) == 0, sensor.log()
    verdict = compare(calls, printed)
    told = f"{verdict.report()}\n{sensor.losses()}\n{sensor.log()}"
    assert verdict.wrong == [], told
    assert verdict.extra == [], told
    assert of_phase(verdict.missing) == 0, told
    flawed = {id(match) for match in (*verdict.unbound, *verdict.incomplete) if ours(match.call.path)}
    judged = [match for match in verdict.matched if ours(match.call.path)]
    assert len(judged) == both_ends
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
