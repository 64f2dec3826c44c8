"""The `apisensor` command: dispatch, and the one place where errors become one line and an exit status.

0: done. 1: it could not be done, with one line on standard error that says why. 2: wrong usage. 130: interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

import apisensor
from apisensor.live.filters import FilterError
from apisensor.live.listening import LiveError
from apisensor.live.text import visible
from apisensor.settings import SettingsError
from apisensor.store.errors import StoreError

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130

COMMANDS = {
    "run": "apisensor.cli.run",
    "replay": "apisensor.cli.replay",
    "record": "apisensor.cli.record",
    "tail": "apisensor.cli.tail",
    "inventory": "apisensor.cli.inventory",
    "findings": "apisensor.cli.findings",
    "page": "apisensor.cli.page",
    "status": "apisensor.cli.status",
    "pause": "apisensor.cli.pause",
    "resume": "apisensor.cli.resume",
    "identity": "apisensor.cli.identity",
    "store": "apisensor.cli.store",
    "prepare": "apisensor.cli.prepare",
    "doctor": "apisensor.cli.doctor.command",
    "settings": "apisensor.cli.settings",
}
"""Command: its module, whose `command` it is. Imported when used: `tail` need not load what `run` needs."""

EXPECTED = (SettingsError, LiveError, FilterError, StoreError)
"""Errors that say in one line what is wrong. Commands turn those of their own stage into click.ClickException."""


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""What writing may fail with. Commands write nothing but standard output, so an error that names no file is of that."""


class _ReaderGone(Exception):
    """Whoever read standard output has seen enough (`| head`). Not an OSError, of which click makes status 1."""


class _Commands(click.Group):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderGone from None

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(apisensor.__version__, message="apisensor %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def cli(debug: bool) -> None:
    """Sees the API traffic of this node: HTTP/1, HTTP/2 and gRPC of every process, in plaintext, without sidecars.

    Begin with `apisensor doctor`, then `apisensor run`.
    """
    del debug  # main has read it: it must hold before anything here can fail


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status. Prints no traceback unless --debug was given first."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    status = _guarded(lambda: _invoke(arguments), debug="--debug" in _global_options(arguments))
    return _flushed(status)


def _invoke(arguments: Sequence[str]) -> int:
    try:
        result = cli.main(args=list(arguments), prog_name="apisensor", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return USAGE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx is not None else "apisensor"
        _say(f"{error.format_message().rstrip('.')} (`{command} --help` says what there is)")
        return USAGE
    except click.ClickException as error:
        _say(error.format_message())
        return FAILED
    except click.Abort:
        return INTERRUPTED
    return result if isinstance(result, int) else OK


def _guarded(work: Callable[[], int], debug: bool) -> int:
    try:
        return work()
    except EXPECTED as error:
        _say(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, _ReaderGone):
        return OK
    except OSError as error:
        if debug:
            raise
        if error.errno in _FULL and not error.filename:
            _say(f"standard output cannot be written: {error.strerror}")
        else:
            _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
    except Exception as error:
        if debug:
            raise
        _say(f"internal error: {type(error).__name__}: {error} (`apisensor --debug ...` shows where)")
    return FAILED


def _flushed(status: int) -> int:
    """What is still buffered goes out here, where a reader that has gone is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # the interpreter flushes again when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _say(f"standard output cannot be written: {error.strerror}")
        return FAILED
    return status


def _global_options(arguments: Sequence[str]) -> Sequence[str]:
    """What stands before the command's name."""
    for index, argument in enumerate(arguments):
        if not argument.startswith("-"):
            return arguments[:index]
    return arguments


def _say(message: Any) -> None:
    """One line on standard error, whatever the message holds."""
    text = visible(" ".join(str(message).split()))
    try:
        print(f"apisensor: {text}", file=sys.stderr)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
