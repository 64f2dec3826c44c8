"""Expect: 100-continue (RFC 9110 section 10.1.1): a client that is refused need not send what it announced."""

from __future__ import annotations

import pytest

from apisensor.events.model import Cause, End
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_h11 import ENGINE as H11
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from tests.transactions.conversation import RECEIVE, SEND, Call, Sensor

HEAD = b"PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 20\r\n\r\n"
CODED = b"PUT /a HTTP/1.1\r\nHost: h\r\nexpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED = b"HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
GET = b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BODY = b"GET /quoted HTTP/1.1"
CHUNKS = b"14\r\n" + BODY + b"\r\n0\r\n\r\n"

Said = tuple[bytes | None, bytes | None, int | None, bytes]
PUT_NOT_SENT: Said = (b"PUT", b"/a", 417, b"")
GOT: Said = (b"GET", b"/b", 200, b"")

CASES: dict[str, tuple[list[Call], list[Said]]] = {
    "the next request": ([(SEND, HEAD), (RECEIVE, REFUSED), (SEND, GET), (RECEIVE, OK)], [PUT_NOT_SENT, GOT]),
    "the next request, chunked": ([(SEND, CODED), (RECEIVE, REFUSED), (SEND, GET), (RECEIVE, OK)], [PUT_NOT_SENT, GOT]),
    "refused again, and once more": (
        [(SEND, HEAD), (RECEIVE, REFUSED), (SEND, HEAD), (RECEIVE, REFUSED), (SEND, GET), (RECEIVE, OK)],
        [PUT_NOT_SENT, PUT_NOT_SENT, GOT],
    ),
    "the content all the same": (
        [(SEND, HEAD), (RECEIVE, REFUSED), (SEND, BODY), (SEND, GET), (RECEIVE, OK)],
        [(b"PUT", b"/a", 417, BODY), GOT],
    ),
    "the content all the same, chunked": (
        [(SEND, CODED), (RECEIVE, REFUSED), (SEND, CHUNKS), (SEND, GET), (RECEIVE, OK)],
        [(b"PUT", b"/a", 417, BODY), GOT],
    ),
    "the content after 100": (
        [(SEND, HEAD), (RECEIVE, CONTINUE), (SEND, BODY), (RECEIVE, OK), (SEND, GET), (RECEIVE, OK)],
        [(b"PUT", b"/a", 200, BODY), GOT],
    ),
    "refused after 100": (
        [(SEND, HEAD), (RECEIVE, CONTINUE + REFUSED), (SEND, GET[:20]), (SEND, GET), (RECEIVE, OK)],
        [(b"PUT", b"/a", 417, GET[:20]), GOT],
    ),
    "the content at once": (
        [(SEND, HEAD + BODY), (RECEIVE, OK), (SEND, GET), (RECEIVE, OK)],
        [(b"PUT", b"/a", 200, BODY), GOT],
    ),
    "refused, and closed": ([(SEND, HEAD), (RECEIVE, REFUSED)], [PUT_NOT_SENT]),
}


def seen(calls: list[Call], engine: Engine) -> Sensor:
    sensor = Sensor(http1=engine)
    sensor.open(from_start=True)
    sensor.calls(calls)
    return sensor


def said(calls: list[Call], engine: Engine = LLHTTP) -> list[Said]:
    sensor = seen(calls, engine)
    sensor.close()
    assert [(one.incomplete_reason, one.anomalies) for one in sensor.out] == [(None, [])] * len(sensor.out)
    assert sensor.balanced()
    requests = [(one.request, one.response) for one in sensor.out]
    return [(asked.method, asked.target, told.status, asked.body) for asked, told in requests if told is not None]


@pytest.mark.parametrize("engine", [LLHTTP, H11], ids=["llhttp", "h11"])
@pytest.mark.parametrize("case", CASES)
def test_whole_byte_by_byte_and_at_every_split_point(case: str, engine: Engine) -> None:
    calls, truth = CASES[case]
    assert said(calls, engine) == truth
    assert said([(way, bytes((octet,))) for way, data in calls for octet in data], engine) == truth
    for turn, (way, data) in enumerate(calls):
        for cut in range(1, len(data)):
            split: list[Call] = [*calls[:turn], (way, data[:cut]), (way, data[cut:]), *calls[turn + 1 :]]
            assert said(split, engine) == truth, (turn, cut)


def test_the_refused_request_is_told_when_it_is_known_to_be_over() -> None:
    sensor = seen([(SEND, HEAD), (RECEIVE, REFUSED)], LLHTTP)
    assert sensor.out == []
    sensor.call(SEND, GET)
    assert [one.request.target for one in sensor.out] == [b"/a"]
    sensor = seen([(SEND, HEAD), (RECEIVE, REFUSED)], LLHTTP)
    sensor.feed(End(sensor.tick(), 7, 1, SEND))
    assert [one.incomplete_reason for one in sensor.out] == [None]


def test_a_source_that_ends_tells_nothing_of_the_content() -> None:
    sensor = seen([(SEND, HEAD), (RECEIVE, REFUSED)], LLHTTP)
    sensor.out += sensor.analyzer.finish(sensor.tick())
    assert [one.incomplete_reason for one in sensor.out] == ["request_not_finished"]


def test_a_loss_behind_a_refusal_says_so() -> None:
    for begun in (b"", GET[:9]):
        sensor = seen([(SEND, HEAD), (RECEIVE, REFUSED)], LLHTTP)
        if begun:
            sensor.call(SEND, begun)
        sensor.gap(SEND, 10, Cause.RING_FULL)
        sensor.calls([(SEND, GET), (RECEIVE, OK)])
        assert [one.incomplete_reason for one in sensor.out] == ["ring_full", None]
        assert sensor.balanced()


def test_other_early_answers_wait_for_the_content() -> None:
    head = HEAD.replace(b"Expect: 100-continue\r\n", b"")
    sensor = seen([(SEND, head), (RECEIVE, REFUSED), (SEND, GET[:20]), (SEND, GET), (RECEIVE, OK)], LLHTTP)
    assert [one.request.body for one in sensor.out] == [GET[:20], b""]
