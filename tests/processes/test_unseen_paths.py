"""io_uring, where a back end sees it and where it does not: what is captured, counted, or known to be missing."""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import ceil
from pathlib import Path

import pytest

from tests.peers.plan import new_run
from tests.peers.programs.uring_sockets import AT_TIMES
from tests.peers.scenario import Scenario
from tests.peers.scenarios import BY_NAME, SPLICED_FROM_UNIX, URING_SCENARIOS
from tests.sensor import Sensor
from tests.truth import Call, Match, Transaction

pytestmark = pytest.mark.kernel

NOT_CAPTURED = "body-not-captured"
REASON = "unseen_path"
UNSEEN = {"kernel.lost.unseen_path_bytes", "worker.lost.unseen_path_bytes"}
KEPT_CALLS = 25
"""Calls of a native client on a connection."""


def lost(sensor: Sensor) -> set[str]:
    """What was lost, but for lines that were not printed because of others' calls: each scenario shows that none was of
    its own processes."""
    sensor.wait_for_report()
    return set(sensor.losses()) - {"core.lost.not_printed"}


@pytest.fixture(scope="module")
def sensor() -> Iterator[Sensor]:
    with Sensor() as running:
        assert any("back end sock;" in note for note in running.status()["notes"]), "kernel 6.10 or later is needed"
        yield running


@pytest.mark.parametrize("scenario", URING_SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_is_reported_with_its_contents(scenario: Scenario, sensor: Sensor, tmp_path: Path) -> None:
    verdict = sensor.verdict(scenario.run(tmp_path).calls)
    assert verdict.passes(1.0), verdict.report() + sensor.log()
    assert Counter(name for match in verdict.matched for name in match.transaction["anomalies"])[NOT_CAPTURED] == 0


def test_registered_buffers_and_chains_are_counted(sensor: Sensor, tmp_path: Path) -> None:
    scenario = replace(BY_NAME["sockets-uring"], name="sockets-uring-pages", way="uring-pages", count=300)
    verdict = sensor.verdict(scenario.run(tmp_path).calls)
    assert verdict.passes(1.0), verdict.report() + sensor.log()
    found = Counter(name for match in verdict.matched for name in match.transaction["anomalies"])
    assert found[NOT_CAPTURED] > 300, found


def test_urgent_bytes_are_no_part_of_what_is_read(sensor: Sensor) -> None:
    """They move the kernel's account of the stream, whether the program takes them or not."""
    run = new_run()
    paths = [f"/{run}/urgent/{number}" for number in range(60)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            for number, path in enumerate(paths):
                client.send(b"!", socket.MSG_OOB)
                client.send(f"GET {path} HTTP/1.1\r\nHost: urgent\r\n\r\n".encode())
                while not select.select([], [], [server], 10)[2]:
                    pass
                if number % 2:
                    assert server.recv(1, socket.MSG_OOB) == b"!"
                read = b""
                while not read.endswith(b"\r\n\r\n"):
                    read += server.recv(65_536)
                assert read.startswith(b"GET ")
                server.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                client.recv(65_536)

    def served(transactions: list[Transaction]) -> list[Transaction]:
        return [one for one in transactions if one["path"] in paths and one["side"] == "server"]

    found = served(sensor.wait_until(lambda transactions: len(served(transactions)) >= len(paths)))
    assert [(one["status"], one["complete"]) for one in found] == [(204, True)] * len(paths)


def test_nothing_was_lost(sensor: Sensor) -> None:
    """Runs behind those."""
    assert lost(sensor) == set()


def test_contents_that_pass_unseen_cost_nothing_else(sensor: Sensor, tmp_path: Path) -> None:
    """io_uring's splice from a socket: what it took is missing from what is received next, and known to be."""
    verdict = sensor.verdict(BY_NAME["sockets-uring-splice"].run(tmp_path).calls)
    assert verdict.exact, verdict.report() + sensor.log()
    assert verdict.unbound == []
    for match in verdict.matched:
        call, reported = match.call, match.transaction
        assert (reported["request_body_size"], reported["response_body_size"]) == (
            call.request_size,
            call.response_size,
        )
        assert reported["incomplete_reason"] in (None, REASON)
    assert len(verdict.incomplete) > 200
    assert lost(sensor) == UNSEEN


def test_contents_that_are_spliced_from_a_unix_socket(sensor: Sensor, tmp_path: Path) -> None:
    """Of which no tracepoint tells: they are what is missing of what the other end has sent, where the kernel says what
    waits in the queue (6.17). The last content of a connection whose end nobody reads is not known."""
    scenario = SPLICED_FROM_UNIX
    verdict = sensor.verdict(scenario.run(tmp_path).calls, seconds=3)
    assert verdict.wrong == [], verdict.report() + sensor.log()
    assert verdict.extra == [], verdict.report() + sensor.log()
    connections = scenario.concurrency * ceil(scenario.count / scenario.concurrency / KEPT_CALLS)
    known = 0
    for match in verdict.matched:
        call, reported = match.call, match.transaction
        sizes = (reported["request_body_size"], reported["response_body_size"])
        known += sizes == (call.request_size, call.response_size)
    assert verdict.expected - known <= 2 * connections, verdict.report()


def _unseen(call: Call, workers: int) -> tuple[bool, bool]:
    """Whether its request, and its response, passed by io_uring where the one who logged it was."""
    number = int(call.path.split("/")[2])
    bits = AT_TIMES[number // workers % KEPT_CALLS % len(AT_TIMES)]
    sent, received = bool(bits & 1), bool(bits & 2)
    return (sent, received) if call.role == "client" else (received, sent)


def test_whole_messages_that_pass_unseen_cost_no_others(tmp_path: Path) -> None:
    """The back end of old kernels sees none of io_uring: amid a connection a request, a response, or both."""
    scenario = BY_NAME["sockets-uring-at-times"]
    with Sensor(settings=["capture.backend=syscall"]) as running:
        calls = scenario.run(tmp_path).calls
        seen = [call for call in calls if not _unseen(call, scenario.concurrency)[0]]
        verdict = running.verdict(seen)
        assert verdict.exact, verdict.report() + running.log()
        assert verdict.unbound == []

        def affected(match: Match) -> bool:
            return _unseen(match.call, scenario.concurrency)[1]

        for match in verdict.matched:
            reported = match.transaction
            assert reported["incomplete_reason"] == (REASON if affected(match) else None), reported
            assert reported["status"] == (None if affected(match) else match.call.status)
        assert sum(map(affected, verdict.matched)) > 120
        assert lost(running) == UNSEEN
