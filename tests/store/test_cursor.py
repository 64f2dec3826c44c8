"""Cursors come from outside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.store import cursor
from apisensor.store.errors import StoreError


@given(st.text(), st.integers(0, 2**62), st.floats(allow_nan=False))
def test_what_went_in_comes_out(text: str, whole: int, broken: float) -> None:
    made = cursor.encode("k", (text, whole, broken))
    assert cursor.decode("k", made, (str, int, float)) == (text, whole, broken)


@given(st.text())
def test_anything_else_is_one_line(text: str) -> None:
    with pytest.raises(StoreError, match="does not belong to this query"):
        cursor.decode("k", text, (int,))


@pytest.mark.parametrize(
    "made",
    [
        cursor.encode("other", (1,)),
        cursor.encode("k", (True,)),
        cursor.encode("k", (1.5,)),
        cursor.encode("k", (1, 2)),
        cursor.encode("k", ()),
        "A" * 10_000,
    ],
)
def test_another_query_s_is_refused(made: str) -> None:
    with pytest.raises(StoreError, match="does not belong to this query"):
        cursor.decode("k", made, (int,))
