"""What `apisensor pause` and `apisensor resume` have in common: what a rule is made of, and asking the sensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click
import msgspec

from apisensor.live.client import LiveClient
from apisensor.live.pauses import Kind, Pause, Resume, Rule
from apisensor.sections import Settings

_OPTIONS: dict[Kind, tuple[str, str]] = {
    "port": ("PORT", "A TCP port, at either end; the client's port of a connection is that connection alone."),
    "process": ("PID", "A process, and the children that it starts from now on."),
    "container": ("ID", "A container: its id, or at least 8 digits of its beginning."),
    "namespace": ("INODE", "A network namespace: the number in readlink /proc/PID/ns/net."),
}


def rule_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each kind of rule."""
    for kind in reversed(get_args(Kind)):
        metavar, said = _OPTIONS[kind]
        command = click.option(f"--{kind}", metavar=metavar, help=said)(command)
    return command


def rule(values: dict[str, str | None]) -> Rule:
    """The one that was given. Raises click.UsageError."""
    given = [(kind, value) for kind, value in values.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"exactly one of {', '.join(f'--{kind}' for kind in _OPTIONS)} is needed")
    made = msgspec.convert({"kind": given[0][0], "value": given[0][1]}, Rule)
    if (mistake := made.mistake()) is not None:
        raise click.UsageError(mistake)
    return made


def ask(settings: Settings, order: Pause | Resume) -> None:
    """Prints what the sensor answers."""
    with LiveClient(settings.live_socket) as client:
        click.echo(client.ask("command", order)["text"])
