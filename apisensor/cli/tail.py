"""`apisensor tail`: transactions and findings as they happen, from the sensor that runs on this node."""

from __future__ import annotations

import sys
from typing import Any

import click

from apisensor.cli.options import Whole, filter_from, filter_options, settings_from, settings_options
from apisensor.cli.output import say, table, write_line
from apisensor.live.client import LiveClient
from apisensor.live.public import Dropped, PublicTransaction
from apisensor.live.retold import Retold


@click.command(name="tail", short_help="Live transactions in the terminal, filterable.")
@filter_options
@click.option("-n", "--count", type=Whole(1), help="End after so many transactions.")
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@settings_options
def command(count: int | None, form: str, config: str | None, assignments: tuple[str, ...], **values: Any) -> int:
    """Show the transactions and findings of this node as they happen, until interrupted.

    Filters are for transactions: of those given all must hold; of several values of one, any is enough:
    `apisensor tail --status 5xx --status none --host '*.example.com'`
    """
    wanted = filter_from(values)
    lines, retold = table(), Retold()
    with LiveClient(settings_from(config, assignments).live_socket) as client:
        client.subscribe(wanted)
        try:
            for line, event in client.lines():
                if isinstance(event, Dropped):
                    if form == "jsonl":
                        sys.stdout.buffer.write(line)
                    say(f"apisensor: {event.count:,} transactions were not shown: this reader is too slow")
                    continue
                if form == "jsonl":
                    sys.stdout.buffer.write(line)
                elif isinstance(event, PublicTransaction):
                    write_line(lines.transaction(event))
                elif retold.worth(event):
                    write_line(lines.finding(event))
                sys.stdout.buffer.flush()
                if count is not None and isinstance(event, PublicTransaction):
                    count -= 1
                    if not count:
                        return 0
        except KeyboardInterrupt:  # how a tail is meant to end
            return 0
    raise click.ClickException("the sensor has ended")
