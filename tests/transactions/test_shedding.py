"""Flows and bodies that the governor leaves out: between exchanges, counted, and back again."""

from __future__ import annotations

import pytest

from apisensor.events.model import Address, Bind, Binding
from apisensor.streams.lane import FLOW_SHED
from apisensor.streams.limits import Limits
from apisensor.transactions.counts import Count
from apisensor.transactions.shedding import PATIENCE_NS, SHARES, part_of
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Http2Peers,
    Sensor,
    Truth,
    agrees,
    http1_calls,
    http1_request,
    http1_response,
    http1_truth,
    http2_truth,
    of_exchange,
)

ALL = SHARES


def govern(sensor: Sensor, share: int, *, bodies: bool = False) -> None:
    sensor.analyzer.govern(share, bodies=bodies, now=sensor.now)


def sweep(sensor: Sensor, after_ns: int = 0) -> None:
    sensor.now += after_ns
    sensor.out += sensor.analyzer.expire(sensor.now)


def started(flow: int = 1, truths: int = 3) -> tuple[Sensor, list[Truth]]:
    sensor = Sensor(flow=flow)
    sensor.open()
    made = [http1_truth(number, body=10) for number in range(truths)]
    sensor.calls(http1_calls(made))
    assert len(sensor.out) == truths
    return sensor, made


def test_a_flow_between_two_exchanges_is_given_up_and_taken_up_again() -> None:
    sensor, made = started()
    govern(sensor, ALL, bodies=True)
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 1
    assert sensor.skips == [(1, SEND, FLOW_SHED), (1, RECEIVE, FLOW_SHED)]
    left_out = list(http1_calls([http1_truth(7)]))
    sensor.calls(left_out)
    sweep(sensor)
    assert sensor.count(Count.SHED_BYTES) == sum(len(data) for _, data in left_out)
    assert len(sensor.out) == 3
    govern(sensor, 0)
    sweep(sensor)
    assert sensor.skips[2:] == [(1, SEND, 0), (1, RECEIVE, 0)]
    back = [http1_truth(number) for number in (8, 9)]
    sensor.calls(http1_calls(back))
    assert [agrees(of_exchange(exchange), truth) for exchange, truth in zip(sensor.out, made + back, strict=True)]
    assert all(exchange.incomplete_reason is None for exchange in sensor.out)
    assert sensor.out[-1].local == sensor.out[0].local  # nobody tells the socket again
    assert sensor.balanced()


def test_an_exchange_under_way_is_waited_for() -> None:
    sensor, _ = started()
    truth = http1_truth(5)
    sensor.call(SEND, http1_request(truth))
    govern(sensor, ALL)
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 0
    sensor.call(RECEIVE, http1_response(truth))
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 1
    assert sensor.out[-1].incomplete_reason is None
    assert sensor.balanced()


def test_one_that_takes_too_long_says_why_it_is_cut() -> None:
    sensor, _ = started()
    sensor.call(SEND, http1_request(http1_truth(5)))
    govern(sensor, ALL)
    sweep(sensor, PATIENCE_NS - 10_000)
    assert len(sensor.out) == 3
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
    sweep(sensor, 20_000)
    assert [exchange.incomplete_reason for exchange in sensor.out] == [None, None, None, "shed"]
    sensor.call(RECEIVE, b"x" * 95)
    assert sensor.count(Count.SHED_BYTES) == 95
    assert sensor.balanced()


def test_streams_of_http2_say_so_too() -> None:
    sensor, peers = Sensor(), Http2Peers()
    sensor.open()
    for number in range(3):
        stream = peers.request(http2_truth(number))
        peers.flush()
        if number:
            peers.respond(stream, http2_truth(number))
            peers.flush()
    sensor.calls(peers.calls)
    govern(sensor, ALL)
    sweep(sensor, PATIENCE_NS)
    assert sorted(exchange.incomplete_reason or "" for exchange in sensor.out) == ["", "", "shed"]
    assert sensor.balanced()


