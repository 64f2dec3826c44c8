"""Every parser of what peers send, through the whole analysis: whole, byte by byte, cut anywhere, with bytes missing.

However bytes come, the same is told. Where some are missing, what is told is what was there or says why it is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.inspector import Inspector
from apisensor.protocols import anomalies
from apisensor.protocols.counted import Passed
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_h11 import ENGINE as H11
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from apisensor.transactions.counts import Count
from apisensor.transactions.model import Exchange
from tests.content.dialogues import DIALOGUES
from tests.transactions.conversation import Call, Sensor

Outcome = dict[str, Any]

_COUNTED = {
    "gRPC",
    "gRPC, compressed",
    "gRPC, trailers alone",
    "gRPC-Web",
    "gRPC-Web, text",
    "WebSocket",
    "WebSocket, compressed",
    "events",
}
_SPOKEN = _COUNTED | {"GraphQL", "JSON-RPC", "MCP", "SOAP", "form", "multipart"}


def outcome(found: Exchange) -> Outcome:
    """All that is told of an exchange, times left out."""
    request, response = found.request, found.response
    insight = Inspector().inspect(found)
    spoken = [] if insight.operations is None else insight.operations.spoken
    said: Outcome = {
        "protocol": found.protocol,
        "stream": found.stream_id,
        "method": request.method,
        "target": request.target,
        "authority": request.authority,
        "reason": found.incomplete_reason,
        "anomalies": sorted(found.anomalies),
        "spoken": [(one.protocol, one.kind, one.name, tuple(one.fields), one.error, one.reason) for one in spoken],
        "sensitive": sorted((one.kind, one.place, one.count) for one in insight.sensitive),
    }
    for name, message in (("request", request), ("response", response)):
        said |= {
            f"{name}.headers": message and message.headers,
            f"{name}.trailers": message and message.trailers,
            f"{name}.size": message and message.body_size,
            f"{name}.body": message and message.body,
            f"{name}.messages": message and message.messages,
        }
    return said | {"status": response and response.status}


def heard(calls: Iterable[tuple[Any, bytes, bool]], engine: Engine = LLHTTP) -> list[Outcome]:
    sensor = Sensor(http1=engine)
    sensor.open(from_start=True)
    for way, data, first in calls:
        sensor.call(way, data, call_start=first)
    sensor.close()
    assert sensor.balanced()
    assert sensor.count(Count.FLOWS_FAILED) == 0
    return [outcome(found) for found in sensor.out]


def whole(calls: list[Call]) -> list[Outcome]:
    return heard((way, data, True) for way, data in calls)


@pytest.mark.parametrize("name", DIALOGUES)
def test_whole_is_complete_and_says_what_was_spoken(name: str) -> None:
    found = whole(DIALOGUES[name]())
    assert found
    assert {one["reason"] for one in found} == {None}
    assert any(one["spoken"] for one in found) == (name in _SPOKEN)
    assert any(one["response.messages"] for one in found) == (name in _COUNTED)
    assert all(passed.reason is None for one in found if (passed := one["response.messages"]) is not None)


def test_trailers_alone_have_the_status_of_a_call() -> None:
    (found,) = whole(DIALOGUES["gRPC, trailers alone"]())
    assert found["spoken"] == [("grpc", None, b"s.S/M", (), b"PERMISSION_DENIED", None)]
    assert found["response.messages"] == Passed("grpc", 0, 0, 0, 0)
    assert (found["response.trailers"], found["response.size"]) == ([], 0)


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_h11_says_the_same(name: str, size: int) -> None:
    calls = DIALOGUES[name]()
    pieces = [(way, data[at : at + size], not at) for way, data in calls for at in range(0, len(data), size)]
    assert heard(pieces, H11) == whole(calls)


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize("apart", [True, False])
def test_byte_by_byte(name: str, apart: bool) -> None:
    """As one call or as many."""
    calls = DIALOGUES[name]()
    assert whole(calls) == heard(
        (way, bytes((octet,)), apart or not at) for way, data in calls for at, octet in enumerate(data)
    )


@pytest.mark.parametrize("name", DIALOGUES)
def test_every_split_point(name: str) -> None:
    calls = DIALOGUES[name]()
    expected = whole(calls)
    for number, (way, data) in enumerate(calls):
        for at in range(1, len(data)):
            cut = [(way, data[:at], True), (way, data[at:], False)]
            before, behind = calls[:number], calls[number + 1 :]
            found = heard([*((*call, True) for call in before), *cut, *((*call, True) for call in behind)])
            assert found == expected, (number, at)


LOSSES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300), st.integers(1, 200)), min_size=1, max_size=3)


@pytest.mark.parametrize("name", DIALOGUES)
@settings(max_examples=50, deadline=None)
@given(losses=LOSSES, said=st.booleans())
def test_random_gaps(name: str, losses: list[tuple[int, int, int]], said: bool) -> None:
    calls = DIALOGUES[name]()
    holes = {number % len(calls): (begin, length) for number, begin, length in losses}
    sensor = Sensor()
    sensor.open(from_start=True)
    for number, (way, data) in enumerate(calls):
        begin, length = holes.get(number, (len(data), 0))
        begin = min(begin, len(data) - 1) if length else begin
        end = min(begin + length, len(data))
        if begin:
            sensor.call(way, data[:begin])
        last = all(other is not way for other, _ in calls[number + 1 :])  # then nothing that follows would show it
        if end > begin and (said or last):
            sensor.gap(way, end - begin)
        else:
            sensor.position[way] += end - begin
        if end < len(data):
            sensor.call(way, data[end:], call_start=end == 0)
    sensor.close()
    assert sensor.balanced()
    assert sensor.count(Count.FLOWS_FAILED) == 0
    truths = whole(calls)
    told = [outcome(found) for found in sensor.out]
    assert len(told) <= len(truths)
    left = list(truths)
    for one in sorted(told, key=lambda one: one["target"] is None):
        fitting = [truth for truth in left if _agrees(one, truth)]
        assert fitting, one
        left.remove(fitting[0])


_SURE = ("stream", "method", "target", "authority", "status")


@pytest.mark.parametrize("name", DIALOGUES)
def test_joined_anywhere(name: str) -> None:
    """At every call, and inside of each: nothing is told that was not, and at most what the reason names is missing."""
    calls = DIALOGUES[name]()
    truths = whole(calls)
    for number, (way, data) in enumerate(calls):
        for at in sorted({0, 1, len(data) // 3, len(data) // 2, len(data) - 1}):
            sensor = Sensor()
            sensor.open()
            if at < len(data):
                sensor.call(way, data[at:], call_start=not at)
            sensor.calls(calls[number + 1 :])
            sensor.close()
            assert sensor.balanced()
            left = list(truths)
            for one in map(outcome, sensor.out):
                fitting = [truth for truth in left if _agrees(one, truth)]
                assert fitting, (number, at, one)
                left.remove(fitting[0])


def _agrees(found: Outcome, truth: Outcome) -> bool:
    """Whether what is told is true, as far as anything is told."""
    if found["reason"] is None:
        if found["anomalies"] != [anomalies.UNKNOWN_FIELD]:
            return found == truth
        # Only fields are unknown, which stand in a table from before the hole.
        return all(found[name] in (None, truth[name]) for name in (*_SURE, "request.body", "response.body"))
    known = all(found[name] in (None, truth[name]) for name in _SURE)
    counted = all(_counted(found[side], truth[side]) for side in ("request.messages", "response.messages"))
    names = [(kind, name) for kind, _, name, *_ in truth["spoken"]]
    spoken = all((one[0], one[2]) in names or one[5] is not None or one[2] is None for one in found["spoken"])
    return known and counted and spoken and all(_part(found, truth, side) for side in ("request", "response"))


def _part(found: Outcome, truth: Outcome, side: str) -> bool:
    """Whether the body told is a part of the true one. A WebSocket's is its text, without what is missing."""
    if found["protocol"] == "websocket":
        return True
    body, whole = found[f"{side}.body"] or b"", truth[f"{side}.body"] or b""
    return body in whole and (found[f"{side}.size"] or 0) <= (truth[f"{side}.size"] or 0)


def _counted(found: Passed | None, truth: Passed | None) -> bool:
    if found is None or found.count is None:
        return True
    if truth is None or truth.count is None:
        return False
    if found.reason is not None:
        return found.count <= truth.count
    return found in (truth, msgspec.structs.replace(truth, close_code=None))  # the hole may lie in the close frame
