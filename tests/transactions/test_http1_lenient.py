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

    method: bytes | None = b"GET"
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
    "lengths that agree": (
        b"GET /p HTTP/1.1\r\nContent-Length: 3\r\nHost: h\r\ncontent-length:3 \r\nX: y\r\n\r\nabc",
        OK,
        ["repeated-content-length"],
        Told(
            request=((b"Content-Length", b"3"), (b"Host", b"h"), (b"content-length", b"3"), (b"X", b"y")), body=b"abc"
        ),
    ),
    "lengths that agree in one line": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc",
        OK,
        ["repeated-content-length"],
        Told(request=((b"Host", b"h"), (b"Content-Length", b"3, 3")), body=b"abc"),
    ),
    "lengths that agree in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        ["repeated-content-length"],
        Told(response=((b"Content-Length", b"2"), (b"Content-Length", b"2"))),
    ),
    "a tab behind the coding": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked \t\r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK,
        ["tab-behind-coding"],
        Told(request=((b"Host", b"h"), (b"Transfer-Encoding", b"chunked")), body=b"a"),
    ),
    "a tab behind the coding of a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ["tab-behind-coding"],
        Told(response=((b"Transfer-Encoding", b"chunked"),)),
    ),
    "blanks behind the coding": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked  \r\n\r\n1\r\na\r\n0\r\n\r\n",
        OK,
        [],
        Told(request=((b"Host", b"h"), (b"Transfer-Encoding", b"chunked")), body=b"a"),
    ),
    "a blank behind the size of a chunk": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\t\r\n\r\n",
        OK,
        ["space-behind-chunk-size"],
        Told(request=((b"Host", b"h"), (b"Transfer-Encoding", b"chunked")), body=b"a"),
    ),
    "a blank behind the size of a chunk in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1 \r\nk\r\n0\r\nX: y\r\n\r\n",
        ["space-behind-chunk-size"],
        Told(response=((b"Transfer-Encoding", b"chunked"),)),
    ),
    "blanks around extensions, where the grammar has them": (
        PLAIN,
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1 ; a = b;c\r\no\r\n1; d="e f" \r\nk\r\n0;z \r\n\r\n',
        [],
        Told(response=((b"Transfer-Encoding", b"chunked"),)),
    ),
    "line feeds alone between chunks": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\n0\n\n",
        ["bare-line-feed"],
        Told(response=((b"Transfer-Encoding", b"chunked"),)),
    ),
    "an odd head and odd chunks": (
        b"POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n1\r\na\r\n2 \r\n\r\n\r\n0\r\n\r\n",
        OK,
        ["space-before-colon", "space-behind-chunk-size"],
        Told(method=b"POST", request=((b"Host", b"h"), (b"Transfer-Encoding", b"chunked")), body=b"a\r\n"),
    ),
    "no Host": (
        b"GET /p HTTP/1.1\r\nX: y\r\n\r\n",
        OK,
        ["missing-host"],
        Told(authority=None, request=((b"X", b"y"),)),
    ),
    "no Host, of HTTP/1.0, which has none": (
        b"GET /p HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        OK,
        [],
        Told(authority=None, request=((b"Connection", b"keep-alive"),)),
    ),
    "a line without a colon": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nX\r\nY: z\r\n\r\n",
        OK,
        ["malformed-field"],
        Told(request=((b"Host", b"h"), (b"X", b""), (b"Y", b"z"))),
    ),
    "a line without a name": (
        b"GET /p HTTP/1.1\r\n: x\r\nHost: h\r\n\r\n",
        OK,
        ["malformed-field"],
        Told(request=((b"", b"x"), (b"Host", b"h"))),
    ),
    "names of other characters, among lengths that agree": (
        b"GET /p HTTP/1.1\r\nContent-Length: 1\r\nX Y : a\r\nContent-Length: 1\r\n(z): b\r\nHost: h\r\n\r\n!",
        OK,
        ["space-before-colon", "malformed-field", "repeated-content-length"],
        Told(
            request=(
                (b"Content-Length", b"1"),
                (b"X Y", b"a"),
                (b"Content-Length", b"1"),
                (b"(z)", b"b"),
                (b"Host", b"h"),
            ),
            body=b"!",
        ),
    ),
    "a control character in a value": (
        b"GET /p HTTP/1.1\r\nHost: h\r\nX: a\x01\x7fb\0 \r\n\r\n",
        OK,
        ["malformed-field"],
        Told(request=((b"Host", b"h"), (b"X", b"a\x01\x7fb\0"))),
    ),
    "a length in disguise is none": (
        b"GET /p HTTP/1.1\r\nContent-Length\x0b: 30\r\nHost: h\r\n\r\n",
        OK,
        ["malformed-field"],
        Told(request=((b"Content-Length\x0b", b"30"), (b"Host", b"h"))),
    ),
    "a malformed line in a response": (
        PLAIN,
        b"HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok",
        ["malformed-field"],
        Told(response=((b"X Y", b"z"), (b"Content-Length", b"2"))),
    ),
    "a method that llhttp does not know": (
        b"BASELINE-CONTROL /p HTTP/1.1\r\nHost: h\r\n\r\n",
        OK,
        [],
        Told(method=b"BASELINE-CONTROL"),
    ),
    "a method of WebDAV": (
        b"PROPFIND /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        OK,
        [],
        Told(method=b"PROPFIND", request=((b"Host", b"h"), (b"Content-Length", b"2")), body=b"ab"),
    ),
    "a method of one's own, with content": (
        b"GETX /p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        OK,
        [],
        Told(method=b"GETX", request=((b"Host", b"h"), (b"Content-Length", b"2")), body=b"ab"),
    ),
    "a blank in the target": (
        b"GET /p;cat /etc/passwd|?a=b c HTTP/1.1\r\nHost: h\r\n\r\n",
        OK,
        ["malformed-target"],
        Told(target=b"/p;cat /etc/passwd|?a=b c"),
    ),
    "a target without its slash": (
        b"POST ./p HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab",
        OK,
        ["malformed-target"],
        Told(method=b"POST", target=b"./p", request=((b"Host", b"h"), (b"Content-Length", b"2")), body=b"ab"),
    ),
    "a target that is a word": (b"GET p HTTP/1.1\r\nHost: h\r\n\r\n", OK, ["malformed-target"], Told(target=b"p")),
    "a target that is a query": (
        b"GET ?a=b HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n",
        OK,
        ["malformed-target"],
        Told(target=b"?a=b", request=((b"Host", b"h"), (b"Connection", b"keep-alive"))),
    ),
    "a target of words that are not ASCII": (
        "GET p é q HTTP/1.1\nHost: h\n\n".encode(),
        OK,
        ["bare-line-feed", "non-ascii-target", "malformed-target"],
        Told(target="p é q".encode()),
    ),
    "all of it": (
        "BREW /é HTTP/1.1\nHost : h\nX: a\n b\nContent-Length: 0\nContent-Length: 0\n\n".encode(),
        OK,
        ["bare-line-feed", "non-ascii-target", "space-before-colon", "folded-field", "repeated-content-length"],
        Told(
            method=b"BREW",
            target="/é".encode(),
            request=((b"Host", b"h"), (b"X", b"a b"), (b"Content-Length", b"0"), (b"Content-Length", b"0")),
        ),
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
    assert Told(request.method, request.target, request.authority, *headers, request.body, response.body) == told
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


BEFORE = {
    "without content": b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n",
    "with a length": b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\na\r\n\r\nGET ",
    "chunked": b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n\r\n\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
    "as odd": b"GET /b HTTP/1.1\nHost : h\n\n",
    "two, and an empty line": b"GET /b HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 1\r\n\r\nx\r\n",
}
"""Requests before one that is put right, in the same call."""


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] != PLAIN])
def test_behind_another_message_in_the_same_call(case: str, before: str) -> None:
    request, response, anomalies, told = CASES[case]
    first = BEFORE[before]
    number = first.count(b" HTTP/1.1")
    whole = first + request + PLAIN
    answers: Call = (RECEIVE, OK * number + response + OK)
    for cut in (0, *range(1, len(whole), 1 if before == "with a length" else 7)):
        sensor = seen([(SEND, piece) for piece in (whole[:cut], whole[cut:]) if piece] + [answers])
        assert [one.incomplete_reason for one in sensor.out] == [None] * (number + 4), cut
        _, *_, found, plain, _ = sensor.out
        assert (found.anomalies, found.request.method, found.request.body) == (anomalies, told.method, told.body)
        assert (found.request.target, tuple(found.request.headers or ())) == (told.target, told.request)
        assert (plain.anomalies, plain.request.target, plain.request.method) == ([], b"/p", b"GET")
        assert sensor.balanced()


