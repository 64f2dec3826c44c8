"""HTTP/1 of which whole calls pass by a path that the sensor does not see: it learns later how many bytes they were,
and by when they had passed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Cause, Direction, Gap
from apisensor.transactions.analyzer import Count
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Sensor,
    Truth,
    http1_calls,
    http1_request,
    http1_response,
    http1_truth,
    other,
)
from tests.transactions.test_http1_loss import check

REASON = "unseen_path"
CLIENTS = pytest.mark.parametrize("client", [SEND, RECEIVE])


class Accounting:
    """The kernel side: what it tells of calls of which it sees some."""

    def __init__(self) -> None:
        self.sensor = Sensor()
        self.sensor.open()
        self.unseen = {SEND: 0, RECEIVE: 0}
        self.noticed = {SEND: (0, 0), RECEIVE: (0, 0)}
        """Of `unseen`: how much a call of the other direction has found, and when."""

    def call(self, direction: Direction, data: bytes, *, seen: bool) -> None:
        if not seen:
            self.unseen[direction] += len(data)
            return
        across = other(direction)
        if self.unseen[across] != self.noticed[across][0]:
            self.noticed[across] = (self.unseen[across], self.sensor.tick())
        if missed := self.unseen[direction]:
            told, when = self.noticed[direction]
            sensor = self.sensor
            position = sensor.position[direction]
            now = when if told == missed else sensor.tick()
            sensor.feed(Gap(now, 7, sensor.flow, direction, position, missed, Cause.UNSEEN_PATH))
            sensor.position[direction] = position + missed
        self.unseen[direction] = 0
        self.noticed[direction] = (0, 0)
        self.sensor.call(direction, data)


def talk(truths: Sequence[Truth], client: Direction, seen: Sequence[bool], *, split: bool = False) -> Sensor:
    """One call after the other, of which some are seen; those behind are."""
    account = Accounting()
    for number, (direction, data) in enumerate(http1_calls(truths, client, split=split)):
        account.call(direction, data, seen=number >= len(seen) or seen[number])
    account.sensor.close()
    return account.sensor


def complete(sensor: Sensor) -> list[bytes | None]:
    return [found.request.target for found in sensor.out if found.incomplete_reason is None]


SIZED = [
    http1_truth(0, answer=30),
    http1_truth(1, method=b"POST", body=40, answer=20),
    http1_truth(2, method=b"HEAD"),
    http1_truth(3, method=b"PUT", body=9, answer=0),
    http1_truth(4, answer=300),
]


@CLIENTS
@pytest.mark.parametrize("missed", ["request", "response", "both"])
def test_a_call_that_passes_unseen_costs_no_other(client: Direction, missed: str) -> None:
    for number in range(1, 4):
        seen = [True] * 10
        for place, message in enumerate(("request", "response")):
            seen[2 * number + place] = missed not in (message, "both")
        sensor = talk(SIZED, client, seen)
        check(sensor, SIZED)
        assert complete(sensor) == [truth.target for truth in SIZED if truth is not SIZED[number]]
        if missed == "response":
            (found,) = (found for found in sensor.out if found.incomplete_reason is not None)
            assert (found.request.target, found.incomplete_reason) == (SIZED[number].target, REASON)
            assert found.response is None
        else:
            assert len(sensor.out) == 4
        assert sensor.count(Count.BYTES_LOST_UNSEEN_PATH) > 0


@CLIENTS
def test_a_content_that_passes_unseen_is_counted_and_costs_no_other(client: Direction) -> None:
    calls = list(http1_calls(SIZED, client, split=True))
    contents = [
        number for number, (_, data) in enumerate(calls) if b" HTTP/1.1\r\n" not in data[:40] and data[:5] != b"HTTP/"
    ]
    assert len(contents) == 5
    for number in contents[:-1]:
        seen = [place != number for place in range(len(calls))]
        sensor = talk(SIZED, client, seen, split=True)
        check(sensor, SIZED)
        cut = [found for found in sensor.out if found.incomplete_reason is not None]
        assert [found.incomplete_reason for found in cut] == [REASON]
        truth = next(truth for truth in SIZED if truth.target == cut[0].request.target)
        assert cut[0].response is not None
        sizes = (cut[0].request.body_size, cut[0].response.body_size)
        assert sizes == (len(truth.request_body), len(truth.response_body))
        assert len(sensor.out) == len(SIZED)


@CLIENTS
def test_nothing_is_wrong_whatever_passes_unseen(client: Direction) -> None:
    for seen in product((True, False), repeat=8):
        sensor = talk(SIZED, client, seen)
        check(sensor, SIZED)
        assert not set(complete(sensor)) - {
            truth.target for number, truth in enumerate(SIZED) if all(seen[2 * number : 2 * number + 2])
        }


@settings(max_examples=150)
@given(client=st.sampled_from([SEND, RECEIVE]), seen=st.lists(st.booleans(), max_size=30), split=st.booleans())
def test_nothing_is_wrong_of_longer_ones(client: Direction, seen: list[bool], split: bool) -> None:
    truths = [
        http1_truth(
            number, method=(b"POST", b"GET", b"HEAD")[number % 3], body=20 * (number % 3 == 0), chunked=number % 2 == 0
        )
        for number in range(8)
    ]
    check(talk(truths, client, seen, split=split), truths)


@CLIENTS
def test_a_client_that_pipelines_is_still_taken_for_one(client: Direction) -> None:
    """A response that passed before two other requests came proves nothing about these."""
    account = Accounting()
    requests, responses = [http1_request(truth) for truth in SIZED], [http1_response(truth) for truth in SIZED]
    server = other(client)
    account.call(client, requests[0], seen=True)
    account.call(server, responses[0], seen=False)
    account.call(client, requests[1], seen=True)
    account.call(client, requests[2], seen=True)
    account.call(server, responses[1], seen=True)
    account.call(server, responses[2], seen=True)
    account.call(client, requests[3], seen=True)
    account.call(client, requests[4], seen=True)
    account.call(server, responses[3], seen=False)
    account.call(server, responses[4], seen=True)
    account.sensor.close()
    check(account.sensor, SIZED)
    assert complete(account.sensor) == [SIZED[1].target, SIZED[2].target]
