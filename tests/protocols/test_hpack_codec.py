"""HPACK joined late: what is not known is None, what is known is right."""

from __future__ import annotations

import contextlib
import logging

import hpack
import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.protocols.hpack_codec import COMPILED, HeaderBlockError, HeaderDecoder
from apisensor.protocols.message import Field

pytestmark = pytest.mark.skipif(not COMPILED, reason="jh2's compiled part is not installed")

NAMES = st.sampled_from([b":method", b":path", b"x-user", b"x-team", b"accept", b"x-long"])
VALUES = st.sampled_from([b"", b"GET", b"/", b"alice", b"bob", b"v" * 3000, b"w" * 5000])
LISTS = st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=5)


def outcome(one: HeaderDecoder, block: bytes) -> list[Field] | HeaderBlockError:
    try:
        return one.decode(block)
    except HeaderBlockError as refusal:
        return refusal


class Both:
    """The compiled decoder and the one in Python, which must say the same of every block while all was seen.

    Later (joined late, lost, refused, larger than what is kept) they may differ in how much they know, never in what:
    the compiled one still knows what a block itself pushed out of its table, and refuses an index that nothing can be
    behind where the other one says that it is unknown.
    """

    def __init__(self, max_list: int, max_table: int, *, joined_late: bool) -> None:
        self._compiled, self._python = (
            HeaderDecoder(max_list, max_table, joined_late=joined_late, compiled=compiled) for compiled in (True, False)
        )
        self._all_seen = not joined_late

    def decode(self, block: bytes) -> list[Field]:
        compiled, python = outcome(self._compiled, block), outcome(self._python, block)
        if isinstance(compiled, HeaderBlockError):
            self._all_seen, all_seen = False, self._all_seen
            if isinstance(python, HeaderBlockError):
                # Of a block that is malformed and too large, either may be noticed first.
                raise HeaderBlockError("both", limit=compiled.limit and python.limit)
            assert not all_seen
            raise compiled
        if isinstance(python, HeaderBlockError):
            assert "Huffman" in str(python)  # the compiled one passes over wrong padding
            self._all_seen = False
            raise python
        assert compiled == python or not self._all_seen
        for one, other in zip(compiled, python, strict=True):
            assert all(known == same or None in (known, same) for known, same in zip(one, other, strict=True))
        return compiled

    def forget(self) -> None:
        self._all_seen = False
        self._compiled.forget()
        self._python.forget()


def decoder(*, joined_late: bool = False, max_list: int = 65536, max_table: int = 65536) -> Both:
    return Both(max_list, max_table, joined_late=joined_late)


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


def integer(value: int, prefix: int, high: int) -> bytes:
    """RFC 7541 section 5.1."""
    mask = (1 << prefix) - 1
    if value < mask:
        return bytes((high | value,))
    octets = bytearray((high | mask,))
    value -= mask
    while value > 127:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes((*octets, value))


def string(text: bytes, coded: bool) -> bytes:
    if coded:
        coder = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
        text = coder.encode(text)
    return integer(len(text), 7, 0x80 if coded else 0) + text


INDICES = st.one_of(st.integers(0, 70), st.integers(0, 300), st.sampled_from([2000, 70_000]))
STRINGS = st.builds(string, st.one_of(st.binary(max_size=40), st.just(b"x" * 1500)), st.booleans())
SIZES = st.sampled_from([0, 40, 100, 4096, 4097, 8192, 65_536, 65_537, 1 << 20])
LITERALS = st.sampled_from([(6, 0x40), (4, 0x00), (4, 0x10)])
INDEXED = st.builds(integer, INDICES, st.just(7), st.just(0x80))
OLD_NAME = st.builds(lambda form, index, value: integer(index or 1, *form) + value, LITERALS, INDICES, STRINGS)
NEW_NAME = st.builds(lambda form, name, value: bytes((form[1],)) + name + value, LITERALS, STRINGS, STRINGS)
UPDATE = st.builds(integer, SIZES, st.just(5), st.just(0x20))
WELL_FORMED = st.builds(
    lambda updates, fields: b"".join([*updates, *fields]),
    st.lists(UPDATE, max_size=2),
    st.lists(st.one_of(INDEXED, OLD_NAME, NEW_NAME), max_size=12),
)
CUT = st.builds(lambda block, at: block[: at % (len(block) + 1)], WELL_FORMED, st.integers(0, 5000))
CHANGED = st.builds(
    lambda block, at, octet: block[: at % (len(block) + 1)] + bytes((octet,)) + block[at % (len(block) + 1) + 1 :],
    WELL_FORMED,
    st.integers(0, 5000),
    st.integers(0, 255),
)
LATE_UPDATE = st.builds(lambda block, update, rest: block + update + rest, WELL_FORMED, UPDATE, WELL_FORMED)
BLOCKS = st.one_of(WELL_FORMED, WELL_FORMED, CUT, CHANGED, LATE_UPDATE, st.binary(max_size=60))


