"""`apisensor resume`: captures again what `apisensor pause` left out."""

from __future__ import annotations

import click

from apisensor.cli.options import settings_from, settings_options
from apisensor.cli.pausing import ask, rule, rule_options
from apisensor.live.pauses import Resume


@click.command(name="resume", short_help="Captures again what was paused.")
@rule_options
@settings_options
def command(config: str | None, assignments: tuple[str, ...], **values: str | None) -> None:
    """Capture again what `apisensor pause` was told with the same option. Needs root."""
    ask(settings_from(config, assignments), Resume(rule=rule(values)))
