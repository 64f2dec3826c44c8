"""Frame headers, compared with hyperframe."""

from __future__ import annotations

import hyperframe.frame as hyper
from hypothesis import given
from hypothesis import strategies as st

from apisensor.protocols.frames import HEADER, HEADER_SIZE, frames_start, plausible

STREAM = st.integers(1, 2**31 - 1)
FRAMES = st.one_of(
    st.builds(hyper.DataFrame, STREAM, st.binary(max_size=100)),
    st.builds(
        lambda s, d: hyper.HeadersFrame(s, d, flags=["END_HEADERS"]), STREAM, st.binary(min_size=1, max_size=100)
    ),
    st.builds(hyper.RstStreamFrame, STREAM, st.integers(0, 13)),
    st.builds(lambda v: hyper.SettingsFrame(0, {1: v, 3: 100}), st.integers(0, 65536)),
    st.just(hyper.SettingsFrame(0, flags=["ACK"])),
    st.builds(lambda d: hyper.PingFrame(0, d), st.binary(min_size=8, max_size=8)),
    st.builds(lambda s: hyper.GoAwayFrame(0, s, 0, b"bye"), STREAM),
    st.builds(hyper.WindowUpdateFrame, st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1)),
    st.builds(lambda s, d: hyper.ContinuationFrame(s, d, flags=["END_HEADERS"]), STREAM, st.binary(max_size=50)),
)


@given(st.lists(FRAMES, min_size=1, max_size=5))
def test_frames_of_hyperframe_are_plausible(frames: list[hyper.Frame]) -> None:
    data = b"".join(frame.serialize() for frame in frames)
    assert frames_start(data) is True
    position = 0
    for frame in frames:
        high, low, kind, _, stream = HEADER.unpack_from(data, position)
        assert (kind, stream) == (frame.type, frame.stream_id)
        position += HEADER_SIZE + (high << 8 | low)
    assert position == len(data)
    for end in range(len(data)):
        assert frames_start(data[:end]) is not False


@given(st.binary(min_size=9, max_size=9))
def test_what_is_plausible_is_valid_to_hyperframe(header: bytes) -> None:
    high, low, kind, flags, stream = HEADER.unpack(header)
    length = high << 8 | low
    if plausible(length, kind, flags, stream):
        frame, parsed = hyper.Frame.parse_frame_header(memoryview(header), strict=False)
        assert parsed == length
        assert frame.stream_id == stream


def test_an_implausible_header_ends_a_chain() -> None:
    ping = hyper.PingFrame(0, b"12345678").serialize()
    assert frames_start(ping + b"GET / HTTP/1.1") is False
    assert frames_start(b"GET / HTTP/1.1\r\n") is False
    assert frames_start(bytes(9)) is False
