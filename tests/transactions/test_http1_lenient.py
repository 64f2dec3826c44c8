"""Heads that are not what the RFC says and that servers accept: read as they read them, each with its anomaly."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.transactions.analyzer import Count
from tests.transactions.conversation import RECEIVE, SEND, Call, Sensor, http1_calls, http1_truth

PLAIN = b"GET /p HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Told(msgspec.Struct, frozen=True):
    """What an exchange says of a head that was put right."""

    target: bytes | None = b"/p"
    authority: bytes | None = b"h"
    request: tuple[tuple[bytes | None, bytes | None], ...] = ((b"Host", b"h"),)
    response: tuple[tuple[bytes | None, bytes | None], ...] = ((b"Content-Length", b"2"),)
    body: bytes = b""
    answer: bytes = b"ok"


CASES: dict[str, tuple[bytes, bytes, list[str], Told]] = {
    "line feeds alone": (b"GET /p HTTP/1.1\nHost: h\n\n", OK, ["bare-line-feed"], Told()),
    "one line feed alone": (
        b"GET /p HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
        OK,
        ["bare-line-feed"],
        Told(request=((b"Host", b"h"), (b"X", b"y"))),
    ),
    "an empty line without CR": (b"GET /p HTTP/1.1\r\nHost: h\r\n\n", OK, ["bare-line-feed"], Told()),
    "line feeds alone in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        ["bare-line-feed"],
        Told(),
    ),
    "a folded field": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nX: a\r\n\t b\r\n c\r\n\r\n",
        OK,
        ["folded-field"],
        Told(request=((b"Host", b"h"), (b"X", b"a b c"))),
    ),
    "a folded field in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        ["folded-field"],
        Told(response=((b"X", b"a b"), (b"Content-Length", b"2"))),
    ),
    "a blank before the colon": (b"GET /p HTTP/1.1\r\nHost : h\r\n\r\n", OK, ["space-before-colon"], Told()),
    "a blank before the colon of the length": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nContent-Length \t: 3\r\n\r\nabc",
        OK,
        ["space-before-colon"],
        Told(request=((b"Host", b"h"), (b"Content-Length", b"3")), body=b"abc"),
    ),
    "a blank before the colon of the coding": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK,
        ["space-before-colon"],
        Told(request=((b"Host", b"h"), (b"Transfer-Encoding", b"chunked")), body=b"a"),
    ),
    "a blank before the colon in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
        ["space-before-colon"],
        Told(),
    ),
    "a target that is not ASCII": (
        "GET /p/é?q=ü HTTP/1.1\r\nHost: h\r\n\r\n".encode(),
        OK,
        ["non-ascii-target"],
        Told(target="/p/é?q=ü".encode()),
    ),
    "all of it": (
        "GET /é HTTP/1.1\nHost : h\nX: a\n b\n\n".encode(),
        OK,
        ["bare-line-feed", "non-ascii-target", "space-before-colon", "folded-field"],
        Told(target="/é".encode(), request=((b"Host", b"h"), (b"X", b"a b"))),
    ),
}


def seen(calls: list[Call]) -> Sensor:
    """The calls, between two ordinary exchanges; so the connection is in step."""
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(http1_calls([http1_truth(0)]))
    for way, data in calls:
        sensor.call(way, data, call_start=False)
    sensor.calls(http1_calls([http1_truth(1)]))
    return sensor


def check(sensor: Sensor, anomalies: list[str], told: Told) -> None:
    before, found, after = sensor.out
    assert [one.incomplete_reason for one in sensor.out] == [None, None, None]
    assert (before.anomalies, found.anomalies, after.anomalies) == ([], anomalies, [])
    request, response = found.request, found.response
    assert response is not None
    headers = tuple(request.headers or ()), tuple(response.headers or ())
    assert Told(request.target, request.authority, *headers, request.body, response.body) == told
    assert sensor.balanced()


@pytest.mark.parametrize("case", CASES)
def test_whole(case: str) -> None:
    request, response, anomalies, told = CASES[case]
    check(seen([(SEND, request), (RECEIVE, response)]), anomalies, told)


@pytest.mark.parametrize("case", CASES)
def test_byte_by_byte(case: str) -> None:
    request, response, anomalies, told = CASES[case]
    calls = [(way, bytes((octet,))) for way, data in ((SEND, request), (RECEIVE, response)) for octet in data]
    check(seen(calls), anomalies, told)


@pytest.mark.parametrize("case", CASES)
def test_every_split_point(case: str) -> None:
    request, response, anomalies, told = CASES[case]
    for cut in range(1, len(request)):
        check(seen([(SEND, request[:cut]), (SEND, request[cut:]), (RECEIVE, response)]), anomalies, told)
    for cut in range(1, len(response)):
        check(seen([(SEND, request), (RECEIVE, response[:cut]), (RECEIVE, response[cut:])]), anomalies, told)


def test_what_cannot_be_put_right_is_refused_still() -> None:
    for head in (
        b"GET /p HTTP/1.1\r\n folded\r\n\r\n",
        b"GET /p HTTP/1.1\nno field\n\n",
        b"GET /p HTTP/1.1\r\nX : y\r\nno field\r\n\r\n",
    ):
        sensor = seen([(SEND, head), (RECEIVE, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")])
        assert [one.incomplete_reason for one in sensor.out] == [None, "parse_error", None]
        assert sensor.balanced()


def test_a_head_that_is_never_complete_is_bounded_and_ends_with_its_flow() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(http1_calls([http1_truth(0)]))
    sensor.call(SEND, b"GET /p HTTP/1.1\nHost: h\n", call_start=False)
    for _ in range(40):
        sensor.call(SEND, b"X: " + b"y" * 1000 + b"\n", call_start=False)
    sensor.close()
    assert [one.incomplete_reason for one in sensor.out] == [None, "parse_error"]
    assert sensor.balanced()

    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(http1_calls([http1_truth(0)]))
    sensor.call(SEND, b"GET /p HTTP/1.1\nHost: h\n", call_start=False)
    sensor.close()
    assert [one.incomplete_reason for one in sensor.out] == [None, "request_not_finished"]
    assert sensor.balanced()


def test_out_of_step_nothing_is_put_right() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /p HTTP/1.1\r\nHost : h\r\n\r\n")
    assert sensor.out == []


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(CASES)),
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from([b"\n", b"\r\n", b" ", b":", b"\xe9", b"\x00", b"x"])),
        max_size=3,
    ),
    st.lists(st.integers(1, 200), max_size=5),
)
def test_whatever_is_in_a_head_no_exchange_is_lost_or_invented(
    case: str, changes: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    request, response, _, _ = CASES[case]
    for at, octets in changes:
        request = request[: at % len(request)] + octets + request[at % len(request) :]
    ends = sorted({0, len(request), *(cut % len(request) for cut in cuts)})
    calls: list[Call] = [(SEND, request[a:b]) for a, b in itertools.pairwise(ends)]
    sensor = seen([*calls, (RECEIVE, response)])
    sensor.close()
    assert sensor.balanced()
    assert sensor.count(Count.FLOWS_FAILED) == 0
