"""WebSocket frames that wsproto made: whole, byte by byte, at every split point, with gaps, and hostile ones."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.extensions import Extension, PerMessageDeflate

from apisensor.protocols import anomalies
from apisensor.protocols.counted import MESSAGE_CUT, Passed
from apisensor.protocols.websocket import INFLATED, WebSocketReader

DEFLATE = b"permessage-deflate"
ROOM = 10_000


def reader(*, of_client: bool = True, extensions: bytes | None = None, room: int = ROOM) -> WebSocketReader:
    made = WebSocketReader(of_client=of_client, room=room)
    made.negotiated(extensions)
    return made


def sent(*events: Event, of_client: bool = True, extension: Extension | None = None) -> bytes:
    kind = ConnectionType.CLIENT if of_client else ConnectionType.SERVER
    connection = Connection(kind, [] if extension is None else [extension])
    return b"".join(connection.send(event) for event in events)


def deflate(*, resets: bool = False) -> PerMessageDeflate:
    """wsproto's extension as both ends have it once it was agreed."""
    extension = PerMessageDeflate(client_no_context_takeover=resets, server_no_context_takeover=resets)
    extension._enabled = True
    return extension


def fed(target: WebSocketReader, *pieces: bytes) -> Passed:
    for piece in pieces:
        target.feed(piece)
    return target.passed(None)


CONVERSATION: list[Event] = [
    TextMessage("hello"),
    Ping(b"x" * 125),
    BytesMessage(b"\0\xff" * 100),
    TextMessage("frag", message_finished=False),
    Pong(b""),
    TextMessage("mented ", message_finished=False),
    TextMessage("é"),
    TextMessage(""),
    TextMessage("y" * 70_000),
    CloseConnection(4001, "bye"),
]
COUNTED = Passed("websocket", 5, 5 + 200 + 13 + 70_000, 70_000, 0, 3, 4001)
SHORT = CONVERSATION[:8]
SHORT_COUNTED = Passed("websocket", 4, 218, 200, 0, 2)
TEXT = "hello\nfragmented é\n\n".encode()


@pytest.mark.parametrize("of_client", [True, False])
def test_messages_however_they_are_cut(of_client: bool) -> None:
    raw = sent(*CONVERSATION, of_client=of_client)
    target = reader(of_client=of_client)
    assert fed(target, raw) == COUNTED
    assert b"".join(target.text) == TEXT + b"y" * (ROOM - len(TEXT))
    assert fed(reader(of_client=of_client), *(raw[at : at + 1] for at in range(len(raw)))) == COUNTED
    raw = sent(*SHORT, of_client=of_client)
    for at in range(len(raw) + 1):
        target = reader(of_client=of_client)
        assert fed(target, raw[:at], raw[at:]) == SHORT_COUNTED
        assert b"".join(target.text) == TEXT
        assert target.size == 218


def test_a_connection_that_ends_early() -> None:
    raw = sent(*SHORT)
    for at in range(len(raw)):
        found = fed(reader(), raw[:at])
        assert found.count is not None
        assert found.reason in (None, MESSAGE_CUT)
    assert fed(reader(), raw[:3]) == Passed("websocket", 0, 0, 0, 0, 0, reason=MESSAGE_CUT)


@pytest.mark.parametrize("of_client", [True, False])
@pytest.mark.parametrize("resets", [True, False])
def test_compressed(of_client: bool, resets: bool) -> None:
    events: list[Event] = [
        TextMessage("the same text again, " * 5),
        BytesMessage(b"octets " * 9),
        TextMessage("the same text, " * 5),
    ]
    raw = sent(*events, of_client=of_client, extension=deflate(resets=resets))
    extensions = DEFLATE + b"; client_no_context_takeover; server_no_context_takeover" * resets
    for step in (1, 7, len(raw)):
        target = reader(of_client=of_client, extensions=extensions)
        found = fed(target, *(raw[at : at + step] for at in range(0, len(raw), step)))
        assert (found.count, found.compressed, found.reason) == (3, 3, None)
        assert b"".join(target.text).decode() == "".join(
            f"{one.data}\n" for one in events if isinstance(one, TextMessage)
        )
        assert target.anomalies == []


@pytest.mark.parametrize("resets", [True, False])
def test_a_hole_in_a_compressed_message(resets: bool) -> None:
    """Later messages build on it, unless each is compressed by itself."""
    events = [TextMessage("first " * 20), TextMessage("second " * 20), TextMessage("first second " * 9)]
    extension = deflate(resets=resets)
    connection = Connection(ConnectionType.CLIENT, [extension])
    first, second, third = (connection.send(event) for event in events)
    target = reader(extensions=DEFLATE + b"; client_no_context_takeover" * resets)
    target.feed(first)
    target.feed(second[:8])
    target.skip(4, "ring_full")
    target.feed(second[12:])
    target.feed(third)
    assert target.passed(None).count == 3
    text = b"".join(target.text).decode()
    assert text.startswith("first " * 20)
    assert ("first second" in text) == resets
    assert target.anomalies == []


