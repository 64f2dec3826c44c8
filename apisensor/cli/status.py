"""`apisensor status`: what the sensor of this node is doing, and what it has lost."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click
import msgspec
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from apisensor.cli.listing import Column, cell, listing
from apisensor.cli.options import settings_from, settings_options
from apisensor.cli.output import page_console
from apisensor.live.client import LiveClient
from apisensor.live.losses import OTHERWISE, remedies
from apisensor.live.status import LibraryStatus, Part, ProcessStatus, Status
from apisensor.live.text import duration, size, visible

SHOWN_PROCESSES = 30
"""Rows of a table for a person; --format json has all."""


@click.command(name="status", short_help="Parts, memory, counters, and what is attached.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def command(form: str, config: str | None, assignments: tuple[str, ...]) -> int:
    """Show the parts of the running sensor, its counters, the TLS libraries and processes it sees, and its export."""
    with LiveClient(settings_from(config, assignments).live_socket) as client:
        status = client.status()
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(status)))
    else:
        console = page_console()
        console.print(page(status, time.time(), console.width))
    return 0


def page(status: Status, now: float, width: int) -> Group:
    """The status as a page for a terminal of so many places; `now` is Unix time, seconds."""
    running = duration(max(0.0, now - status.started) * 1000)
    losses = {name: count for name, count in status.counters.items() if ".lost." in name and count}
    others = {name: count for name, count in status.counters.items() if ".lost." not in name and count}
    blocks: list[RenderableType] = [Text.assemble(("apisensor ", "bold"), visible(status.version), f", up {running}")]
    blocks.extend(Text(f"  {visible(note)}", "magenta") for note in status.notes)
    blocks += [_heading("Parts"), _parts(status.parts, sum(status.maps.values()))]
    blocks += [_heading("Lost"), _counters(losses, "red") if losses else Text("  nothing", "green")]
    if losses:
        blocks += [Text(f"  -> {remedy}", "yellow") for remedy in remedies(losses) or [OTHERWISE]]
    if others:
        blocks += [_heading("Counters"), _counters(others, "")]
    blocks += [_heading("Export"), _export(status)]
    blocks += [_heading("TLS libraries"), *_libraries(status.libraries, width)]
    blocks += [_heading("Processes"), *_processes(status.processes, width)]
    return Group(*blocks)


def _heading(text: str) -> Text:
    return Text(f"\n{text}", "bold")


def _table(*headings: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in right else "left", overflow="fold")
    return table


def _running(part: Part) -> Text:
    if part.pid is not None:
        return Text(str(part.pid))
    return Text("resting") if part.resting else Text("not running", "red")


def _parts(parts: list[Part], maps: int) -> Table:
    table = _table("  name", "pid", "user", "up", "restarts", "memory", "", right=("pid", "up", "restarts", "memory"))
    for part in parts:
        table.add_row(
            Text("  " + visible(part.name)),
            _running(part),
            Text(visible(part.user or "-")),
            Text("-" if part.pid is None else duration(part.uptime_seconds * 1000)),
            Text(str(part.restarts), "red" if part.restarts else ""),
            Text(size(part.memory_bytes)),
            Text(f"ended before with {visible(part.last_exit)}" if part.last_exit else "", "red"),
        )
    if maps:
        table.add_row(*(Text(word) for word in ("  BPF maps", "", "", "", "", size(maps), "")))
    return table


def _counters(counters: dict[str, int], style: str) -> Table:
    table = _table("", "", right=())
    table.show_header = False
    for name, count in sorted(counters.items()):
        table.add_row(Text("  " + visible(name)), Text(f"{count:>15,}", style))
    return table


def _export(status: Status) -> RenderableType:
    if status.export is None:
        return Text("  off: OTEL_EXPORTER_OTLP_ENDPOINT is not set, or export.enabled is false")
    table = _table("", "")
    table.show_header = False
    for name, value in status.export.items():
        shown = f"{value:,}" if isinstance(value, int) else visible(str(value)) if value is not None else "-"
        table.add_row(Text("  " + visible(name)), Text(shown))
    return table


_LIBRARIES: tuple[Column[LibraryStatus], ...] = (
    Column("  path", lambda library: _indented(library.path)),
    Column("library", lambda library: cell(library.library), 10),
    Column("version", lambda library: cell(library.version or "?"), 10, least=1),
    Column("probes", lambda library: cell(library.probes, "" if library.probes else "red"), 6, right=True),
    Column("processes", lambda library: cell(library.processes), 9, least=2, right=True),
)


def _libraries(libraries: list[LibraryStatus], width: int | None) -> Iterator[RenderableType]:
    if not libraries:
        yield Text("  none: no running process has mapped a TLS library that is known")
        return
    yield listing(_LIBRARIES, libraries, width)
    for library in libraries:
        if library.reason:
            yield _said(library.path, library.reason)


_PROCESSES: tuple[Column[ProcessStatus], ...] = (
    Column("  pid", lambda process: _indented(str(process.pid)), 9),
    Column("executable", lambda process: cell(process.executable or "?")),
    Column("service", lambda process: cell(process.service), 20, least=2),
    Column("container", lambda process: cell((process.container or "")[:12]), 12, least=1),
    Column("calls", lambda process: cell(f"{process.transactions:,}"), 11, right=True),
    Column("plaintext", lambda process: cell(size(process.plaintext_bytes)), 9, least=3, right=True),
    Column("encrypted", lambda process: cell(size(process.encrypted_bytes)), 9, right=True),
    Column("not seen", lambda process: cell(size(process.unseen_bytes or None)), 8, right=True),
    Column("TLS", lambda process: Text(*_tls(process)), 8),
)


def _tls(process: ProcessStatus) -> tuple[str, str]:
    return ("blind", "red") if process.blind else ("attached" if process.attached else "-", "")


def _processes(processes: list[ProcessStatus], width: int | None) -> Iterator[RenderableType]:
    if not processes:
        yield Text("  none seen yet")
        return
    ordered = sorted(processes, key=lambda p: (not p.blind, -p.transactions, -p.encrypted_bytes, p.pid))
    yield listing(_PROCESSES, ordered[:SHOWN_PROCESSES], width)
    if len(ordered) > SHOWN_PROCESSES:
        yield Text(f"  and {len(ordered) - SHOWN_PROCESSES} more (--format json)", "dim")
    for process in ordered[:SHOWN_PROCESSES]:
        if process.note:
            yield _said(f"{process.pid} {process.executable or '?'}", process.note)


def _indented(text: str) -> Text:
    return Text("  " + visible(text))


def _said(what: str, text: str) -> Padding:
    """A remark on a row, below its table: it may be long."""
    return Padding(Text(f"{visible(what)}: {visible(text)}", "yellow"), (0, 0, 0, 2))
