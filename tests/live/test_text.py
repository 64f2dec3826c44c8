from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.live.text import columns, duration, fit, pad, size, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/users/12", "/users/12"),
        ("é日本😀", "é日本😀"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\r\nb\tc\x00\x7f", "a\\x0d\\x0ab\\x09c\\x00\\x7f"),
        ("\x9b31m", "\\x9b31m"),  # a C1 control: CSI in one byte
        ("\u202eevil\u202c", "\\u202eevil\\u202c"),
        ("a\u200bb\u200d\ufeff\u00ad", "a\\u200bb\\u200d\\ufeff\\xad"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u2028\u2029\u0085", "\\u2028\\u2029\\x85"),
        ("e\u0301\u0336", "e\\u0301\\u0336"),
        ("\u1161", "\\u1161"),  # a vowel of Hangul that joins the letter before it
        ("\U000e0041", "\\U000e0041"),
        ("\u3164\u2800", "\\u3164\\u2800"),
        ("\ud800", "\\ud800"),
        ("\\x1b", "\\\\x1b"),
        ("a\u00a0b", "a\\xa0b"),
    ],
)
def test_only_what_is_plainly_visible_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_visible_text_is_one_to_one_and_printable(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    shown.encode()  # no lone surrogate is left
    assert shown.replace("\\\\", "").count("\\") == sum(visible(c) != c and c != "\\" for c in text)


@given(st.text(), st.integers(0, 40))
def test_fits_and_fills_its_place(text: str, width: int) -> None:
    shown = visible(text)
    assert columns(fit(shown, width)) <= width
    assert columns(pad(shown, width)) == width
    assert pad(shown, width, right=True).strip() == pad(shown, width).strip()


def test_width() -> None:
    assert columns("abc") == 3
    assert columns("日本") == 4
    assert columns("é😀") == 3


@pytest.mark.parametrize(
    ("count", "shown"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1000, "1.0k"), (9949, "9.9k"), (9960, "10k"), (999_499, "999k"),
     (999_600, "1.0M"), (34_000_000, "34M"), (5 * 10**15, "5000T")],
)  # fmt: skip
def test_sizes(count: int | None, shown: str) -> None:
    assert size(count) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [(None, "-"), (0.0, "0.00ms"), (0.123, "0.12ms"), (9.99, "9.99ms"), (9.996, "10ms"), (999.4, "999ms"),
     (999.6, "1.0s"), (3400.0, "3.4s"), (99_960.0, "1m40s"), (125_000.0, "2m05s"),
     (3_600_000.0, "1h00m"), (7_500_000.0, "2h05m"), (864e6, "10d")],
)  # fmt: skip
def test_durations(ms: float | None, shown: str) -> None:
    assert duration(ms) == shown


@given(st.floats(0, 1e8))
def test_durations_stay_short(ms: float) -> None:
    assert len(duration(ms)) <= 6
