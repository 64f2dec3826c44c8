from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.cards import is_card_number, luhn
from apisensor.content.shapes import HEAD, Zone
from tests.content.tokens import with_check_digit

TEST_NUMBERS = (
    b"4111111111111111",
    b"4012888888881881",
    b"4222222222222",
    b"5555555555554444",
    b"2223003122003222",
    b"378282246310005",
    b"30569309025904",
    b"6011111111111117",
    b"3530111333300000",
    b"6200000000000005",
)
"""Numbers that payment providers publish for tests."""


def cards(text: bytes) -> list[bytes]:
    return [text[start:end] for start, end, kind in HEAD.find(text, Zone.FIELD) if kind == "credit_card"]


@pytest.mark.parametrize("number", TEST_NUMBERS)
def test_published_test_numbers(number: bytes) -> None:
    assert is_card_number(number)
    assert cards(number) == [number]
    assert cards(b"card " + number + b", thanks") == [number]
    assert cards(b"id_" + number + b"_x") == [number]


@settings(deadline=None)  # the machine may be busy
@given(st.text("0123456789", min_size=12, max_size=18))
def test_check_digit(digits: str) -> None:
    right = with_check_digit(digits)
    assert luhn(right.encode())
    wrong = digits + str((int(right[-1]) + 1) % 10)
    assert not luhn(wrong.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"4111 1111 1111 1111",
        b"4111-1111-1111-1111",
        b"4111+1111+1111+1111",
        b"3782 822463 10005",
        b"411111 1111 111111",
    ],
)
def test_groups(text: bytes) -> None:
    assert cards(b"x=" + text + b"&") == [text]
    assert cards(b"255 " + text) == [text]


def test_security_code_behind_the_number_does_not_hide_it() -> None:
    assert cards(b"4111 1111 1111 1111 123") == [b"4111 1111 1111 1111"]


def test_two_numbers() -> None:
    assert cards(b"4111111111111111 5555555555554444") == [b"4111111111111111", b"5555555555554444"]


@pytest.mark.parametrize(
    "text",
    [
        b"4111111111111112",  # check digit
        b"1111111111111117",  # no brand
        b"1700000000000",  # milliseconds since 1970
        b"41111111111111111111",  # too long
        b"0.4111111111111111",
        b"4111111111111111.5",
        b"a4111111111111111",  # inside a hash
        b"2025-01-02 03:04:05",
        b"4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
        b"4222 2222 22222",  # 13 digits are never grouped; telephone numbers are
    ],
)
def test_no_card(text: bytes) -> None:
    assert cards(text) == []


@pytest.mark.timeout(20)
def test_hostile_digits_are_linear() -> None:
    for text in (b"4" * 200_000, b"4111 " * 40_000, b"411 1" * 40_000, b"4111111111111112 " * 10_000):
        assert cards(text) == []
