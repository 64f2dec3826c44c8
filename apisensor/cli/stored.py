"""What commands over the store share: where it is, and how its lists look in a terminal."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.table import Table
from rich.text import Text

from apisensor.cli.listing import Column, listing
from apisensor.cli.options import settings_from
from apisensor.cli.output import page_console
from apisensor.store.model import LARGEST_PAGE, Page
from apisensor.store.reader import StoreReader

T = TypeVar("T")

_AGE = re.compile(r"(\d{1,6})([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@contextmanager
def reader(config: str | None, assignments: tuple[str, ...]) -> Iterator[StoreReader]:
    """The store of this node; also while the sensor runs. Raises SettingsError; what it asks raises StoreError."""
    store = StoreReader(settings_from(config, assignments).store_file)
    try:
        yield store
    finally:
        store.close()


def query(kind: type[Any], values: dict[str, Any]) -> Any:
    """The options as a query of the store; what it does not take is wrong usage (status 2)."""
    try:
        return msgspec.convert({name: value for name, value in values.items() if value is not None}, kind)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from None


def gathered(
    page: Callable[[Any], Page[T]], kind: type[Any], values: dict[str, Any], limit: int | None
) -> tuple[list[T], bool]:
    """Rows of a paged query of the store, all or the first ones, and whether there are more."""
    rows: list[T] = []
    cursor = None
    while True:
        most = LARGEST_PAGE if limit is None else min(LARGEST_PAGE, limit - len(rows))
        found = page(query(kind, {**values, "cursor": cursor, "limit": most}))
        rows += found.rows
        cursor = found.next
        if cursor is None or (limit is not None and len(rows) >= limit):
            return rows, cursor is not None


def age(text: str) -> int:
    """ "36h" as seconds. Raises click.UsageError."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise click.UsageError(f"{text!r} is no age: 30m, 36h, 7d, 4w")
    return int(match.group(1)) * _SECONDS[match.group(2)]


def since(stamp: str) -> str:
    """How long ago an RFC 3339 time is, for a column: "3 m"."""
    import calendar  # noqa: PLC0415 - only tables need it

    seconds = max(0, int(time.time()) - calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def table(*headings: str, right: tuple[str, ...] = (), fold: tuple[str, ...] = ()) -> Table:
    """A table without lines; columns in `fold` give way where the terminal is narrow."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        made.add_column(
            heading,
            justify="right" if heading in right else "left",
            overflow="fold" if heading in fold else "ellipsis",
            no_wrap=heading not in fold,
            ratio=1 if heading in fold else None,
        )
    return made


def print_rows(columns: Sequence[Column[T]], rows: Sequence[T], nothing: str, further: str) -> None:
    """A list for a person: `nothing` where it is empty; `further` says how to see the rest, where there is one."""
    console = page_console()
    if not rows:
        console.print(nothing)
    elif sys.stdout.isatty():
        console.print(listing(columns, rows, console.width))
    else:  # for other programs a row is a line, whatever its length
        whole = listing(columns, rows, None)
        console.width = console.measure(whole).maximum
        console.print(whole)
    if further:
        console.print(Text(f"the first {len(rows)}; {further}", "dim"))


def print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value)))
