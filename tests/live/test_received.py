"""Lines from pieces, whatever the pieces are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.live import received
from apisensor.live.received import Lines


@given(st.lists(st.binary(max_size=6).map(lambda text: text.replace(b"\n", b"") + b"\n")), st.lists(st.integers(1, 7)))
def test_lines_come_back_however_they_are_cut(sent: list[bytes], cuts: list[int]) -> None:
    left, out, found = b"".join(sent), Lines(), []
    for size in [*cuts, len(left)]:
        out.feed(left[:size])
        left = left[size:]
        while (line := out.next()) is not None:
            found.append(line)
    assert found == sent
    assert not out.waiting


def test_what_is_not_all_there_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "LINE_BYTES", 4)
    out = Lines()
    out.feed(b"one\ntwo")
    assert [out.next(), out.next()] == [b"one\n", None]
    assert (out.waiting, out.too_long) == (True, False)
    out.feed(b"two")
    assert out.next() is None
    assert out.too_long
