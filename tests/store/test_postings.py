"""Postings against a look at all values."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from apisensor.store import postings
from apisensor.store.postings import Value

VALUES = st.one_of(st.none(), st.integers(0, 5), st.sampled_from(["GET", "é", ""]), st.binary(max_size=2))


def found(body: bytes, values: list[Value]) -> set[int]:
    return {row for some in postings.find(body, values) for row in some}


@given(st.lists(VALUES, max_size=200), st.integers(0, 50))
def test_all_rows_with_a_value_are_found_and_those_that_share_its_mark(
    values: list[bytes | str | int | None], first: int
) -> None:
    numbers = [first + 3 * n for n in range(len(values))]
    body = postings.encode(values, numbers)
    for wanted in {*values, b"nothing has it", 77}:
        if wanted is None:
            continue
        expected = [
            number
            for number, value in zip(numbers, values, strict=True)
            if value is not None and postings.mark(value) == postings.mark(wanted)
        ]
        assert found(body, [wanted]) == set(expected)
        assert {number for number, value in zip(numbers, values, strict=True) if value == wanted} <= set(expected)


def test_values_that_share_a_mark_are_both_found() -> None:
    one, other = "a8caa6", "935c3e"  # found by trying
    assert postings.mark(one) == postings.mark(other)
    body = postings.encode([one, "b", other, "d", one], range(5))
    assert found(body, [one]) == found(body, [other]) == {0, 2, 4}
    assert found(body, ["d"]) == {3}
    assert found(body, ["d", one, "d"]) == {0, 2, 3, 4}


def test_a_whole_segment() -> None:
    values = [n.to_bytes(8, "big") for n in range(8_192)]
    body = postings.encode(values, range(8_192))
    assert len(body) < 50_000
    for n in (0, 1, 4_095, 8_191):
        assert found(body, [values[n]]) == {n}
    same = postings.encode(["GET"] * 8_192, range(8_192))
    assert found(same, ["GET"]) == set(range(8_192))
    assert found(postings.encode([None] * 8_192, range(8_192)), ["GET"]) == set()


def test_a_damaged_body_is_refused() -> None:
    body = bytearray(postings.encode(["a", "b"] * 500, range(1_000)))
    body[len(body) // 2] ^= 0xFF
    with pytest.raises(zstandard.ZstdError):
        postings.find(bytes(body), ["a"])
