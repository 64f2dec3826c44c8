"""`apisensor replay`: the analysis of `run` over a packet capture or a recording."""

from __future__ import annotations

import sys
from typing import Any

import click

from apisensor.cli.options import filter_from, filter_options
from apisensor.cli.output import say, table, write_line
from apisensor.live.filters import compile_filter
from apisensor.live.public import view
from apisensor.live.text import visible
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Transaction


@click.command(name="replay", short_help="The same analysis over a .pcap, .pcapng or recording, offline.")
@click.argument("file", metavar="FILE")
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@click.option("--reveal", is_flag=True, help="Show secrets and personal data as they were sent.")
@filter_options
def command(file: str, form: str, reveal: bool, **values: Any) -> int:
    """Analyse FILE (.pcap, .pcapng or a recording; "-": standard input) and show its transactions.

    Needs no privilege. The summary goes to standard error. Exit status 1 where the file could not be read to its end.
    """
    from apisensor.processes.replay import replay  # noqa: PLC0415 - loads the whole path, and only replay needs it
    from apisensor.replay.errors import ReplayError  # noqa: PLC0415

    passes = compile_filter(filter_from(values))
    lines = table()

    def show_table(t: Transaction) -> None:
        if passes(t):
            write_line(lines.transaction(view(t)))

    def show_json(t: Transaction) -> None:
        if passes(t):
            sys.stdout.buffer.write(json_line(t))

    try:
        summary = replay(file, {"table": show_table, "jsonl": show_json}[form], reveal=reveal)
    except ReplayError as error:
        raise click.ClickException(str(error)) from None
    sys.stdout.buffer.flush()
    for line in summary.lines():
        say(visible(line))
    return 0 if summary.error is None else 1
