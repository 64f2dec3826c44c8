"""What replay and tail print: transactions from public JSON or from the records, as a table or as JSON lines."""

from __future__ import annotations

import sys

from rich.console import Console

from apisensor.live.line import LineFormat
from apisensor.live.terminal import line_format

PIPED_WIDTH = 200


def say(line: str) -> None:
    """A line on standard error, beside the results on standard output."""
    print(line, file=sys.stderr, flush=True)


class _Page(Console):
    def on_broken_pipe(self) -> None:
        """Called while the BrokenPipeError is handled: `main` knows what it means, rich would end the process."""
        raise  # noqa: PLE0704


def page_console() -> Console:
    """For pages of tables: as wide as the terminal, and wide enough for whole paths where there is none."""
    return _Page(highlight=False, emoji=False, markup=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)


def table() -> LineFormat:
    """How a table's lines look on standard output."""
    return line_format(sys.stdout)


def write_line(line: str) -> None:
    """One line of a table on standard output, at once where a person watches."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.buffer.write(line.encode(encoding, "backslashreplace") + b"\n")
    if sys.stdout.isatty():
        sys.stdout.buffer.flush()
