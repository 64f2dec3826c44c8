"""Field lines as JSON text: what is found in them is what a look at each line finds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from apisensor.transactions.lines import NONE, NULL, Line, beginning, first, listed, section, text_of, written

NAME = "user-agent"
BEGINS = beginning("User-Agent")

_odd = st.text(st.sampled_from('["],\\ {}:éa'), max_size=6)
_value = st.one_of(
    st.none(), _odd, st.sampled_from(['["user-agent","', '","user-agent","x"]', "\\", '"]', "]", '\\"]'])
)
_name = st.one_of(st.none(), st.sampled_from(["User-Agent", "user-agent", "USER-AGENT", "user-agent2", "["]), _odd)


@given(st.lists(st.tuples(_name, _value), max_size=5))
@example([("[", "user-agent"), ("User-Agent", "x")])
@example([("User-Agent", None), ("user-agent", '\\"]'), ("user-agent", "second")])
def test_the_first_line_of_a_name(lines: list[Line]) -> None:
    text = section([written(line) for line in lines])
    assert text == written(lines)
    assert listed(text) == lines
    values = [value for name, value in lines if name is not None and name.lower() == NAME]
    known = [written(value) for value in values if value is not None]
    assert first(text, BEGINS) == next(iter(known), NULL if values else None)
    assert all(text_of(value) in values for value in known)


def test_no_lines() -> None:
    assert section([]) == NONE
    assert first(NONE, BEGINS) is None
