"""HPACK joined late: what is not known is None, what is known is right."""

from __future__ import annotations

import contextlib
import logging

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.protocols.hpack_codec import HeaderBlockError, HeaderDecoder
from apisensor.protocols.message import Field

NAMES = st.sampled_from([b":method", b":path", b"x-user", b"x-team", b"accept", b"x-long"])
VALUES = st.sampled_from([b"", b"GET", b"/", b"alice", b"bob", b"v" * 3000, b"w" * 5000])
LISTS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5)


def decoder(*, joined_late: bool = False, max_list: int = 65536, max_table: int = 65536) -> HeaderDecoder:
    return HeaderDecoder(max_list, max_table, joined_late=joined_late)


def right_or_unknown(fields: list[Field], truth: list[tuple[bytes, bytes]]) -> bool:
    pairs = zip(fields, truth, strict=True)
    return all(known is None or known == fact for field, true in pairs for known, fact in zip(field, true, strict=True))


def test_late_join_knows_what_it_saw_inserted() -> None:
    encoder = hpack.Encoder()
    encoder.encode([(b"x-user", b"alice"), (b"x-team", b"red")])
    late = decoder(joined_late=True)
    assert late.decode(encoder.encode([(b"x-user", b"alice"), (b"x-new", b"seen")])) == [
        (None, None),
        (b"x-new", b"seen"),
    ]
    assert late.decode(encoder.encode([(b"x-new", b"seen"), (b"x-team", b"red")])) == [
        (b"x-new", b"seen"),
        (None, None),
    ]
    # The name refers to an unknown entry, the value is a literal, and the new entry inherits both.
    assert late.decode(encoder.encode([(b"x-user", b"bob")])) == [(None, b"bob")]
    assert late.decode(encoder.encode([(b"x-user", b"bob")])) == [(None, b"bob")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(LISTS, min_size=1, max_size=12), st.integers(0, 11), st.sampled_from([0, 100, 4096, 8192, 65536, 200_000])
)
def test_never_a_wrong_value(lists: list[list[tuple[bytes, bytes]]], joined: int, table: int) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = table
    late = decoder(joined_late=joined > 0)
    for number, headers in enumerate(lists):
        block = encoder.encode(headers)
        if number >= joined:
            fields = late.decode(block)
            assert right_or_unknown(fields, headers)
            if not joined and table <= 65536:
                assert fields == headers


@settings(max_examples=60, deadline=None)
@given(st.lists(LISTS, min_size=2, max_size=12), st.data())
def test_a_lost_block_makes_the_older_entries_unknown(
    lists: list[list[tuple[bytes, bytes]]], data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, len(lists) - 1))
    encoder = hpack.Encoder()
    observer = decoder()
    for number, headers in enumerate(lists):
        block = encoder.encode(headers)
        if number == lost:
            observer.forget()
            continue
        fields = observer.decode(block)
        assert right_or_unknown(fields, headers)
        if number < lost:
            assert fields == headers


def test_a_malformed_block_costs_the_table_and_says_so() -> None:
    observer = decoder()
    encoder = hpack.Encoder()
    observer.decode(encoder.encode([(b"x-user", b"alice")]))
    with pytest.raises(HeaderBlockError) as caught:
        observer.decode(b"\xff\xff\xff\xff\xff\xff\xff\xff")
    assert not caught.value.limit
    assert observer.decode(encoder.encode([(b"x-user", b"alice")])) == [(None, None)]


def test_an_index_that_cannot_be_is_malformed_where_all_was_seen() -> None:
    with pytest.raises(HeaderBlockError):
        decoder().decode(b"\xbe")


@given(st.binary(max_size=200))
def test_random_blocks_raise_nothing_else(block: bytes) -> None:
    for late in (False, True):
        with contextlib.suppress(HeaderBlockError):
            decoder(joined_late=late).decode(block)


def test_a_bomb_is_refused() -> None:
    encoder = hpack.Encoder()
    block = encoder.encode([(b"x", b"y" * 4000)])
    with pytest.raises(HeaderBlockError) as caught:
        decoder().decode(block + b"\xbe" * 16_000)
    assert caught.value.limit


def test_decoded_headers_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)
    decoder().decode(hpack.Encoder().encode([(b"authorization", b"secret")]))
    assert "secret" not in caplog.text
    assert not [record for record in caplog.records if record.name.startswith("hpack") and "Decoded" in record.message]
