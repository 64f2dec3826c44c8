"""The command itself: probe, examine, show."""

from __future__ import annotations

import os

import click
import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from apisensor.cli.doctor.check import Check
from apisensor.cli.doctor.checks import examine
from apisensor.cli.doctor.probes import probe
from apisensor.cli.options import settings_from, settings_options
from apisensor.cli.output import page_console
from apisensor.live.text import visible
from apisensor.sections import Settings
from apisensor.settings import SettingsError

_STYLES = {"ok": "green", "unknown": "magenta", "warn": "yellow", "fail": "bold red"}
"""In the order of the table: what matters stands at its end, where a terminal shows it."""


@click.command(name="doctor", short_help="What this node supports, what is missing, what to do about it.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def command(form: str, config: str | None, assignments: tuple[str, ...]) -> int:
    """Check everything that the sensor needs of this node; changes nothing. Exit status 1 where something needed fails.

    Best run as root; as another user it says what it could not check.
    """
    settings, mistake = Settings(), None
    try:
        settings = settings_from(config, assignments)
    except SettingsError as error:
        mistake = str(error)
    checks = examine(probe(settings, dict(os.environ), mistake))
    failed = sum(check.state == "fail" for check in checks)
    if form == "json":
        document = {"ok": not failed, "checks": checks}
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
    else:
        page_console().print(_page(checks))
    return 1 if failed else 0


def _page(checks: list[Check]) -> Group:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in sorted(checks, key=lambda check: list(_STYLES).index(check.state)):
        table.add_row(Text(check.state, _STYLES[check.state]), Text(visible(check.name)), Text(visible(check.found)))
        if check.remedy:
            table.add_row("", "", Text(f"-> {visible(check.remedy)}", "cyan"))
    counts = {state: sum(check.state == state for check in checks) for state in _STYLES}
    verdict = f"{counts['fail']} failed" if counts["fail"] else "the sensor can run here"
    rest = ", ".join(f"{count} {state}" for state, count in counts.items() if count and state != "fail")
    return Group(table, Text(f"\n{verdict} ({rest})", "bold red" if counts["fail"] else "bold green"))
