"""WebSockets through the whole analysis: over HTTP/1 and HTTP/2, long-lived, with losses."""

from __future__ import annotations

import h2.settings
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import CloseConnection, Event, Ping, TextMessage

from apisensor.events.model import Cause, End
from apisensor.protocols import anomalies
from apisensor.protocols.counted import NOT_CAPTURED, Passed
from apisensor.streams.limits import Limits
from apisensor.transactions.analyzer import Count
from apisensor.transactions.model import Exchange
from tests.transactions.conversation import RECEIVE, SEND, Http2Peers, Sensor

UPGRADE = b"GET /chat?room=1 HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n"
GRANTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Protocol: chat.v2\r\n\r\n"
)
SECOND = 1_000_000_000


class Peers:
    """Both ends of a WebSocket."""

    def __init__(self) -> None:
        self.client = Connection(ConnectionType.CLIENT)
        self.server = Connection(ConnectionType.SERVER)

    def ask(self, *events: Event) -> bytes:
        return b"".join(self.client.send(event) for event in events)

    def answer(self, *events: Event) -> bytes:
        return b"".join(self.server.send(event) for event in events)


def opened(limits: Limits | None = None) -> tuple[Sensor, Peers]:
    sensor = Sensor(limits)
    sensor.open(from_start=True)
    sensor.calls([(SEND, UPGRADE), (RECEIVE, GRANTED)])
    return sensor, Peers()


def counts(exchange: Exchange) -> tuple[Passed | None, Passed | None]:
    assert exchange.response is not None
    return exchange.request.messages, exchange.response.messages


def passed(count: int, size: int, largest: int, control: int = 0, code: int | None = None, **more: str) -> Passed:
    return Passed("websocket", count, size, largest, 0, control, code, **more)


def test_one_transaction_when_it_ends() -> None:
    sensor, peers = opened()
    sensor.call(SEND, peers.ask(TextMessage("hello"), Ping(b"1"), TextMessage("again")))
    sensor.call(RECEIVE, peers.answer(TextMessage("welcome"), CloseConnection(1011)))
    sensor.call(SEND, peers.ask(CloseConnection(1011)))
    assert sensor.out == []
    sensor.close()
    assert sensor.balanced()
    (found,) = sensor.out
    assert (found.protocol, found.request.target, found.incomplete_reason) == ("websocket", b"/chat?room=1", None)
    assert counts(found) == (passed(2, 10, 5, 2, 1011), passed(1, 7, 7, 1, 1011))
    assert (found.request.body, found.request.body_size) == (b"hello\nagain\n", 10)
    assert found.response is not None
    assert (found.response.status, found.response.body) == (101, b"welcome\n")
    assert found.request.start_ns < found.response.start_ns < found.response.end_ns
    assert found.anomalies == []
    assert sensor.count(Count.FLOWS_WEBSOCKET) == 1
    assert sensor.count(Count.UNREAD_BYTES) == sensor.count(Count.NOT_HTTP_BYTES) == 0


def test_it_ends_when_both_directions_do() -> None:
    sensor, peers = opened()
    sensor.call(SEND, peers.ask(TextMessage("hello")))
    sensor.feed(End(sensor.tick(), 7, 1, SEND))
    assert sensor.out == []
    sensor.feed(End(sensor.tick(), 7, 1, RECEIVE))
    assert len(sensor.out) == 1
    sensor.close()
    assert sensor.balanced()


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_frames_right_behind_the_heads(step: int) -> None:
    sensor, peers = Sensor(), Peers()
    sensor.open(from_start=True)
    asked = UPGRADE + peers.ask(TextMessage("early"), TextMessage("bird"))
    answered = GRANTED + peers.answer(TextMessage("worm"))
    for direction, raw in ((SEND, asked), (RECEIVE, answered)):
        for at in range(0, len(raw), step):
            sensor.call(direction, raw[at : at + step])
    sensor.close()
    (found,) = sensor.out
    assert counts(found) == (passed(2, 9, 5), passed(1, 4, 4))


