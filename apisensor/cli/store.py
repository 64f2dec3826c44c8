"""`apisensor store`: how the store is, and deleting from it."""

from __future__ import annotations

import time

import click
from rich.text import Text

from apisensor.cli import stored
from apisensor.cli.listing import cell
from apisensor.cli.options import settings_from, settings_options
from apisensor.cli.output import page_console
from apisensor.live.client import LiveClient
from apisensor.live.text import size
from apisensor.store.commands import Purge


@click.group(name="store", short_help="The embedded store: show, purge.")
def command() -> None:
    """Endpoints, recent transactions and findings, all of them redacted."""


@command.command(short_help="Its size, what it holds, since when.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def show(form: str, config: str | None, assignments: tuple[str, ...]) -> None:
    """Show how the store is."""
    with stored.reader(config, assignments) as store:
        facts = store.facts()
    if form == "json":
        stored.print_json(facts)
        return
    made = stored.table("", "")
    made.show_header = False
    shown = {
        "path": facts.path,
        "size": size(facts.bytes),
        "transactions": f"{facts.transactions:,}",
        "since": facts.oldest,
        "endpoints": f"{facts.endpoints:,}",
        "findings": f"{facts.findings:,}",
    }
    for name, value in shown.items():
        made.add_row(Text(name, "dim"), cell(value))
    console = page_console()
    console.print(made)
    for note in facts.notes:
        console.print(cell(note, "yellow"))


@command.command(short_help="Deletes by age, service or identity.")
@click.option("--older-than", metavar="AGE", help="30m, 36h, 7d, 4w: everything that is older.")
@click.option("--service", metavar="NAME", help="Everything of this service, or destination.")
@click.option("--identity", metavar="HASH", help="Everything of this identity (`apisensor identity hash`).")
@settings_options
def purge(
    older_than: str | None, service: str | None, identity: str | None, config: str | None, assignments: tuple[str, ...]
) -> None:
    """Delete for good what one of the options says. The sensor has to be running; needs root."""
    if sum(option is not None for option in (older_than, service, identity)) != 1:
        raise click.UsageError("exactly one of --older-than, --service, --identity is needed")
    before = None if older_than is None else int(time.time()) - stored.age(older_than)
    with LiveClient(settings_from(config, assignments).live_socket) as client:
        done = client.ask("command", Purge(before=before, service=service, identity=identity))
    counts = (f"{done[what]:,} {what}" for what in ("transactions", "findings", "endpoints"))
    click.echo(f"deleted or changed: {', '.join(counts)}")
