"""Whatever raises inside an engine, and whenever: the flow is given up, and each request that began is emitted once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from apisensor import compiled
from apisensor.events.model import Cause, Direction, End
from apisensor.transactions.analyzer import Count, Limits
from apisensor.transactions.http1_pairing import Http1Pairing
from apisensor.transactions.http2_pairing import Http2Pairing
from apisensor.transactions.model import INCOMPLETE_REASONS
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Http2Peers,
    Sensor,
    http1_calls,
    http1_request,
    http1_truth,
    http2_truth,
)
from tests.versioned import PROJECT


def http1(sensor: Sensor) -> None:
    """Calls, a loss, pipelined requests, a request without an end."""
    sensor.calls(http1_calls([http1_truth(0), http1_truth(1, method=b"POST", body=30, chunked=True)]))
    sensor.calls(http1_calls([http1_truth(2, method=b"HEAD")]))
    sensor.call(SEND, http1_request(http1_truth(3)))
    sensor.gap(RECEIVE, 40)
    sensor.call(RECEIVE, b"no message")
    sensor.calls(http1_calls([http1_truth(4)]))
    sensor.call(SEND, http1_request(http1_truth(5)) + http1_request(http1_truth(6)))
    sensor.call(SEND, http1_request(http1_truth(7, method=b"PUT", body=100))[:-50])
    sensor.gap(SEND, 10, Cause.NOT_IN_USER_MEMORY)


def http2(sensor: Sensor) -> None:
    """Concurrent streams, a loss, a reset, a stream without an end."""
    peers = Http2Peers()
    truths = [http2_truth(n, body=30 * (n % 2)) for n in range(7)]
    streams = [peers.request(truth) for truth in truths[:5]]
    peers.flush()
    for stream, truth in list(zip(streams, truths, strict=False))[:3]:
        peers.respond(stream, truth)
    peers.flush()
    peers.client.reset_stream(streams[3])
    peers.flush()
    sensor.calls(peers.calls)
    del peers.calls[:]
    sensor.gap(RECEIVE, 40)
    peers.request(truths[5])
    peers.flush()
    sensor.calls(peers.calls)


TALKS: list[tuple[type, Callable[[Sensor], None]]] = [(Http1Pairing, http1), (Http2Pairing, http2)]


def hear(talk: Callable[[Sensor], None], *, tls: bool, idle: bool) -> Sensor:
    """A whole conversation on one flow, to its end, and an untroubled one on another."""
    sensor = Sensor(Limits(idle_ns=1_000_000_000))
    if not tls:
        sensor.open(from_start=True)
    talk(sensor)
    if idle:
        sensor.now += 2_000_000_000
        sensor.out += sensor.analyzer.expire(sensor.now)
    sensor.feed(End(sensor.tick(), 7, 1, SEND), End(sensor.tick(), 7, 1, RECEIVE))
    sensor.close()
    return sensor


def check(sensor: Sensor) -> None:
    assert sensor.balanced()
    assert {found.incomplete_reason for found in sensor.out} <= {None, *INCOMPLETE_REASONS}
    incomplete = sum(found.incomplete_reason is not None for found in sensor.out)
    assert sensor.count(Count.EXCHANGES_INCOMPLETE) == incomplete
    assert len(sensor.analyzer) == 0


@pytest.mark.parametrize(("engine", "talk"), TALKS)
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_an_engine_that_fails_at_each_event_and_cannot_be_closed(
    engine: type, talk: Callable[[Sensor], None], after: bool, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    fatal = 0

    def failing(method: Callable[..., None]) -> Callable[..., None]:
        def wrapped(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == fatal and not after:
                raise RuntimeError("a bug")
            method(*arguments)
            if calls == fatal:
                raise RuntimeError("a bug")

        return wrapped

    def close(*_: Any, **__: Any) -> None:
        raise RuntimeError("another bug")

    for name in ("data", "gap", "end"):
        monkeypatch.setattr(engine, name, failing(getattr(engine, name)))
    monkeypatch.setattr(engine, "close", close)
    hear(talk, tls=tls, idle=False)
    events, calls = calls, 0
    assert events > 8
    reasons = set()
    for at in range(1, events + 1):
        calls, fatal = 0, at
        sensor = hear(talk, tls=tls, idle=False)
        assert sensor.count(Count.FLOWS_FAILED) == 2  # the event, and the closing
        check(sensor)
        reasons |= {found.incomplete_reason for found in sensor.out}
    assert "parse_error" in reasons


def test_a_function_that_fails_at_each_of_its_calls() -> None:
    command = [sys.executable, "-m", "tests.transactions.failing_functions"]
    variables = os.environ | {compiled.PLAIN: "1"}
    done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr
    functions, failures = map(int, done.stdout.split())
    assert functions > 100
    assert failures > 500


def test_what_is_abandoned_says_whose_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug")

    for engine, direction, side in ((Http1Pairing, SEND, "client"), (Http1Pairing, RECEIVE, "server")):
        sensor = Sensor()
        sensor.open()
        sensor.call(Direction(direction), http1_request(http1_truth(5)))
        with monkeypatch.context() as patch:
            for name in ("data", "close"):
                patch.setattr(engine, name, fail)
            sensor.call(Direction(1 - direction), b"anything")
        (found,) = sensor.out
        assert (found.side, found.protocol, found.request.target) == (side, "http/1.1", b"/call/5?x=5")
        assert (found.connection, found.response, found.incomplete_reason) == (101, None, "parse_error")
