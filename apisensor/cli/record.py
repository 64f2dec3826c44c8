"""`apisensor record`: what is captured, into a file that `apisensor replay` reads."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable

import click

from apisensor.cli.options import settings_from, settings_options
from apisensor.cli.output import say
from apisensor.live.text import size

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}

LEAST_BYTES = 4096
"""A recording smaller than this holds no more than its header."""


def _scaled(units: dict[str, int], suffix: str, example: str) -> Callable[[str], float]:
    """A parser for a number with a unit behind it."""

    def parse(text: str) -> float:
        match = re.fullmatch(rf"(\d{{1,15}}(?:\.\d{{1,6}})?)([a-z]*?){suffix}", text.lower(), re.ASCII)
        if not match or match[2] not in units or float(match[1]) <= 0:
            raise click.BadParameter(f"{text[:40]!r}: allowed is a number above 0 with a unit, such as {example}")
        return float(match[1]) * units[match[2]]

    return parse


def open_recording(path: str, force: bool) -> int:
    """A new file of mode 0600, and its descriptor.

    Raises:
        click.ClickException: it exists and `force` was not given, is no regular file, or cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_APPEND
    try:
        if force and os.path.lexists(path):
            # a new inode: whoever has the old file open, or could read it, does not get the new payloads
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise click.ClickException(f"{path}: exists and is no regular file: not replaced")
            os.unlink(path)
        descriptor = os.open(path, flags | os.O_EXCL, 0o600)
    except FileExistsError:
        raise click.ClickException(f"{path}: exists; another name, or --force to replace it") from None
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be made: {error.strerror}") from None
    os.fchmod(descriptor, 0o600)  # whatever the umask took away
    return descriptor


@click.command(name="record", short_help="Write a recording of what is captured: raw payloads.")
@click.argument("file", metavar="FILE")
@click.option(
    "--duration",
    type=_scaled(_SECONDS, "", "90s, 5m or 1h"),
    metavar="TIME",
    help="End after this time: 90, 90s, 5m, 1h. [default: until interrupted]",
)
@click.option(
    "--max-bytes",
    type=_scaled(_UNITS, "b?", "500M or 2GiB"),
    metavar="SIZE",
    help="End when the file has this size: 500M, 2GiB. [default: unlimited]",
)
@click.option("--force", is_flag=True, help="Replace FILE where it exists.")
@settings_options
def command(
    *,
    file: str,
    duration: float | None,
    max_bytes: float | None,
    force: bool,
    config: str | None,
    assignments: tuple[str, ...],
) -> int:
    """Record what is captured on this node into FILE, for `apisensor replay`. Needs root.

    A RECORDING HOLDS RAW PAYLOADS: passwords, tokens and personal data of every process on this node, unredacted.
    FILE is made with mode 0600; treat it as a secret.
    """
    settings = settings_from(config, assignments)
    if max_bytes is not None and max_bytes < LEAST_BYTES:
        raise click.BadParameter(f"at least {LEAST_BYTES} bytes", param_hint="--max-bytes")
    from apisensor.processes.run import record  # noqa: PLC0415 - after the settings: a mistake in them is said at once

    def open_file() -> int:
        descriptor = open_recording(file, force)
        say(f"apisensor: {file} (mode 0600) will hold raw payloads: credentials and personal data, unredacted")
        return descriptor

    status = record(settings, open_file, duration=duration, max_bytes=None if max_bytes is None else int(max_bytes))
    if status == 0:
        written = size(os.stat(file).st_size)
        say(f"apisensor: {written} recorded; `apisensor replay {shlex.quote(file)}` shows what is in it")
    return status