@settings(max_examples=200)
@given(
    st.lists(
        st.one_of(
            st.builds(TextMessage, st.text(max_size=40), message_finished=st.just(True)),
            st.builds(BytesMessage, st.binary(max_size=200).map(bytearray)),
            st.builds(Ping, st.binary(max_size=20)),
        ),
        max_size=6,
    ),
    st.booleans(),
    st.data(),
)
def test_gaps_leave_the_counts_right_or_absent(events: list[Event], of_client: bool, data: st.DataObject) -> None:
    raw = sent(*events, of_client=of_client)
    truth = fed(reader(of_client=of_client), raw)
    messages = [one for one in events if isinstance(one, Message)]
    assert truth.count == len(messages)
    target = reader(of_client=of_client)
    at = 0
    while at < len(raw):
        size = data.draw(st.integers(1, len(raw) - at))
        if data.draw(st.booleans()):
            target.skip(size, "ring_full")
        else:
            target.feed(raw[at : at + size])
        at += size
    found = target.passed(None)
    assert found == truth or (found.reason == "ring_full" and found.count is None)


# Hostile


def frame(first: int, payload: bytes, *, masked: bool = True, length: bytes | None = None) -> bytes:
    head = bytes([first, len(payload) | (0x80 if masked else 0)]) if length is None else bytes([first]) + length
    return head + (b"\0\0\0\0" if masked else b"") + payload


@pytest.mark.parametrize(
    "raw",
    [
        frame(0x81, b"x", masked=False),  # not masked
        frame(0xA1, b"x"),  # RSV2
        frame(0x91, b"x"),  # RSV3
        frame(0xC1, b"x"),  # compressed, which nobody agreed on
        frame(0x80, b"x"),  # continues nothing
        frame(0x01, b"x") + frame(0x81, b"y"),  # a message inside another
        frame(0x83, b"x"),  # an opcode of the future
        frame(0x8B, b"x"),
        frame(0x09, b"x"),  # a fragmented ping
        frame(0x89, b"", length=b"\xfe\x00\x7e"),  # a long ping
        frame(0x82, b"", length=b"\xff" + b"\xff" * 8),  # 2^64
    ],
)
def test_what_is_no_frame_ends_the_reading(raw: bytes) -> None:
    target = reader()
    assert fed(target, frame(0x81, b"ok") + raw, frame(0x81, b"ok")).reason == "parse_error"
    assert target.passed(None).count is None
    assert target.lost == "parse_error"


def test_compressed_continuations_are_no_frames() -> None:
    assert fed(reader(extensions=DEFLATE), frame(0x01, b"x") + frame(0xC0, b"x")).reason == "parse_error"


def test_endless_close_frames_and_payloads_hold_nothing() -> None:
    target = reader(room=100)
    for _ in range(1000):
        target.feed(frame(0x88, struct.pack(">H", 1002) + b"z" * 100))
    assert target.passed(None) == Passed("websocket", 0, 0, 0, 0, 1000, 1002)
    target.feed(frame(0x82, b"", length=b"\xff\x7f" + b"\xff" * 7))
    for _ in range(100):
        target.feed(bytes(65_536))
    assert target.passed(None).reason == MESSAGE_CUT
    assert target.size == 100 * 65_536
    assert target.text == []


def compressed(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")


@pytest.mark.parametrize("first", [0xC1, 0xC2])
def test_a_bomb_is_inflated_to_the_limit(first: int) -> None:
    bomb = compressed(bytes(50_000_000))
    target = reader(extensions=DEFLATE, room=1_000_000)
    target.feed(frame(first, bomb, length=b"\xfe" + struct.pack(">H", len(bomb))))
    assert target.passed(None).count == 1
    assert target.passed(None).bytes == len(bomb)
    assert sum(map(len, target.text)) <= INFLATED + 1
    assert target.anomalies == [anomalies.INFLATE_LIMIT] * (first == 0xC1)
    target.feed(frame(0xC1, compressed(b"more")))
    assert target.anomalies == [anomalies.INFLATE_LIMIT]


def test_what_does_not_inflate_is_said() -> None:
    target = reader(extensions=DEFLATE)
    target.feed(frame(0xC1, b"\xff" * 30) * 2)
    assert target.passed(None).count == 2
    assert target.anomalies == [anomalies.DEFLATE_INVALID]


@settings(max_examples=300)
@given(st.lists(st.binary(max_size=60), max_size=6), st.booleans())
def test_anything_is_read_without_failing(pieces: list[bytes], of_client: bool) -> None:
    target = reader(of_client=of_client, extensions=DEFLATE)
    whole = reader(of_client=of_client, extensions=DEFLATE)
    whole.feed(b"".join(pieces))
    assert fed(target, *pieces) == whole.passed(None)
    assert b"".join(target.text) == b"".join(whole.text)
