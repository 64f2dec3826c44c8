"""HTTP/1 conversations without loss: every exchange equals the truth, however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import End
from apisensor.protocols.http1_engine import Engine
from apisensor.protocols.http1_h11 import ENGINE as H11
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from apisensor.transactions.analyzer import Count
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Sensor,
    Truth,
    http1_calls,
    http1_request,
    http1_response,
    http1_truth,
    of_exchange,
)

ENGINES = pytest.mark.parametrize("engine", [LLHTTP, H11], ids=["llhttp", "h11"])

TRUTHS = [
    http1_truth(0),
    http1_truth(1, method=b"POST", body=50),
    http1_truth(2, method=b"PUT", body=300, answer=0),
    http1_truth(3, method=b"HEAD", answer=500),
    http1_truth(4, method=b"POST", body=40, answer=70, chunked=True),
    http1_truth(5),
]


def claims(sensor: Sensor) -> list[Truth]:
    assert [exchange.incomplete_reason for exchange in sensor.out] == [None] * len(sensor.out)
    assert sensor.balanced()
    return [of_exchange(exchange) for exchange in sensor.out]


def exchange(request: bytes, response: bytes, *more: Call) -> Sensor:
    sensor = Sensor()
    sensor.open()
    sensor.calls([(SEND, request), (RECEIVE, response), *more])
    return sensor


@ENGINES
@pytest.mark.parametrize("client", [SEND, RECEIVE])
def test_whole(client: object, engine: Engine) -> None:
    direction = SEND if client is SEND else RECEIVE
    sensor = Sensor(http1=engine)
    sensor.open()
    sensor.calls(http1_calls(TRUTHS, direction))
    assert claims(sensor) == TRUTHS
    side = "client" if direction is SEND else "server"
    assert {found.side for found in sensor.out} == {side}


@ENGINES
def test_byte_by_byte(engine: Engine) -> None:
    sensor = Sensor(http1=engine)
    sensor.open()
    for direction, data in http1_calls(TRUTHS):
        for octet in data:
            sensor.call(direction, bytes([octet]))
    assert claims(sensor) == TRUTHS


@ENGINES
def test_every_split_point(engine: Engine) -> None:
    for direction, data in http1_calls(TRUTHS):
        for cut in range(1, len(data)):
            sensor = Sensor(http1=engine)
            sensor.open()
            for way, whole in http1_calls(TRUTHS):
                if (way, whole) == (direction, data):
                    sensor.call(way, whole[:cut])
                    sensor.call(way, whole[cut:], call_start=False)
                else:
                    sensor.call(way, whole)
            assert claims(sensor) == TRUTHS, (data, cut)


@ENGINES
@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.builds(
            lambda n, body, answer, method, chunked: http1_truth(
                n,
                body=body if method != b"HEAD" else 0,
                answer=answer,
                method=method,
                chunked=chunked and method != b"HEAD",
            ),
            st.integers(0, 99),
            st.sampled_from([0, 1, 30]),
            st.sampled_from([0, 1, 40]),
            st.sampled_from([b"GET", b"POST", b"HEAD"]),
            st.booleans(),
        ),
        max_size=8,
    ),
    st.lists(st.integers(1, 80), min_size=1, max_size=10),
    st.booleans(),
)
def test_pipelined_and_cut_anywhere(engine: Engine, truths: list[Truth], sizes: list[int], answered_late: bool) -> None:
    """All requests, then all responses, or in step; in chunks that know nothing of messages."""
    requests = b"".join(data for way, data in http1_calls(truths) if way is SEND)
    responses = b"".join(data for way, data in http1_calls(truths) if way is RECEIVE)
    calls = [(SEND, requests), (RECEIVE, responses)] if answered_late else list(http1_calls(truths))
    sensor = Sensor(http1=engine)
    sensor.open()
    turn = 0
    for direction, data in calls:
        begin = 0
        while begin < len(data):
            size = sizes[turn % len(sizes)]
            turn += 1
            sensor.call(direction, data[begin : begin + size], call_start=begin == 0)
            begin += size
    assert claims(sensor) == truths


def test_a_thousand_pipelined_requests() -> None:
    truths = [http1_truth(number, method=(b"GET", b"POST")[number % 2], body=number % 2 * 10) for number in range(1000)]
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"".join(map(http1_request, truths)))
    assert sensor.count(Count.REQUESTS_BEGUN) == 1000
    sensor.call(RECEIVE, b"".join(map(http1_response, truths)))
    assert claims(sensor) == truths


def test_informational_responses_come_before_the_final_one() -> None:
    sensor = exchange(
        http1_request(TRUTHS[1]),
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + http1_response(TRUTHS[1]),
    )
    assert claims(sensor) == [TRUTHS[1]]


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_content(status: int) -> None:
    sensor = exchange(
        b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 %d X\r\nContent-Length: 10\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" % status,
    )
    assert [claim.status for claim in claims(sensor)] == [status, 200]


def test_blanks_around_a_value_are_no_part_of_it() -> None:
    sensor = exchange(
        b"GET / HTTP/1.1\r\nhost: \t service \t\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0 \r\n\r\n"
    )
    (found,) = sensor.out
    assert found.request.authority == b"service"
    assert found.request.headers == [(b"host", b"service")]
    assert found.response is not None
    assert found.response.headers == [(b"content-length", b"0")]


def test_trailers_and_body_size_without_transfer_coding() -> None:
    sensor = exchange(
        b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nabcd\r\n0\r\nX-T: 1\r\nX-U: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 9\r\n\r\n",
    )
    claims(sensor)
    assert sensor.out[0].request.trailers == [(b"X-T", b"1"), (b"X-U", b"2")]
    assert sensor.out[0].response
    assert sensor.out[0].response.trailers == [(b"X-Sum", b"9")]


@pytest.mark.parametrize("by", ["end", "close"])
def test_a_body_that_lasts_until_the_end(by: str) -> None:
    sensor = exchange(b"GET /a HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nabc", (RECEIVE, b"def"))
    assert sensor.out == []
    if by == "end":
        sensor.feed(End(sensor.tick(), 7, 1, RECEIVE))
    else:
        sensor.close()
    assert claims(sensor)[0].response_body == b"abcdef"
    assert sensor.out[0].protocol == "http/1.0"


def test_a_source_that_ends_completes_no_body() -> None:
    sensor = exchange(b"GET /a HTTP/1.0\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\nabc")
    sensor.out += sensor.analyzer.finish(sensor.tick())
    assert [found.incomplete_reason for found in sensor.out] == ["response_not_finished"]


def test_absolute_form() -> None:
    sensor = exchange(
        b"GET http://example.org:81?a=b HTTP/1.1\r\n\r\nGET HTTPS://u@h/p HTTP/1.1\r\nHost: other\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2,
    )
    claims(sensor)
    first, second = (found.request for found in sensor.out)
    assert (first.scheme, first.authority, first.target) == (b"http", b"example.org:81", b"/?a=b")
    assert (second.scheme, second.authority, second.target) == (b"https", b"u@h", b"/p")
    assert [found.anomalies for found in sensor.out] == [["missing-host"], ["host-differs-from-target"]]


@pytest.mark.parametrize(
    ("line", "host", "authority", "differs"),
    [
        (b"GET http://h/ ", b"h", b"h", False),
        (b"GET http://H:80/ ", b"h", b"H:80", False),
        (b"GET http://h/ ", b"h:80", b"h", False),
        (b"GET http://h:81/ ", b"h:80", b"h:81", True),
        (b"GET http://[::1]/ ", b"[::1]:80", b"[::1]", False),
        (b"GET http://evil/ ", b"h", b"evil", True),
        (b"GET http:///p ", b"h", b"h", False),
        (b"GET /http://evil/ ", b"h", b"h", False),
        (b"CONNECT h:443 ", b"h", b"h:443", False),
        (b"CONNECT h:443 ", b"i:443", b"h:443", True),
    ],
)
def test_what_the_target_names_counts_and_host_does_not(
    line: bytes, host: bytes, authority: bytes, differs: bool
) -> None:
    """RFC 9112 sections 3.2.2 and 3.3."""
    request = line + b"HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
    sensor = exchange(request, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert (found.request.authority, found.incomplete_reason) == (authority, None)
    assert found.anomalies == ["host-differs-from-target"] * differs


def test_connection_close_does_not_end_the_conversation() -> None:
    request = b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n"
    response = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx"
    sensor = exchange(request + request, response + response)
    assert len(claims(sensor)) == 2


def test_a_connect_tunnel_is_one_transaction_and_its_inside_others() -> None:
    sensor = exchange(
        b"CONNECT host:443 HTTP/1.1\r\nHost: host:443\r\n\r\n",
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        (SEND, b"GET /inside HTTP/1.1\r\n\r\n"),
        (RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    )
    assert sensor.balanced()
    found, inside = sensor.out
    assert (inside.request.method, inside.request.target, inside.incomplete_reason) == (b"GET", b"/inside", None)
    assert (found.request.method, found.request.authority, found.request.target) == (b"CONNECT", b"host:443", None)
    assert found.incomplete_reason is None
    assert sensor.count(Count.TUNNELS) == 1
    assert sensor.skips == []


def test_a_refused_connect_goes_on() -> None:
    sensor = exchange(
        b"CONNECT host:443 HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
        (SEND, b"GET /a HTTP/1.1\r\n\r\n"),
        (RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    )
    assert [(found.request.method, found.incomplete_reason) for found in sensor.out] == [
        (b"CONNECT", None),
        (b"GET", None),
    ]
    assert sensor.out[0].response
    assert sensor.out[0].response.body == b"no"


def test_bytes_sent_before_the_tunnel_is_granted_are_no_request() -> None:
    sensor = exchange(
        b"CONNECT host:443 HTTP/1.1\r\n\r\n\x16\x03\x01\x00\x05hello",
        b"HTTP/1.1 200 OK\r\n\r\n",
    )
    assert len(sensor.out) == 1
    assert sensor.count(Count.REQUESTS_BEGUN) == 1


WEBSOCKET = b"GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def test_an_unknown_protocol_ends_http() -> None:
    sensor = exchange(
        WEBSOCKET.replace(b"websocket", b"ldap"),
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ldap\r\n\r\n\x81\x05hello",
        (SEND, b"\x81\x85\x00\x00\x00\x00hello"),
    )
    (found,) = sensor.out
    assert found.response
    assert found.response.status == 101
    assert found.incomplete_reason is None
    assert sensor.count(Count.FLOWS_SWITCHED) == 1
    assert sensor.count(Count.NOT_HTTP_BYTES) == 11


@pytest.mark.parametrize("chunked", [False, True])
def test_a_declined_upgrade_goes_on(chunked: bool) -> None:
    """httptools passes over the body of a request with Upgrade; the reader does not."""
    body = b"3\r\nabc\r\n0\r\n\r\n" if chunked else b"abc"
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 3"
    post = b"POST /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n%b\r\n\r\n%b" % (framing, body)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    for cut in range(1, len(post)):
        sensor = Sensor()
        sensor.open()
        sensor.call(SEND, post[:cut])
        sensor.call(SEND, post[cut:])
        sensor.calls([(RECEIVE, response), (SEND, WEBSOCKET), (RECEIVE, response), (SEND, post), (RECEIVE, response)])
        assert [claim.request_body for claim in claims(sensor)] == [b"abc", b"", b"abc"], cut


def test_both_length_and_coding_is_an_anomaly_and_the_coding_holds() -> None:
    sensor = exchange(
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    assert claims(sensor)[0].request_body == b"abc"
    assert sensor.out[0].anomalies == ["content-length-with-transfer-encoding"]


def test_lengths_that_differ_are_refused_and_said() -> None:
    sensor = exchange(
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n",
    )
    (found,) = sensor.out
    assert found.incomplete_reason == "parse_error"
    assert found.anomalies == ["repeated-content-length"]
    assert (found.request.method, found.request.target) == (b"POST", b"/a")
    assert found.response
    assert found.response.status == 400


def test_repeated_host_is_an_anomaly() -> None:
    sensor = exchange(b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert sensor.out[0].request.authority == b"a"
    assert sensor.out[0].anomalies == ["repeated-host"]


def test_times_are_those_of_the_first_and_last_byte() -> None:
    sensor = Sensor()
    sensor.open()
    request, response = http1_request(TRUTHS[1]), http1_response(TRUTHS[1])
    for direction, data in ((SEND, request), (RECEIVE, response)):
        for piece in (data[:10], data[10:60], data[60:]):
            sensor.call(direction, piece)
    (found,) = sensor.out
    assert found.response
    times = [found.request.start_ns, found.request.end_ns, found.response.start_ns, found.response.end_ns]
    assert times == [2_000, 4_000, 5_000, 7_000]


def test_a_response_that_is_reported_before_its_request() -> None:
    """Threads: one writes, another reads and reports first. The flow was in step, so the response waits."""
    sensor = Sensor()
    sensor.open()
    sensor.calls(http1_calls(TRUTHS[:1]))
    for truth in (TRUTHS[1], TRUTHS[3], TRUTHS[5]):
        sensor.call(RECEIVE, http1_response(truth))
        sensor.call(SEND, http1_request(truth))
    assert claims(sensor) == [TRUTHS[0], TRUTHS[1], TRUTHS[3], TRUTHS[5]]


def test_the_first_response_may_come_first_where_the_beginning_was_seen() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(reversed(list(http1_calls(TRUTHS[:1]))))
    assert claims(sensor) == TRUTHS[:1]


@pytest.mark.parametrize("greeted", [True, False])
def test_the_answer_to_what_was_no_request_is_not_that_of_the_next_one(greeted: bool) -> None:
    """However soon it follows: a request that a server knew for one, and the sensor did not, shifts no other."""
    sensor = Sensor()
    sensor.open(from_start=True)
    if greeted:
        sensor.call(RECEIVE, b"HTTP/1.1 408 Timeout\r\nContent-Length: 1\r\n\r\n")
        sensor.call(RECEIVE, b"x")
    sensor.call(SEND, b"get /odd HTTP/1.1\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
    truths = [http1_truth(number) for number in range(3)]
    sensor.calls(http1_calls(truths))
    sensor.close()
    assert [of_exchange(one) for one in sensor.out] == truths
    assert [one.incomplete_reason for one in sensor.out] == [None] * 3
    assert sensor.count(Count.ORPHAN_RESPONSES) == 1 + greeted


def test_a_response_that_came_long_before_belongs_to_something_else() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.calls(http1_calls(TRUTHS[:1]))
    sensor.call(RECEIVE, b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
    sensor.now += 1_000_000_000
    sensor.calls(http1_calls(TRUTHS[1:2]))
    assert claims(sensor) == TRUTHS[:2]
    assert sensor.count(Count.ORPHAN_RESPONSES) == 1


def test_an_early_answer_waits_for_the_end_of_its_request() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc")
    sensor.call(RECEIVE, b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert sensor.out == []
    sensor.call(SEND, b"def")
    assert claims(sensor)[0].request_body == b"abcdef"


def test_what_is_open_at_the_close_says_why() -> None:
    for calls, reason in (
        ([(SEND, b"GET / HTTP/1.1\r\nHost")], "request_not_finished"),
        ([(SEND, b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab")], "request_not_finished"),
        ([(SEND, b"GET / HTTP/1.1\r\n\r\n")], "response_not_seen"),
        ([(SEND, b"GET / HTTP/1.1\r\n\r\n"), (RECEIVE, b"HTTP/1.1 200 OK\r\nConte")], "response_not_finished"),
        (
            [(SEND, b"GET / HTTP/1.1\r\n\r\n"), (RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")],
            "response_not_finished",
        ),
    ):
        sensor = Sensor()
        sensor.open()
        sensor.calls(calls)
        sensor.close()
        assert [found.incomplete_reason for found in sensor.out] == [reason], calls
        assert sensor.balanced()


@pytest.mark.parametrize("by", ["end", "close"])
def test_of_pipelined_ones_those_without_a_response_say_so(by: str) -> None:
    """And not what cut the one before them."""
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGET /c HTTP/1.1\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    if by == "end":
        sensor.feed(End(sensor.tick(), 7, sensor.flow, RECEIVE))
    sensor.close()
    told = [(found.request.target, found.response is not None, found.incomplete_reason) for found in sensor.out]
    assert told == [
        (b"/a", True, "response_not_finished"),
        (b"/b", False, "response_not_seen"),
        (b"/c", False, "response_not_seen"),
    ]


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", bytes.fromhex("000006 04 00 00000000 000300000064")])
def test_an_answer_that_is_no_response_is_a_parse_error_and_no_loss(answer: bytes) -> None:
    # nghttpd, say, answers a request of HTTP/1 with a frame and hangs up.
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n")
    sensor.call(RECEIVE, answer)
    sensor.close()
    (found,) = sensor.out
    assert (found.incomplete_reason, found.response) == ("parse_error", None)
    assert sensor.count(Count.UNREAD_BYTES) == len(answer)
