"""`apisensor identity hash`: finds a known user in data where users are keyed hashes."""

from __future__ import annotations

import os
import sys

import click

from apisensor.cli.options import settings_from, settings_options
from apisensor.redact.identity import IdentityHash
from apisensor.redact.key import identity_key
from apisensor.secret_file import SecretFileError


@click.group(name="identity", short_help="Keyed hashes of identities.")
def command() -> None:
    """Identities are stored and shown as keyed hashes only."""


@command.command(name="hash", short_help="The hash under which a known user is kept.")
@click.argument("value")
@settings_options
def hash_(value: str, config: str | None, assignments: tuple[str, ...]) -> None:
    """Print the keyed hash of VALUE: a user name, the subject of a JWT, an API key, a session's value; "-" reads it
    from standard input, so that it stands in no process list. Needs the right to read the key (root).

    apisensor findings list --identity "$(apisensor identity hash alice)"
    """
    path = settings_from(config, assignments).key_file
    try:
        key = identity_key(path).load()
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None
    raw = sys.stdin.buffer.read().rstrip(b"\r\n") if value == "-" else os.fsencode(value)
    click.echo(IdentityHash(key).of(raw))
