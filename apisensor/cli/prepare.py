"""`apisensor prepare`: compiles now what the next start would have to."""

from __future__ import annotations

import click

from apisensor.cli.options import settings_from, settings_options


@click.command(name="prepare", short_help="Compile the programs now, so that the next start need not.")
@settings_options
def command(config: str | None, assignments: tuple[str, ...]) -> None:
    """Compile the BPF programs for this kernel and these settings and keep them: the next start needs no compiler.

    Attaches nothing. The installer does this; after an update of the kernel the first start does, where that is needed.
    Needs root.
    """
    settings = settings_from(config, assignments)
    from apisensor.processes.run import EXPECTED, prepare  # noqa: PLC0415 - as for `run`

    try:
        click.echo(prepare(settings))
    except EXPECTED as error:
        raise click.ClickException(str(error)) from error