def test_a_long_lived_one_is_told_in_parts_that_add_up() -> None:
    sensor, peers = opened()
    for _ in range(100):
        sensor.now += 10 * SECOND
        sensor.call(SEND, peers.ask(TextMessage("tick")))
    sensor.call(SEND, peers.ask(CloseConnection(1000)))
    sensor.close()
    assert sensor.balanced()
    assert len(sensor.out) == 4
    assert [anomalies.WEBSOCKET_PART in found.anomalies for found in sensor.out] == [True, True, True, False]
    parts = [counts(found)[0] for found in sensor.out]
    assert sum(part.count or 0 for part in parts if part is not None) == 100
    assert [part.close_code for part in parts if part is not None] == [None, None, None, 1000]
    assert {found.request.target for found in sensor.out} == {b"/chat?room=1"}
    starts = [found.request.start_ns for found in sensor.out]
    assert starts == sorted(set(starts))
    assert all(found.incomplete_reason is None for found in sensor.out)
    assert b"".join(found.request.body for found in sensor.out) == b"tick\n" * 100


def test_a_silent_one_is_told_and_may_go_on() -> None:
    sensor, peers = opened()
    sensor.call(SEND, peers.ask(TextMessage("one")))
    frame = peers.ask(TextMessage("second"))
    sensor.call(SEND, frame[:8])
    sensor.out += sensor.analyzer.expire(sensor.now + 301 * SECOND)
    assert [counts(found)[0] for found in sensor.out] == [passed(1, 5, 3)]
    sensor.out += sensor.analyzer.expire(sensor.now + 700 * SECOND)
    assert len(sensor.out) == 1
    sensor.call(SEND, frame[8:])
    sensor.close()
    assert counts(sensor.out[1])[0] == passed(1, 4, 6)
    assert sensor.balanced()


def test_the_source_ends_while_it_is_open() -> None:
    sensor, peers = opened()
    sensor.call(SEND, peers.ask(TextMessage("one")))
    sensor.out += sensor.analyzer.finish(sensor.now)
    (found,) = sensor.out
    assert (found.incomplete_reason, found.anomalies) == (None, [anomalies.WEBSOCKET_PART])


# Loss


def test_a_hole_in_a_payload_costs_its_text_and_nothing_else() -> None:
    sensor, peers = opened()
    frame = peers.ask(TextMessage("x" * 100))
    sensor.call(SEND, frame[:20])
    sensor.gap(SEND, 51)  # no multiple of the key's length
    sensor.call(SEND, frame[71:] + peers.ask(TextMessage("after")), call_start=False)
    sensor.close()
    (found,) = sensor.out
    assert counts(found)[0] == passed(2, 105, 100)
    assert found.incomplete_reason == "ring_full"
    assert found.request.body == b"x" * 49 + b"\nafter\n"


@pytest.mark.parametrize("length", [None, 500])
def test_after_any_other_loss_its_direction_is_not_read(length: int | None) -> None:
    sensor, peers = opened()
    sensor.call(SEND, peers.ask(TextMessage("before")))
    sensor.gap(SEND, length)
    for _ in range(3):
        sensor.now += 400 * SECOND
        sensor.call(SEND, peers.ask(TextMessage("after")))
        sensor.call(RECEIVE, peers.answer(TextMessage("answer")))
    sensor.close()
    assert sensor.balanced()
    assert all(found.incomplete_reason == "ring_full" for found in sensor.out)
    assert {counts(found)[0] for found in sensor.out} == {Passed("websocket", reason="ring_full")}
    assert sum((counts(found)[1] or passed(0, 0, 0)).count or 0 for found in sensor.out) == 3
    assert sensor.count(Count.UNREAD_BYTES) == 3 * len(peers.ask(TextMessage("after")))


def test_bytes_that_were_only_counted() -> None:
    sensor, peers = opened()
    frame = peers.answer(TextMessage("x" * 1000))
    sensor.call(RECEIVE, frame[:10])
    sensor.gap(RECEIVE, 900, Cause.NOT_IN_USER_MEMORY)
    sensor.call(RECEIVE, frame[910:], call_start=False)
    sensor.gap(RECEIVE, 5, Cause.NOT_IN_USER_MEMORY)
    sensor.close()
    (found,) = sensor.out
    assert counts(found)[1] == Passed("websocket", reason=NOT_CAPTURED)
    assert found.incomplete_reason == "not_in_user_memory"