@settings(max_examples=400, deadline=None)
@given(
    st.lists(BLOCKS, min_size=1, max_size=12),
    st.booleans(),
    st.sampled_from([100, 2000, 65_536]),
    st.sampled_from([0, 200, 4096, 65_536]),
)
def test_both_decoders_say_the_same_of_any_blocks(
    blocks: list[bytes], joined_late: bool, max_list: int, max_table: int
) -> None:
    both = decoder(joined_late=joined_late, max_list=max_list, max_table=max_table)
    for block in blocks:
        with contextlib.suppress(HeaderBlockError):
            both.decode(block)


def test_a_cut_block_is_refused_quietly(capfd: pytest.CaptureFixture[str]) -> None:
    # The compiled decoder would panic, with a backtrace on standard error.
    whole = hpack.Encoder().encode([(b":method", b"GET"), (b"x-user", b"alice"), (b"x-long", b"v" * 200)])
    compiled = HeaderDecoder(65536, 65536, joined_late=False, compiled=True)
    outcomes = [outcome(compiled, whole[:end]) for end in range(len(whole))]
    refusals = [one for one in outcomes if isinstance(one, HeaderBlockError)]
    assert len(refusals) == len(whole) - 3  # all but nothing, one field, two fields
    assert not any(one.limit for one in refusals)
    assert capfd.readouterr().err == ""


def test_a_table_larger_than_what_is_kept_goes_on_in_python() -> None:
    encoder = hpack.Encoder()
    observer = decoder(max_table=4096)
    assert observer.decode(encoder.encode([(b"x-user", b"alice")])) == [(b"x-user", b"alice")]
    encoder.header_table_size = 8192
    many = [(b"x-%d" % number, b"v" * 60) for number in range(60)]
    assert observer.decode(encoder.encode(many)) == many
    again = observer.decode(encoder.encode([*many, (b"x-user", b"alice")]))
    assert again[20:-1] == many[20:]
    assert again[0] == again[-1] == (None, None)


def test_a_late_join_may_refer_further_back_than_there_are_placeholders() -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 65_536
    for number in range(1000):
        encoder.encode([(b"x-%d" % number, b"v")])
    late = decoder(joined_late=True)
    assert late.decode(encoder.encode([(b"x-new", b"seen"), (b"x-999", b"v")])) == [(b"x-new", b"seen"), (None, None)]
    assert late.decode(encoder.encode([(b"x-0", b"v"), (b"x-new", b"seen")])) == [(None, None), (b"x-new", b"seen")]
    assert late.decode(encoder.encode([(b"x-500", b"other"), (b"x-new", b"seen")])) == [
        (None, b"other"),
        (b"x-new", b"seen"),
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(LISTS, min_size=1, max_size=12), st.sampled_from([200, 3100, 6000]))
def test_a_well_formed_list_that_is_too_large_is_said_to_be(
    lists: list[list[tuple[bytes, bytes]]], max_list: int
) -> None:
    encoder = hpack.Encoder()
    decoders = [HeaderDecoder(max_list, 4096, joined_late=False, compiled=compiled) for compiled in (False, True)]
    for headers in lists:
        block = encoder.encode(headers)
        large = sum(len(name) + len(value) + 32 for name, value in headers) > max_list
        for one in decoders:
            found = outcome(one, block)
            assert found.limit if isinstance(found, HeaderBlockError) else found == headers
            assert isinstance(found, HeaderBlockError) is large
        if large:
            return


@pytest.mark.parametrize("compiled", [False, True])
def test_many_fields_of_few_bytes_are_a_list_too_large(compiled: bool) -> None:
    # Each counts 32 bytes more than its name and value (RFC 9113 section 6.5.2).
    observer = HeaderDecoder(10_000, 4096, joined_late=False, compiled=compiled)
    small = b"\x00\x01x\x00"
    assert len(observer.decode(small * (10_000 // 33))) == 303
    with pytest.raises(HeaderBlockError) as caught:
        observer.decode(small * (10_000 // 33 + 1))
    assert caught.value.limit


def test_wrong_padding_of_a_coded_string_is_passed_over_by_the_compiled_decoder_alone() -> None:
    block = b"\x00\x01x\x81\xc2"  # F, and a zero where EOS begins with a one
    compiled, python = (HeaderDecoder(65536, 4096, joined_late=False, compiled=compiled) for compiled in (True, False))
    assert compiled.decode(block) == [(b"x", b"F")]
    assert isinstance(outcome(python, block), HeaderBlockError)
