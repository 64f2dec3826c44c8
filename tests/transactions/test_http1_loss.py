"""HTTP/1 with losses and late joins: nothing invented, nothing paired wrongly, nothing unaccounted for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Cause, Direction
from apisensor.transactions.analyzer import Count, Limits
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Loss,
    Sensor,
    Truth,
    http1_calls,
    http1_request,
    http1_response,
    http1_truth,
    lossy,
    of_exchange,
)

TRUTHS = [
    http1_truth(0, method=b"POST", body=40),
    http1_truth(1, method=b"HEAD"),
    http1_truth(2, answer=300),
    http1_truth(3, method=b"POST", body=30, answer=30, chunked=True),
    http1_truth(4, method=b"PUT", body=200, answer=0),
    http1_truth(5),
    http1_truth(6, method=b"POST", body=1),
]


def check(sensor: Sensor, truths: list[Truth]) -> None:
    """Complete exchanges equal the truth; the others agree with it in what they claim; each request is there once."""
    by_target = {truth.target: truth for truth in truths}
    seen = set()
    for found in sensor.out:
        target = found.request.target
        if found.incomplete_reason is None:
            assert target is not None
            assert of_exchange(found) == by_target[target]
        if target is not None:
            assert target in by_target, found
            assert target not in seen
            seen.add(target)
            truth = by_target[target]
            assert found.request.method == truth.method
            assert set(found.request.headers or ()) <= set(truth.request_headers)
            if found.response is not None and found.response.status is not None:
                assert found.response.status == truth.status
                assert set(found.response.headers or ()) <= set(truth.response_headers)
    assert sensor.balanced()


@pytest.mark.parametrize("client", [SEND, RECEIVE])
@pytest.mark.parametrize("split", [False, True])
def test_joined_at_every_call(client: Direction, split: bool) -> None:
    calls = list(http1_calls(TRUTHS, client, split=split))
    for joined in range(len(calls)):
        sensor = Sensor()
        sensor.open()
        sensor.calls(calls[joined:])
        sensor.close()
        check(sensor, TRUTHS)
        begun = [data for way, data in calls[joined:] if way is client and b" HTTP/1.1\r\n" in data]
        complete = [found for found in sensor.out if found.incomplete_reason is None]
        assert len(complete) == len(begun)
        assert sensor.count(Count.ORPHAN_RESPONSES) <= 1


def test_joined_at_every_byte() -> None:
    calls = list(http1_calls(TRUTHS))
    for number, (direction, data) in enumerate(calls):
        for cut in range(1, len(data), 7):
            sensor = Sensor()
            sensor.open()
            sensor.call(direction, data[cut:], call_start=False)
            sensor.calls(calls[number + 1 :])
            sensor.close()
            check(sensor, TRUTHS)
            later = sum(way is SEND for way, _ in calls[number + 1 :])
            assert sum(found.incomplete_reason is None for found in sensor.out) == later


def test_joined_in_a_body_that_quotes_a_message() -> None:
    """Only the beginning of a call is looked at, so a quotation inside one is no message."""
    quotation = b"x" * 10 + http1_request(http1_truth(9)) + http1_response(http1_truth(9))
    sensor = Sensor()
    sensor.open()
    sensor.call(RECEIVE, quotation, call_start=True)
    sensor.call(RECEIVE, quotation[10:], call_start=False)
    sensor.calls(http1_calls(TRUTHS))
    check(sensor, TRUTHS)
    assert len(sensor.out) == len(TRUTHS)


NOT_CAPTURED = (Cause.SKIPPED, Cause.NOT_IN_USER_MEMORY, Cause.CALL_LIMIT)
"""Counted exactly: no loss as long as the framing stays known."""


@pytest.mark.parametrize("cause", [Cause.RING_FULL, *NOT_CAPTURED, None])
def test_a_hole_in_a_sized_body_costs_its_bytes_and_nothing_else(cause: Cause | None) -> None:
    truth = http1_truth(1, method=b"POST", body=100, answer=100)
    request, response = http1_request(truth), http1_response(truth)
    for direction, data, before, after in (
        (SEND, request, [], [(RECEIVE, response)]),
        (RECEIVE, response, [(SEND, request)], []),
    ):
        for begin in range(len(data) - 100, len(data), 9):
            for length in (1, 5, len(data) - begin):
                if begin + length > len(data):
                    continue
                sensor = Sensor()
                sensor.open()
                sensor.calls(before)
                sensor.call(direction, data[:begin])
                if cause is None:
                    sensor.position[direction] += length
                else:
                    sensor.gap(direction, length, cause)
                if begin + length < len(data):
                    sensor.call(direction, data[begin + length :], call_start=False)
                sensor.calls(after)
                sensor.calls(http1_calls(TRUTHS[5:6]))
                sensor.close()
                first, second = sensor.out
                if cause is None and begin + length == len(data):
                    # Nobody says that the last bytes are missing until the next ones come.
                    assert sensor.balanced()
                    continue
                reason = {Cause.RING_FULL: "ring_full", None: "unknown"}.get(cause)
                assert first.incomplete_reason == reason
                assert first.anomalies == (["body-not-captured"] if reason is None else [])
                assert first.request.body_size == 100
                assert first.response
                assert first.response.body_size == 100
                assert second.incomplete_reason is None
                assert of_exchange(second) == TRUTHS[5]


@pytest.mark.parametrize("cause", NOT_CAPTURED)
def test_a_body_in_many_pieces_of_which_some_were_not_captured(cause: Cause) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
    sensor.gap(RECEIVE, 20, cause)
    sensor.call(RECEIVE, b"x" * 10)
    sensor.gap(RECEIVE, 20, cause)
    (found,) = sensor.out
    assert found.response
    assert (found.response.body_size, found.response.body) == (50, b"")
    assert found.response.end_ns == sensor.now
    assert (found.incomplete_reason, found.anomalies) == (None, ["body-not-captured"])
    sensor.calls(http1_calls(TRUTHS[:1]))
    assert of_exchange(sensor.out[1]) == TRUTHS[0]


@pytest.mark.parametrize("cause", NOT_CAPTURED)
def test_a_body_that_ends_with_its_connection_and_was_not_captured(cause: Cause) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\n\r\nabc")
    sensor.gap(RECEIVE, 20, cause)
    sensor.close()
    (found,) = sensor.out
    assert found.response
    assert (found.response.body_size, found.response.body) == (23, b"abc")
    assert (found.incomplete_reason, found.anomalies) == (None, ["body-not-captured"])


@pytest.mark.parametrize(
    ("response", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n32\r\n", 51),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n32", 50),
        (b"HTTP/1.1 200 OK\r\nContent-Len", 50),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", 51),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", None),
    ],
)
@pytest.mark.parametrize("cause", NOT_CAPTURED)
def test_what_was_not_captured_is_a_loss_where_it_may_have_held_framing(
    response: bytes, length: int | None, cause: Cause
) -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    sensor.call(RECEIVE, response)
    sensor.gap(RECEIVE, length, cause)
    (found,) = sensor.out
    assert found.incomplete_reason == ("unknown" if cause is Cause.SKIPPED else cause.name.lower())
    assert found.anomalies == []
    assert sensor.balanced()


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n1e\r\nfgh"


@pytest.mark.parametrize("head", [len(CHUNKED), 60, 20])
@pytest.mark.parametrize("lost", [7, 27])
def test_a_hole_in_a_chunk_costs_its_bytes_only(lost: int, head: int) -> None:
    for cause in (Cause.RING_FULL, *NOT_CAPTURED):
        sensor = Sensor()
        sensor.open()
        sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        for piece in (CHUNKED[:head], CHUNKED[head:]):
            if piece:
                sensor.call(RECEIVE, piece, call_start=piece is not CHUNKED[head:])
        sensor.gap(RECEIVE, lost, cause)
        sensor.call(RECEIVE, b"x" * (27 - lost) + b"\r\n2\r\nyz\r\n0\r\nX: y\r\n\r\n", call_start=False)
        sensor.calls(http1_calls(TRUTHS[:1]))
        found, after = sensor.out
        response = found.response
        assert response is not None
        assert (response.body_size, response.body, response.trailers) == (37, b"abcdefgh", [(b"X", b"y")])
        assert found.incomplete_reason == ("ring_full" if cause is Cause.RING_FULL else None)
        assert found.anomalies == ([] if cause is Cause.RING_FULL else ["body-not-captured"])
        assert of_exchange(after) == TRUTHS[0]
        assert sensor.balanced()


def test_what_was_not_captured_does_not_excuse_a_loss() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
    sensor.gap(RECEIVE, 20, Cause.NOT_IN_USER_MEMORY)
    sensor.gap(RECEIVE, 5, Cause.RING_FULL)
    sensor.gap(RECEIVE, 25, Cause.NOT_IN_USER_MEMORY)
    (found,) = sensor.out
    assert found.response
    assert (found.response.body_size, found.incomplete_reason) == (50, "ring_full")


def test_a_hole_is_not_bridged_in_what_is_kept() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
    sensor.gap(SEND, 3)
    sensor.call(SEND, b"ghi")
    sensor.close()
    assert (sensor.out[0].request.body, sensor.out[0].request.body_size) == (b"abc", 9)


def test_a_quotation_after_a_hole_in_a_sized_body_is_content() -> None:
    quotation = http1_request(http1_truth(9))
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (10 + len(quotation)))
    sensor.gap(SEND, 10)
    sensor.call(SEND, quotation)
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert found.request.body_size == 10 + len(quotation)
    assert found.incomplete_reason == "ring_full"


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 320), st.integers(1, 400)), min_size=1, max_size=4),
    st.booleans(),
    st.sampled_from([SEND, RECEIVE]),
    st.booleans(),
)
def test_losses_anywhere(losses: list[Loss], said: bool, client: Direction, split: bool) -> None:
    sensor = Sensor()
    sensor.open()
    calls = list(http1_calls(TRUTHS, client, split=split))
    lossy(sensor, calls, losses, said=said)
    sensor.close()
    check(sensor, TRUTHS)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 320), st.integers(1, 400)), min_size=1, max_size=2),
    st.integers(2, 7),
)
def test_losses_while_pipelining(losses: list[Loss], burst: int) -> None:
    """A burst of requests, each in a call of its own, then their responses: a loss must not shift the pairs."""
    calls = list(http1_calls(TRUTHS))
    requests = [call for call in calls if call[0] is SEND]
    responses = [call for call in calls if call[0] is RECEIVE]
    order: list[Call] = []
    for begin in range(0, len(TRUTHS), burst):
        order += requests[begin : begin + burst] + responses[begin : begin + burst]
    sensor = Sensor()
    sensor.open()
    # The client is known to pipeline: a burst without a loss came first.
    first = [http1_truth(90), http1_truth(91)]
    sensor.call(SEND, b"".join(map(http1_request, first)))
    sensor.call(RECEIVE, b"".join(map(http1_response, first)))
    lossy(sensor, order, losses, said=True)
    sensor.close()
    check(sensor, TRUTHS + first)


def test_a_loss_of_unknown_length_looks_for_the_next_message() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc")
    sensor.gap(SEND, None, Cause.DETACHED)
    sensor.position[SEND] = 0
    sensor.calls(http1_calls(TRUTHS[:2]))
    reasons = [found.incomplete_reason for found in sensor.out]
    assert reasons[0] == "detached"
    assert sensor.count(Count.GAPS_OF_UNKNOWN_LENGTH) == 1
    sensor.close()
    # The response to /a may have passed meanwhile, so it takes none of what follows.
    assert sensor.out[0].response is None
    check(sensor, [*TRUTHS, Truth(b"POST", b"/a", 200, request_headers=((b"Content-Length", b"9"),))])


def test_large_bodies_are_counted_and_declined() -> None:
    size = 3_000_000
    limits = Limits(body_capture=1000, skip_beyond=10_000)
    sensor = Sensor(limits)
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    sensor.call(RECEIVE, head + b"x" * 5000)
    assert sensor.skips == [(1, RECEIVE, len(head) + size)]
    # What was declined does not come, and nothing says so but the position of what follows.
    sensor.position[RECEIVE] = len(head) + size
    sensor.calls(http1_calls(TRUTHS[:1]))
    first, second = sensor.out
    assert (first.incomplete_reason, first.anomalies) == (None, ["body-not-captured"])
    assert first.response
    assert (first.response.body_size, first.response.body) == (size, b"x" * 1000)
    assert of_exchange(second) == TRUTHS[0]
    assert sensor.count(Count.BYTES_LOST_SKIPPED) == size - 5000


def test_large_bodies_that_come_all_the_same() -> None:
    limits = Limits(body_capture=1000, skip_beyond=10_000)
    sensor = Sensor(limits)
    sensor.open()
    sensor.call(SEND, b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(10):
        sensor.call(SEND, b"y" * 10_000, call_start=False)
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    sensor.calls(http1_calls(TRUTHS[:1]))
    first, second = sensor.out
    assert (first.incomplete_reason, first.request.body_size, first.request.body) == (None, 100_000, b"y" * 1000)
    assert of_exchange(second) == TRUTHS[0]


def test_a_refused_message_costs_itself() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.calls(http1_calls(TRUTHS[:1]))
    sensor.call(SEND, b"GET /bad HTTP/1.1\r\nHost: h\r\nbad: a\rb\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    sensor.calls(http1_calls(TRUTHS[5:]))
    assert [found.incomplete_reason for found in sensor.out] == [None, "parse_error", None, None]
    assert sensor.out[1].request.target == b"/bad"
    assert sensor.out[1].response
    assert sensor.out[1].response.status == 400
    assert sensor.balanced()


def test_too_many_refused_messages_end_the_flow() -> None:
    sensor = Sensor()
    sensor.open()
    for _ in range(5):
        sensor.calls(http1_calls(TRUTHS[:1]))  # in step again
        sensor.call(SEND, b"GET /bad HTTP/1.1\r\nbad: a\rb\r\n\r\n")
        sensor.call(RECEIVE, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    assert sensor.count(Count.FLOWS_REJECTED) == 1
    assert [found.incomplete_reason for found in sensor.out] == [None, "parse_error"] * 3
    assert sensor.balanced()


# What looks like a message while out of step, and is none

REQUEST_GARBAGE = [
    b"T /decoy/8 HTTP/1.1\r\nHost: decoy\r\n\r\nGET /decoy/8 HTTP/1.1\r\nHost",
    b"GET /decoy/1 HTTP/1.1\r\nHTTP/1.1 200 OK\r\n",
    b"GET /decoy/1 HTTP/1.1\r\nHost: decoy\r\nno field\r\n\r\n",
    b"GET /decoy/1 HTTP/1.1\r\nContent-Length: x\r\n\r\n",
]
RESPONSE_GARBAGE = [
    b"HTTP/1.1 200 OK\r\nGET /decoy/1 HTTP/1.1\r\n",
    b"HTTP/1.1 500 Decoy\r\nContent-Length: x\r\n\r\n",
]


@pytest.mark.parametrize("cut", [None, 23, 40])
@pytest.mark.parametrize(
    ("way", "garbage", "before"),
    [(SEND, garbage, before) for garbage in REQUEST_GARBAGE for before in ("nothing", "upload")]
    + [(RECEIVE, garbage, before) for garbage in RESPONSE_GARBAGE for before in ("nothing", "download")],
)
def test_no_exchange_is_made_of_garbage(way: Direction, garbage: bytes, before: str, cut: int | None) -> None:
    """A body of several calls, joined in the middle or after a loss, each of which begins like a message."""
    chunked_body = b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"
    heads = {
        "nothing": [],
        "upload": [(SEND, b"POST /call/77 HTTP/1.1\r\n" + chunked_body)],
        "download": [(SEND, b"GET /call/77 HTTP/1.1\r\n\r\n"), (RECEIVE, b"HTTP/1.1 200 OK\r\n" + chunked_body)],
    }
    sensor = Sensor()
    sensor.open()
    sensor.calls(heads[before])
    if before != "nothing":
        sensor.gap(way, 1100)  # more than is left of the chunk
    for _ in range(20):
        sensor.call(way, garbage[:cut])
        if cut is not None:
            sensor.call(way, garbage[cut:], call_start=False)
    if way is SEND:
        sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nuploaded!")
    real = [http1_truth(5), http1_truth(6, method=b"POST", body=1), http1_truth(7)]
    sensor.calls(http1_calls(real))
    sensor.close()
    *begun, first, second, third = sensor.out
    assert [of_exchange(found) for found in (first, second, third)] == real
    assert [(found.request.target, found.incomplete_reason) for found in begun] == (
        [] if before == "nothing" else [(b"/call/77", "ring_full")]
    )
    assert sensor.balanced()
    assert sensor.count(Count.FLOWS_REJECTED) == 0
    assert sensor.count(Count.PARSE_ERRORS) == 0
    if before == "nothing":
        # All of it was passed over, and counted.
        passed = sensor.count(Count.UNREAD_BYTES) + sensor.count(Count.NOT_HTTP_BYTES)
        assert passed == 20 * len(garbage)


QUOTATION = b"GET /decoy/8 HTTP/1.1\r\nHost: decoy\r\n\r\n" * 30


@pytest.mark.parametrize("loss", [None, Cause.RING_FULL])
def test_a_body_that_quotes_whole_requests_is_no_request(loss: Cause | None) -> None:
    """Joined, or gone on after a loss, between the head of an upload and its body."""
    sensor = Sensor()
    if loss is None:
        sensor.position[SEND] = 5000  # a worker that was restarted: the flow had passed before
    else:
        sensor.open(from_start=True)
        sensor.calls(http1_calls(TRUTHS[5:6]))
        sensor.gap(SEND, 100, loss)
    for begin in range(0, len(QUOTATION), 410):
        sensor.call(SEND, QUOTATION[begin : begin + 410])
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nuploaded!")
    sensor.calls(http1_calls(TRUTHS))
    sensor.close()
    truths = TRUTHS if loss is None else [TRUTHS[5], *TRUTHS]
    assert [of_exchange(found) for found in sensor.out] == truths
    assert sensor.balanced()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_late_request_whose_own_body_quotes_requests_is_one(chunked: bool) -> None:
    head = (b"Transfer-Encoding", b"chunked") if chunked else (b"Content-Length", b"%d" % len(QUOTATION))
    truth = Truth(b"POST", b"/call/77", 200, QUOTATION, b"", (head,), ((b"Content-Length", b"0"),))
    sensor = Sensor()
    sensor.position[SEND] = 5000
    sensor.call(SEND, http1_request(truth, chunked=chunked))
    sensor.call(RECEIVE, http1_response(truth))
    sensor.open()
    assert [of_exchange(found) for found in sensor.out] == [truth]
    assert sensor.balanced()


def test_a_client_that_pipelines_from_the_first_byte_on_is_believed() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"".join(map(http1_request, TRUTHS[:3])))
    sensor.call(RECEIVE, b"".join(map(http1_response, TRUTHS[:3])))
    sensor.gap(SEND, 100)
    sensor.call(SEND, b"".join(data for way, data in http1_calls(TRUTHS[3:6]) if way is SEND))
    sensor.close()
    assert [of_exchange(found) for found in sensor.out[:3]] == TRUTHS[:3]
    # Which response is whose cannot be told any more, but that they were sent can.
    assert [found.request.target for found in sensor.out[3:]] == [truth.target for truth in TRUTHS[3:6]]
    assert {found.incomplete_reason for found in sensor.out[3:]} == {"ring_full"}
    assert sensor.balanced()


def test_smuggling_is_evidence_even_out_of_step() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
    sensor.call(RECEIVE, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert (found.request.target, found.anomalies) == (b"/a", ["repeated-content-length"])
    assert found.incomplete_reason == "parse_error"
    assert sensor.balanced()


def test_a_refused_message_at_the_beginning_of_a_connection_is_evidence() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.call(SEND, b"GET /bad HTTP/1.1\r\nbad: a\rb\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert (found.request.target, found.incomplete_reason) == (b"/bad", "parse_error")
    assert found.response
    assert found.response.status == 400
    assert sensor.balanced()


def test_a_request_in_doubt_that_is_cut_is_not_lost() -> None:
    for close in (False, True):
        sensor = Sensor()
        sensor.open()
        sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\nX-Y")
        assert sensor.count(Count.REQUESTS_BEGUN) == 0
        if close:
            sensor.close()
        else:
            sensor.gap(SEND, 50)
            sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        (found,) = sensor.out
        assert (found.request.target, found.request.headers) == (b"/a", [(b"Host", b"h")])
        assert found.incomplete_reason == ("request_not_finished" if close else "ring_full")
        assert (found.response is None) == close
        assert sensor.balanced()


def test_what_passed_while_a_request_was_in_doubt_is_not_its_response() -> None:
    """Its end and its response were lost without a word; the next pair must not shift."""
    head = b"GET /call/77 HTTP/1.1\r\nHost: h\r\nX"
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, head)
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    sensor.position[SEND] += 50
    sensor.calls(http1_calls(TRUTHS[:3]))
    sensor.close()
    first, *others = sensor.out
    assert (first.request.target, first.response, first.incomplete_reason) == (b"/call/77", None, "unknown")
    for found in others:
        assert found.response is None or found.response.status in {truth.status for truth in TRUTHS[:3]}
    check(sensor, [*TRUTHS, Truth(b"GET", b"/call/77", 200, request_headers=((b"Host", b"h"),))])


def test_a_pipelined_request_in_doubt_is_not_paired() -> None:
    """/a is pending, /b is lost, /c in doubt until /a is answered: what comes next answers /b."""
    sensor = Sensor()
    sensor.open()
    answer = b"HTTP/1.1 %d OK\r\nContent-Length: 0\r\n\r\n"
    sensor.call(SEND, b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
    sensor.gap(SEND, 20)
    sensor.call(SEND, b"GET /c HTTP/1.1\r\nHo")
    sensor.call(RECEIVE, answer % 200)
    sensor.call(SEND, b"st: h\r\n\r\n", call_start=False)
    sensor.call(RECEIVE, answer % 201 + answer % 202)
    sensor.close()
    assert [(found.request.target, found.response and found.response.status) for found in sensor.out] == [
        (b"/a", 200),
        (b"/c", None),
    ]
    assert sensor.balanced()


def test_a_status_line_in_the_rest_of_a_cut_response_answers_nothing() -> None:
    """A whole one, which nobody can tell from a response; but it must not become the next request's."""
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, b"GET /a HTTP/1.1\r\n\r\n")
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n")
    sensor.gap(RECEIVE, 10)
    sensor.call(RECEIVE, b"HTTP/1.1 500 Decoy\r\nContent-Length: 0\r\n\r\n")
    sensor.calls(http1_calls(TRUTHS[:3]))
    sensor.close()
    assert sensor.out[0].incomplete_reason == "ring_full"
    check(sensor, [*TRUTHS, Truth(b"GET", b"/a", 200, response_headers=((b"Transfer-Encoding", b"chunked"),))])


