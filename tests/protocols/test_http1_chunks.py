"""The chunked coding: what is read is what was sent, however it is cut; llhttp says the same of what it accepts."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.protocols.http1_chunks import ChunkError, Chunks
from apisensor.protocols.http1_llhttp import ENGINE as LLHTTP
from apisensor.protocols.message import Message
from apisensor.streams.limits import Limits
from tests.protocols.test_http1_engines import heard

HEAD = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
BODIES = st.lists(st.binary(min_size=1, max_size=40), max_size=4)
EXTENSION = st.sampled_from([b"", b";a", b";a=b", b';a="b;c\\" d"', b" ; a = b ", b"; a"])
TRAILERS = st.lists(st.tuples(st.sampled_from([b"X", b"Y-z"]), st.sampled_from([b"", b"1", b"a b"])), max_size=3)


def read(pieces: list[bytes], limits: Limits | None = None) -> tuple[Message, Chunks, int]:
    """The message, where its reader stands, and how many bytes belonged to it."""
    message = Message(0, 0)
    message.room = 1 << 20
    chunks = Chunks(message, limits or Limits())
    used = 0
    for piece in pieces:
        if not chunks.ended:
            used += chunks.read(piece)
    return message, chunks, used


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(where % (len(data) + 1) for where in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


@settings(max_examples=200, deadline=None)
@given(BODIES, EXTENSION, TRAILERS, st.binary(max_size=9), st.lists(st.integers(0, 10_000), max_size=6))
def test_what_is_read_is_what_was_sent(
    bodies: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]], rest: bytes, cuts: list[int]
) -> None:
    coded = b"".join(b"%x%b\r\n%b\r\n" % (len(body), extension, body) for body in bodies) + b"0%b\r\n" % extension
    coded += b"".join(b"%b: %b\r\n" % field for field in trailers) + b"\r\n"
    for pieces in ([coded + rest], cut(coded + rest, cuts), [bytes((octet,)) for octet in coded + rest]):
        message, chunks, used = read(pieces)
        assert chunks.ended
        assert b"".join(message.body) == b"".join(bodies)
        assert message.trailers == trailers
        assert (message.anomalies, used) == ([], len(coded))


@settings(max_examples=300, deadline=None)
@given(BODIES, st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["set", "add", "drop"]))
def test_a_changed_octet_is_the_same_to_llhttp_where_both_accept_it(
    bodies: list[bytes], at: int, octet: int, how: str
) -> None:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies) + b"0\r\nX: y\r\n\r\n"
    at %= len(coded)
    coded = coded[:at] + (b"" if how == "drop" else bytes((octet,))) + coded[at + (how != "add") :]
    try:
        message, chunks, _ = read([coded])
    except ChunkError:
        return
    told = heard(LLHTTP, True, HEAD + coded)
    if told.refused is None and len(told.messages) == 1:
        assert (b"".join(message.body), chunks.ended) == (told.messages[0].body, told.messages[0].ended)
        if chunks.ended:  # llhttp tells the last trailer with the end
            assert message.trailers == told.messages[0].trailers


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"\r\n", b"1", b"f\r\n", b";", b"0\r\n"]))))
def test_whatever_comes_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        message, _, used = read(pieces)
    except ChunkError:
        return
    assert message.body_size <= used <= sum(map(len, pieces))


def test_a_hole_in_a_chunk_is_passed_over_and_no_other() -> None:
    message, chunks, _ = read([b"5\r\nab"])
    assert not chunks.skip(4)
    assert chunks.skip(2)
    chunks.read(b"c")
    assert not chunks.skip(1)
    chunks.read(b"\r\n")
    assert not chunks.skip(1)
    chunks.read(b"0\r\n\r\n")
    assert chunks.ended
    assert b"".join(message.body) == b"abc"


@pytest.mark.parametrize(
    ("limits", "anomaly"),
    [(Limits(header_count=3), "header-count-limit"), (Limits(header_bytes=100), "header-bytes-limit")],
)
def test_trailers_are_bounded(limits: Limits, anomaly: str) -> None:
    for pieces in ([b"0\r\n", *[b"X: " + b"y" * 30 + b"\r\n"] * 5], [b"0\r\n", *[b"X: y\r\n"] * 3, b"z" * 101]):
        with pytest.raises(ChunkError) as refused:
            read(pieces, limits)
        assert refused.value.limit == anomaly


def test_a_size_of_many_digits_is_refused() -> None:
    assert read([b"0" * 40 + b"1\r\na\r\n0\r\n\r\n"])[1].ended
    with pytest.raises(ChunkError):
        read([b"1" * 16 + b"\r\n"])


@pytest.mark.parametrize("field", [b"A:", b"A:" + b"b" * 48])
@pytest.mark.parametrize("more", [False, True])
def test_the_limits_are_the_same_however_it_is_cut(field: bytes, more: bool) -> None:
    """Exactly as much as is allowed, in number or in octets, and one more of either."""
    limits = Limits(header_count=4, header_bytes=200)
    coded = b"0;" + b"x" * 300 + b"\r\n" + (field + b"\r\n") * 4 + (b"A" + field + b"\r\n") * more + b"\r\n"
    for pieces in (
        [coded],
        [bytes((octet,)) for octet in coded],
        *([coded[:at], coded[at:]] for at in range(310, 520)),
    ):
        if more:
            with pytest.raises(ChunkError):
                read(pieces, limits)
        else:
            assert read(pieces, limits)[1].ended


@pytest.mark.parametrize("step", [1 << 20, 1_000])
def test_a_line_with_a_size_is_bounded_in_one_piece_too(step: int) -> None:
    for longest in (16_384, 16_385):
        coded = b"0;" + b"x" * (longest - 2) + b"\r\n\r\n"
        pieces = [coded[at : at + step] for at in range(0, len(coded), step)]
        if longest == 16_384:
            assert read(pieces)[1].ended
        else:
            with pytest.raises(ChunkError):
                read(pieces)
