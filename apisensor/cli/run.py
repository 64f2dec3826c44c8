"""`apisensor run`: the sensor."""

from __future__ import annotations

import click

from apisensor.cli.options import settings_from, settings_options
from apisensor.live.terminal import OutputFormat


@click.command(name="run", short_help="Capture, analyse and export; shows live transactions.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "none"]),
    default="table",
    show_default=True,
    help="What standard output shows of each transaction; none for a service.",
)
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="general.log_level")
@click.option("--log-format", type=click.Choice(["console", "json"]), help="general.log_format")
@settings_options
def command(
    form: OutputFormat, log_level: str | None, log_format: str | None, config: str | None, assignments: tuple[str, ...]
) -> int:
    """Capture the API traffic of this node until interrupted. Needs root; `apisensor doctor` says what else.

    Each transaction is a line on standard output; the sensor's own log goes to standard error. Spans are sent where
    OTEL_EXPORTER_OTLP_ENDPOINT names a collector. `apisensor tail` and `apisensor status` ask the running sensor.
    """
    named = {"general.log_level": log_level, "general.log_format": log_format}
    flags = tuple(f"{key}={value}" for key, value in named.items() if value is not None)
    settings = settings_from(config, assignments + flags)
    from apisensor.processes.run import main  # noqa: PLC0415 - after the settings: a mistake in them is said at once

    status: int = main(settings, output=form)
    return status