def test_only_the_named_part_of_the_flows_goes_and_a_larger_part_takes_the_same_ones() -> None:
    sensor = Sensor()
    flows = [flow << 8 for flow in range(1, 400)]

    def call(number: int) -> None:
        for flow in flows:
            sensor.flow, sensor.position = flow, {SEND: number * 1_000, RECEIVE: number * 1_000}
            if not number:
                sensor.open()
            sensor.calls(http1_calls([http1_truth(number)]))

    def gone() -> set[int]:
        return {flow for flow, _, position in sensor.skips if position == FLOW_SHED}

    call(0)
    govern(sensor, ALL // 4)
    sweep(sensor)
    quarter = gone()
    assert quarter == {flow for flow in flows if part_of(flow) < ALL // 4}
    assert 0.15 < len(quarter) / len(flows) < 0.35
    govern(sensor, ALL // 2)
    sweep(sensor)
    assert gone() > quarter
    assert gone() == {flow for flow in flows if part_of(flow) < ALL // 2}
    sensor.skips.clear()
    govern(sensor, ALL // 4)
    sweep(sensor)
    assert {flow for flow, _, position in sensor.skips if position == 0} == {
        flow for flow in flows if ALL // 4 <= part_of(flow) < ALL // 2
    }
    call(1)
    paths = [exchange.request.target for exchange in sensor.out]
    assert paths.count(http1_truth(0).target) == len(flows)
    assert paths.count(http1_truth(1).target) == len(flows) - len(quarter)


def test_flows_that_were_silent_are_given_up_when_they_speak() -> None:
    sensor, _ = started()
    govern(sensor, ALL)
    sweep(sensor, 60_000_000_000)
    assert sensor.count(Count.FLOWS_SHED) == 1  # the first look sees all
    sensor.flow, sensor.position = 2, {SEND: 0, RECEIVE: 0}
    sensor.open()
    sensor.calls(http1_calls([http1_truth(4)]))
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 2


def test_an_exchange_that_waits_for_its_peer_is_not_cut_off_from_it() -> None:
    sensor = Sensor()
    for direction, data in http1_calls([http1_truth(0)]):
        sensor.call(direction, data, tls=True)
    govern(sensor, ALL)
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 0
    peer = (Address("10.0.0.1", 1), Address("10.0.0.2", 443))
    sensor.feed(Bind(sensor.tick(), 7, 1, 9, *peer, Binding.CIPHERTEXT))
    sweep(sensor)
    assert sensor.count(Count.FLOWS_SHED) == 1
    assert sensor.out[0].remote == peer[1]
    # Its socket may change while nobody looks.
    other = Address("10.0.0.3", 443)
    sensor.feed(Bind(sensor.tick(), 7, 1, 10, peer[0], other, Binding.CIPHERTEXT))
    govern(sensor, 0)
    sweep(sensor)
    for direction, data in http1_calls([http1_truth(1)]):
        sensor.call(direction, data, tls=True)
    assert sensor.out[1].remote == other


def test_a_flow_that_ends_meanwhile_does_not_come_back() -> None:
    sensor, _ = started()
    govern(sensor, ALL)
    sweep(sensor)
    sensor.close()
    govern(sensor, 0)
    sweep(sensor)
    assert len(sensor.analyzer) == 0
    assert sensor.skips[2:] == []


def test_none_that_is_followed_makes_room_for_one_that_comes_back() -> None:
    sensor = Sensor(Limits(max_flows=2))
    for flow in (1, 2):
        sensor.flow, sensor.position = flow, {SEND: 0, RECEIVE: 0}
        sensor.open()
        sensor.calls(http1_calls([http1_truth(flow)]))
    govern(sensor, ALL)
    sweep(sensor)
    for flow in (3, 4):
        sensor.flow, sensor.position = flow, {SEND: 0, RECEIVE: 0}
        sensor.open()
    govern(sensor, 0)
    sweep(sensor)
    assert sensor.skips[4:] == []
    sensor.close()
    sweep(sensor)
    assert len(sensor.skips[4:]) == 2
    assert sensor.count(Count.FLOWS_EVICTED) == 0


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_are_counted_and_marked_and_nothing_of_them_is_kept(chunked: bool) -> None:
    sensor, _ = started()
    govern(sensor, 0, bodies=True)
    truths = [http1_truth(4, body=300, answer=500, chunked=chunked), http1_truth(5, answer=0)]
    sensor.calls(http1_calls(truths))
    govern(sensor, 0, bodies=False)
    sensor.calls(http1_calls([http1_truth(6, body=300)]))
    with_bodies, without, later = sensor.out[3:]
    assert with_bodies.response is not None
    assert (with_bodies.request.body_size, with_bodies.response.body_size) == (300, 500)
    assert (with_bodies.request.body, with_bodies.response.body) == (b"", b"")
    assert with_bodies.incomplete_reason is None
    assert with_bodies.anomalies == ["body-not-captured"]
    assert without.anomalies == []
    assert later.request.body == http1_truth(6, body=300).request_body
    assert later.anomalies == []
    assert sensor.count(Count.SHED_BODIES) == 2


def test_bodies_of_http2() -> None:
    sensor, peers = Sensor(), Http2Peers()
    sensor.open()
    govern(sensor, 0, bodies=True)
    for truth in (http2_truth(0, body=50), http2_truth(3, answer=0)):
        stream = peers.request(truth)
        peers.flush()
        peers.respond(stream, truth)
        peers.flush()
    sensor.calls(peers.calls)
    with_bodies, without = sensor.out
    assert with_bodies.request.body_size == 50
    assert with_bodies.request.body == b""
    assert with_bodies.anomalies == ["body-not-captured"]
    assert without.anomalies == []