def test_a_part_after_bytes_that_were_only_counted_has_the_reason_of_the_first() -> None:
    sensor, peers = opened()
    sensor.gap(SEND, 5, Cause.NOT_IN_USER_MEMORY)
    sensor.out += sensor.analyzer.expire(sensor.now + 301 * SECOND)
    sensor.call(RECEIVE, peers.answer(TextMessage("hi")))
    sensor.close()
    assert [found.incomplete_reason for found in sensor.out] == ["not_in_user_memory"] * 2
    assert [counts(found)[0] for found in sensor.out] == [Passed("websocket", reason=NOT_CAPTURED)] * 2


def test_what_is_no_frame_ends_the_reading() -> None:
    sensor, peers = opened()
    sensor.call(SEND, b"not a frame")
    sensor.call(SEND, peers.ask(TextMessage("after")))
    sensor.close()
    (found,) = sensor.out
    assert found.incomplete_reason == "parse_error"
    assert counts(found)[0] == Passed("websocket", reason="parse_error")
    assert sensor.count(Count.PARSE_ERRORS) == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 80)), min_size=1, max_size=8), st.data())
def test_random_gaps(messages: list[tuple[bool, int]], data: st.DataObject) -> None:
    sensor, peers = opened(Limits(flow_bytes=200, body_capture=100))
    for of_client, size in messages:
        event = TextMessage("m" * size)
        raw = peers.ask(event) if of_client else peers.answer(event)
        direction = SEND if of_client else RECEIVE
        begin = data.draw(st.integers(0, len(raw)))
        length = data.draw(st.integers(0, len(raw) - begin))
        for piece, lost in ((raw[:begin], False), (raw[begin : begin + length], True), (raw[begin + length :], False)):
            if piece and lost:
                sensor.gap(direction, len(piece))
            elif piece:
                sensor.call(direction, piece)
    sensor.close()
    assert sensor.balanced()
    (found,) = sensor.out
    for of_client, one in zip((True, False), counts(found), strict=True):
        sizes = [size for sent, size in messages if sent is of_client]
        assert one in (passed(len(sizes), sum(sizes), max(sizes, default=0)), Passed("websocket", reason="ring_full"))
    assert len(found.request.body) <= 100


# HTTP/2


@pytest.mark.parametrize("size", [1, 5, 1000])
@pytest.mark.parametrize("status", [b"200", b"404"])
def test_extended_connect(size: int, status: bytes) -> None:
    peers, ends = Http2Peers(), Peers()
    peers.server.update_settings({h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    peers.flush()
    stream = peers.client.get_next_available_stream_id()
    pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"https"), (b":path", b"/chat")]
    peers.client.send_headers(stream, [*pseudo, (b":authority", b"s")])
    peers.flush()
    peers.server.send_headers(stream, [(b":status", status)])
    peers.flush()
    if status == b"200":
        for sender, raw in (
            (peers.client, ends.ask(TextMessage("hello"), TextMessage("x" * 10))),
            (peers.server, ends.answer(TextMessage("hi"), CloseConnection(1000))),
        ):
            for at in range(0, len(raw), size):
                sender.send_data(stream, raw[at : at + size])
                peers.flush()
    peers.client.end_stream(stream)
    peers.server.end_stream(stream)
    peers.flush()
    sensor = Sensor()
    sensor.open(from_start=True)
    sensor.calls(peers.calls)
    sensor.close()
    assert sensor.balanced()
    (found,) = sensor.out
    assert found.incomplete_reason is None
    if status == b"404":
        assert (found.protocol, *counts(found)) == ("h2", None, None)
        return
    assert found.protocol == "websocket"
    assert counts(found) == (passed(2, 15, 10), passed(1, 2, 2, 1, 1000))
    assert (found.request.body, found.request.body_size) == (b"hello\n" + b"x" * 10 + b"\n", 15)
