from __future__ import annotations

from apisensor.content.lines import LINES_KEPT, LONGEST_KEPT, NAMES_KEPT, SHARE, Lines


def test_what_is_known_of_a_line_comes_back() -> None:
    lines = Lines[int]()
    assert lines.get((b"Accept", b"*/*")) is None
    assert lines.remember((b"Accept", b"*/*"), 5) == 5
    assert lines.get((b"Accept", b"*/*")) == 5


def test_long_lines_are_not_kept() -> None:
    lines = Lines[int]()
    assert lines.remember((b"x", b"y" * LONGEST_KEPT), 1) == 1
    assert not lines


def test_a_name_whose_values_never_repeat_leaves_the_room_to_others() -> None:
    lines = Lines[int]()
    for number in range(3 * LINES_KEPT):
        lines.remember((b"X-Request-Id", b"%d" % number), 0)
        lines.remember((b"Accept", b"*/*"), 0)
    assert lines.get((b"Accept", b"*/*")) == 0
    assert len(lines) < LINES_KEPT // SHARE
    lines.remember((b"X-Request-Id", b"again"), 0)
    assert lines.get((b"X-Request-Id", b"again")) is None


def test_invented_names_cost_no_more_than_a_fresh_start() -> None:
    lines = Lines[int]()
    for name in range(2 * NAMES_KEPT):
        for number in range(LINES_KEPT + 1):
            lines.remember((b"%d" % name, b"%d" % number), 0)
            if number == LINES_KEPT // 2:
                assert len(lines) <= LINES_KEPT
    assert len(lines._changing) <= NAMES_KEPT
    assert len(lines) <= LINES_KEPT
