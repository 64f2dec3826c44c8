"""`apisensor page`: the link that logs a browser in to the page."""

from __future__ import annotations

import pwd

import click

from apisensor.cli.options import settings_from, settings_options
from apisensor.secret_file import SecretFileError
from apisensor.web.listening import authority
from apisensor.web.token import login_token


@click.command(name="page", short_help="The link that logs a browser in to the page.")
@settings_options
def command(config: str | None, assignments: tuple[str, ...]) -> None:
    """Print the link to the page, with the login token: for root and the sensor's group. Whoever has it sees what the
    sensor keeps."""
    settings = settings_from(config, assignments)
    try:
        token = login_token(settings.token_file, pwd.getpwnam(settings.general.user).pw_gid).load()
    except KeyError:
        raise click.ClickException(
            f"there is no user {settings.general.user} (general.user): no sensor ran here; `apisensor run` starts one"
        ) from None
    except SecretFileError as error:
        refused = isinstance(error.__cause__, PermissionError)
        remedy = f": be root, or in the group of {settings.general.user}" if refused else ""
        raise click.ClickException(f"{error}{remedy}") from None
    click.echo(f"http://{authority(settings.web.address, settings.web.port)}/login?token={token.decode().strip()}")
