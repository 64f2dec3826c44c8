"""Lists in a terminal: one line for each row, in as many places as there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from rich.table import Table
from rich.text import Text

from apisensor.live.text import columns as places
from apisensor.live.text import visible

T = TypeVar("T")

FLEXIBLE = 28
"""Places that the column without a width has at least, if it needs so many, unless nothing else is left."""
GAP = 2


class Column(NamedTuple, Generic[T]):
    """A column of a list."""

    heading: str
    cell: Callable[[T], Text]
    width: int | None = None
    """Most places it takes; None: it takes what the others leave."""
    least: int = 0
    """The order in which columns give way on a narrow terminal, the least telling first; 0: it never does."""
    right: bool = False


def listing(columns: Sequence[Column[T]], rows: Sequence[T], width: int | None) -> Table:
    """A list in which each row is one line, but for its flexible column, in at most `width` places.

    Args:
        width: None: as many as it takes, and no column gives way or is folded.
    """
    texts = [[column.cell(row) for row in rows] for column in columns]
    taken = [
        min(max(places(text.plain) for text in (Text(column.heading), *cells)), column.width or width or 1 << 20)
        for column, cells in zip(columns, texts, strict=True)
    ]
    shown = [number for number, column in enumerate(columns) if width is None or not column.least]
    if width is not None:
        for number in sorted((n for n, column in enumerate(columns) if column.least), key=lambda n: -columns[n].least):
            if _total(columns, taken, [*shown, number]) <= width:
                shown.append(number)
        shown.sort()
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", expand=width is not None)
    for number in shown:
        column = columns[number]
        flexible = column.width is None and width is not None
        made.add_column(
            column.heading,
            justify="right" if column.right else "left",
            overflow="fold" if flexible else "ellipsis",
            no_wrap=not flexible,
            max_width=None if flexible else taken[number],
            ratio=1 if flexible else None,
        )
    for row in zip(*(texts[number] for number in shown), strict=True):
        made.add_row(*row)
    return made


def _total(columns: Sequence[Column[T]], taken: list[int], shown: list[int]) -> int:
    return sum((taken[n] if columns[n].width else min(taken[n], FLEXIBLE)) + GAP for n in shown) - GAP


def cell(value: object, style: str = "") -> Text:
    """Whatever an attacker wrote, as text; "-" where there is nothing."""
    return Text("-" if value is None or value == "" else visible(str(value)), style)