def test_mistakes_of_one_flow_are_bounded() -> None:
    sensor = Sensor(Limits(max_mistakes=10))
    sensor.open()
    for _ in range(50):
        sensor.call(SEND, REQUEST_GARBAGE[0])
    assert sensor.count(Count.FLOWS_REJECTED) == 1
    assert sensor.out == []
    assert sensor.balanced()


@pytest.mark.parametrize("method", [b"HEAD", b"CONNECT", b"GET"])
def test_a_hole_in_a_head_costs_its_message_and_no_other(method: bytes) -> None:
    """Also where the method says that the response has no content, whatever its length says."""
    target = b"h:80" if method == b"CONNECT" else b"/torn"
    head = method + b" " + target + b" HTTP/1.1\r\nHost: h\r\nX-A: yyyyyyyyy\r\n\r\n"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + (b"content!!" if method == b"GET" else b"")
    for begin in range(len(head) - 3):
        sensor = Sensor()
        sensor.open(from_start=True)
        if begin:
            sensor.call(SEND, head[:begin])
        sensor.gap(SEND, 3)
        sensor.call(SEND, head[begin + 3 :], call_start=False)
        sensor.call(RECEIVE, answer)
        sensor.calls(http1_calls(TRUTHS))
        sensor.close()
        assert sensor.balanced()
        assert [of_exchange(found) for found in sensor.out if found.incomplete_reason is None] == TRUTHS
        content = 9 if method == b"GET" else 0
        for found in sensor.out:
            if found.incomplete_reason is not None:
                assert found.request.method in (None, method)
                assert found.response is None or (found.response.status, found.response.body_size) == (200, content)
