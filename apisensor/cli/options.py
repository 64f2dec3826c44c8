"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from apisensor.live.filters import MAX_TEXT, MAX_VALUES, Filter, FilterError, compile_filter
from apisensor.sections import Settings
from apisensor.settings import load_settings

Command = TypeVar("Command", bound=Callable[..., Any])


class Whole(click.IntRange):
    """A whole number within bounds, called so in errors."""

    name = "whole number"


_SETTINGS_OPTIONS = (
    click.option(
        "--config",
        metavar="FILE",
        help="Settings file (TOML). [default: $APISENSOR_CONFIG, else /etc/apisensor/apisensor.toml where it exists]",
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="KEY=VALUE",
        help="One setting, such as capture.call_limit=65536; repeatable. `apisensor settings` shows them all.",
    ),
)

_FILTER_OPTIONS = (
    click.option("--method", multiple=True, metavar="METHOD", help="GET, POST, ..."),
    click.option("--status", multiple=True, metavar="STATUS", help="404, 5xx, 400-499, or none (no response seen)."),
    click.option("--path", multiple=True, metavar="PATTERN", help="Path without its query; * for any characters."),
    click.option("--host", multiple=True, metavar="PATTERN", help="Host, with or without its port."),
    click.option("--service", multiple=True, metavar="PATTERN", help="Service name of the observed process."),
    click.option("--pid", multiple=True, type=Whole(1, 4_194_304), help="Observed process."),
    click.option("--side", multiple=True, type=click.Choice(["client", "server", "network"]), help="Whose view."),
    click.option(
        "--protocol", multiple=True, metavar="PROTOCOL", help="http/1.0, http/1.1, http/1, h2, grpc, websocket."
    ),
    click.option(
        "--operation",
        multiple=True,
        metavar="PATTERN",
        help="What is asked inside HTTP: 'graphql mutation *', 'mcp *'.",
    ),
    click.option("--container", multiple=True, metavar="ID", help="Container id or its beginning."),
    click.option("--incomplete", is_flag=True, help="Only where something is missing."),
    click.option("--anomaly", "anomalies", multiple=True, metavar="PATTERN", help="Name of an anomaly; * for any."),
)

FILTER_FIELDS = Filter.__struct_fields__
_OPTION = {"anomalies": "anomaly"}
"""Fields whose option has another name."""


def settings_options(command: Command) -> Command:
    """--config and --set; the command gets `config` and `assignments`, for `settings_from`."""
    return _decorated(command, _SETTINGS_OPTIONS)


def filter_options(command: Command) -> Command:
    """The fields of a filter; the command gets them as keyword arguments, for `filter_from`."""
    return _decorated(command, _FILTER_OPTIONS)


def _decorated(command: Command, options: tuple[Callable[[Any], Any], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def settings_from(config: str | None, assignments: tuple[str, ...]) -> Settings:
    """The settings of this invocation; raises SettingsError, which `main` turns into one line and status 1."""
    return load_settings(config, None, assignments)


def filter_from(values: dict[str, Any]) -> Filter:
    """The filter that the options say; a wrong one is wrong usage (status 2)."""
    given = {name: values[name] for name in FILTER_FIELDS}
    for name, value in given.items():
        try:
            msgspec.convert({name: value}, Filter)
        except msgspec.ValidationError:
            allowed = f"up to {MAX_VALUES} values, none of them empty or longer than {MAX_TEXT} characters"
            raise click.UsageError(f"--{_OPTION.get(name, name)}: allowed are {allowed}") from None
    wanted = msgspec.convert(given, Filter)
    try:
        compile_filter(wanted)
    except FilterError as error:
        raise click.UsageError(f"--{error}") from None
    return wanted
