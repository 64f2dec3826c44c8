"""`apisensor pause`: switches capture off for a part of the node, while the sensor runs."""

from __future__ import annotations

import click

from apisensor.cli.options import Whole, settings_from, settings_options
from apisensor.cli.pausing import ask, rule, rule_options
from apisensor.live.pauses import MOST_SECONDS, Pause


@click.command(name="pause", short_help="Captures nothing of a port, process, container or namespace.")
@rule_options
@click.option(
    "--seconds", type=Whole(1, MOST_SECONDS), help="For so long; else until it is resumed or the sensor ends."
)
@settings_options
def command(seconds: int | None, config: str | None, assignments: tuple[str, ...], **values: str | None) -> None:
    """Capture nothing of it from now on, open connections included. What passes is counted; `apisensor status` lists
    what is paused. The sensor has to be running; needs root."""
    ask(settings_from(config, assignments), Pause(rule=rule(values), seconds=seconds))