def test_odd_responses_behind_others_in_the_same_call() -> None:
    odd = b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"
    sensor = seen([(SEND, PLAIN * 4), (RECEIVE, OK + odd + OK + odd)])
    assert [one.incomplete_reason for one in sensor.out] == [None] * 6
    assert [one.anomalies for one in sensor.out[1:5]] == [[], ["bare-line-feed"], [], ["bare-line-feed"]]
    assert [one.response.body for one in sensor.out[1:5] if one.response] == [b"ok"] * 4


@pytest.mark.parametrize(
    "odd",
    [
        b"GET /p HTTP/1.1\nHost: h\n\n",
        b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n",
        b"POST /p HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_how_many_in_one_call_are_read_around_the_parser_is_bounded(odd: bytes) -> None:
    for number, reasons in ((32, {None}), (5000, {None, "parse_error"})):
        sensor = Sensor()
        sensor.open(from_start=True)
        sensor.calls([(SEND, odd * number), (RECEIVE, OK * number)])
        sensor.close()
        assert {one.incomplete_reason for one in sensor.out} == reasons
        assert len(sensor.out) == min(number, 33)
        assert sensor.balanced()
        assert sensor.count(Count.FLOWS_FAILED) == 0


@pytest.mark.parametrize("case", CASES)
def test_it_may_be_the_first_of_its_connection(case: str) -> None:
    request, response, anomalies, told = CASES[case]
    cuts = [[request], [bytes((octet,)) for octet in request]]
    for pieces in cuts + [[request[:cut], request[cut:]] for cut in range(1, len(request))]:
        sensor = Sensor()
        sensor.open(from_start=True)
        sensor.calls([*((SEND, piece) for piece in pieces), (RECEIVE, response)])
        (found,) = sensor.out
        assert (found.incomplete_reason, found.anomalies) == (None, anomalies), pieces
        assert (found.request.method, found.request.target) == (told.method, told.target)
        assert sensor.count(Count.NOT_HTTP_BYTES) == 0


def test_lengths_that_differ_are_refused_whatever_else_is_odd() -> None:
    for lengths in (b"Content-Length: 3\r\nContent-Length: 4", b"Content-Length: 3, 4", b"Content-Length: 3,"):
        for end in (b"\r\n\r\n", b"\n\n"):
            head = b"POST /p HTTP/1.1\r\nHost: h\r\n" + lengths + end + b"abc"
            for pieces in ([head], [bytes((octet,)) for octet in head]):
                calls: list[Call] = [(SEND, piece) for piece in pieces]
                sensor = seen([*calls, (RECEIVE, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")])
                assert [one.incomplete_reason for one in sensor.out] == [None, "parse_error", None], (head, pieces)
                assert sensor.balanced()


def test_what_cannot_be_put_right_is_refused_still() -> None:
    for head in (
        b"GET /p HTTP/1.1\r\n folded\r\n\r\n",
        b"GET /p HTTP/1.1\nX: a\rb\n\n",
        b"GET /p HTTP/1.1\r\nX : y\r\na\rb\r\n\r\n",
        b"GET /p HTTP/1.1\r\nContent-Length: \x0b3\r\n\r\n",
        b"GET /p HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
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


@pytest.mark.parametrize(
    "content",
    [
        b"x\r\n",
        b"\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"1\ra\r\n",
        b"1" * 17 + b"\r\n",
        b"0\r\nx\r\n\r\n",
    ],
)
def test_what_is_not_in_chunks_is_refused(content: bytes) -> None:
    head = b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for pieces in ([head + content], [head, content], [head[:9], head[9:] + content[:1], content[1:]]):
        calls: list[Call] = [(SEND, piece) for piece in pieces]
        sensor = seen([*calls, (RECEIVE, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")])
        assert [one.incomplete_reason for one in sensor.out] == [None, "parse_error", None]
        assert sensor.count(Count.PARSE_ERRORS) == 1
        assert sensor.balanced()


def test_a_line_without_end_between_chunks_is_bounded() -> None:
    sensor = seen([(SEND, b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;"), *[(SEND, b"a" * 1000)] * 20])
    sensor.close()
    assert "parse_error" in [one.incomplete_reason for one in sensor.out]
    assert sensor.count(Count.PARSE_ERRORS) == 1
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
