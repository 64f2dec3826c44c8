"""`apisensor replay`: the analysis of `run` over a packet capture or a recording."""

from __future__ import annotations

import os
import stat
import sys
from typing import Any

import click

from apisensor.cli.options import filter_from, filter_options, settings_from, settings_options
from apisensor.cli.output import say, table, write_line
from apisensor.detect.json_form import json_line as finding_line
from apisensor.detect.model import Finding
from apisensor.live.filters import compile_filter
from apisensor.live.public import PublicFinding, decode_line, view
from apisensor.live.retold import Retold
from apisensor.live.text import visible
from apisensor.redact.key import identity_key
from apisensor.secret_file import SecretFileError
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Transaction


def _key(path: str) -> bytes:
    try:
        return identity_key(path).load()
    except SecretFileError as error:
        raise click.ClickException(str(error)) from None


def _somebody_waits() -> bool:
    """Whether standard output is read while it is written: a terminal or a pipe, say, and not a file."""
    try:
        return not stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode)
    except OSError:  # no descriptor: a caller that reads when all is over
        return False


@click.command(name="replay", short_help="The same analysis over a .pcap, .pcapng or recording, offline.")
@click.argument("file", metavar="FILE")
@click.option("--format", "form", type=click.Choice(["table", "jsonl"]), default="table", show_default=True)
@click.option("--reveal", is_flag=True, help="Show secrets and personal data as they were sent.")
@click.option(
    "--key-file",
    metavar="FILE",
    help="Key of the identity hashes, so that they can be joined with a sensor's. [default: a random key]",
)
@click.option(
    "--overlap",
    type=click.Choice(["linux", "first", "last"]),
    default="linux",
    show_default=True,
    help="Whose bytes count where TCP segments overlap and differ.",
)
@settings_options
@filter_options
def command(
    file: str,
    form: str,
    reveal: bool,
    key_file: str | None,
    overlap: str,
    config: str | None,
    assignments: tuple[str, ...],
    **values: Any,
) -> int:
    """Analyse FILE (.pcap, .pcapng or a recording; "-": standard input) and show its transactions and findings.

    Filters are for transactions. Of the settings, those of worker and detect count; /etc/apisensor/apisensor.toml is
    read only where --config names it, so that a file says the same on every machine.
    Needs no privilege. The summary goes to standard error. Exit status 1 where the file could not be read to its end.
    """
    from apisensor.content.described import DescriptorSetError  # noqa: PLC0415
    from apisensor.detect.detection import UnknownDetectorError  # noqa: PLC0415
    from apisensor.processes.replay import replay  # noqa: PLC0415 - loads the whole path, and only replay needs it
    from apisensor.replay.errors import ReplayError  # noqa: PLC0415

    # The installed settings file is the node's, and need not be readable for everybody.
    settings = settings_from(config or os.environ.get("APISENSOR_CONFIG") or os.devnull, assignments)
    key = None if key_file is None else _key(key_file)
    passes = compile_filter(filter_from(values))
    lines, retold = table(), Retold()
    live = _somebody_waits()

    def show_table(t: Transaction) -> None:
        if passes(t):
            write_line(lines.transaction(view(t)))

    def show_json(t: Transaction) -> None:
        if passes(t):
            sys.stdout.buffer.write(json_line(t))
            if live:  # tcpdump -w - | apisensor replay - | ...
                sys.stdout.buffer.flush()

    def show_finding(f: Finding) -> None:
        line = finding_line(f)
        if form == "jsonl":
            sys.stdout.buffer.write(line)
        else:
            found = decode_line(line)
            assert isinstance(found, PublicFinding)
            if retold.worth(found):
                write_line(lines.finding(found))

    try:
        show = {"table": show_table, "jsonl": show_json}[form]
        summary = replay(
            file, show, on_finding=show_finding, reveal=reveal, key=key, overlap=overlap, settings=settings
        )
    except (ReplayError, DescriptorSetError, UnknownDetectorError) as error:
        raise click.ClickException(str(error)) from None
    sys.stdout.buffer.flush()
    for line in summary.lines():
        say(visible(line))
    return 0 if summary.error is None else 1
