"""`apisensor findings`: what is wrong, from the store; and what somebody has decided about it, through core."""

from __future__ import annotations

import os
import pwd
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from apisensor.cli import stored
from apisensor.cli.listing import Column, cell
from apisensor.cli.options import Whole, settings_from, settings_options
from apisensor.cli.output import page_console
from apisensor.detect import json_form
from apisensor.detect.advice import ADVICE
from apisensor.detect.model import SEVERITIES, STATES, Finding
from apisensor.detect.ocsf import ocsf_line
from apisensor.detect.sarif import sarif
from apisensor.detect.table import csv_table
from apisensor.live.client import LiveClient
from apisensor.store.commands import SetState
from apisensor.store.model import FindingQuery, FindingRecord, TransactionRow
from apisensor.transactions.json_form import rfc3339

_COLORS = {"info": "cyan", "low": "cyan", "medium": "yellow", "high": "red", "critical": "bold red"}

_FILTERS = (
    click.option("--state", type=click.Choice(STATES), help="Where it is in its life."),
    click.option("--severity", type=click.Choice(SEVERITIES), help="This one and worse."),
    click.option("--rule", metavar="NAME", help="Name of the detector."),
    click.option("--service", metavar="NAME"),
    click.option("--endpoint", metavar="ID", help="Id in the inventory."),
    click.option("--identity", metavar="HASH", help="`apisensor identity hash` makes it."),
    click.option("--client", metavar="ADDRESS"),
    click.option("--search", metavar="TEXT", help="Part of the title, any case."),
)


def finding_filters(command: Any) -> Any:
    """The fields of a FindingQuery; the command gets them as keyword arguments."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.group(name="findings", short_help="What is wrong: list, show, export, set.")
def command() -> None:
    """What the detectors found, with its evidence, and what became of it."""


@command.command(name="list", short_help="Findings, the worst first.")
@finding_filters
@click.option("-n", "--limit", type=Whole(1), default=50, show_default=True, help="Findings shown.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def list_(limit: int, form: str, config: str | None, assignments: tuple[str, ...], **values: Any) -> None:
    """List findings: the worst first, then the latest."""
    with stored.reader(config, assignments) as store:
        records, more = stored.gathered(store.findings, FindingQuery, values, limit)
    if form == "json":
        stored.print_json([_document(record) for record in records])
        return
    stored.print_rows(_COLUMNS, records, "no finding matches", "-n shows more" if more else "")


@command.command(short_help="One finding with its evidence and its life.")
@click.argument("id_", metavar="ID")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def show(id_: str, form: str, config: str | None, assignments: tuple[str, ...]) -> None:
    """Show one finding."""
    with stored.reader(config, assignments) as store:
        record = store.finding(id_)
        transactions = store.finding_transactions(id_) if record is not None else []
    if record is None:
        raise click.ClickException(f"no finding has the id {id_!r}: `apisensor findings list` shows those there are")
    if form == "json":
        stored.print_json({**_document(record), "transaction_rows": transactions})
    else:
        page_console().print(_detail_page(record, transactions))


@command.command(short_help="Findings as OCSF, SARIF, CSV or JSON.")
@finding_filters
@click.option(
    "--format", "form", type=click.Choice(["ocsf", "sarif", "csv", "json"]), default="ocsf", show_default=True
)
@settings_options
def export(form: str, config: str | None, assignments: tuple[str, ...], **values: Any) -> None:
    """Write findings to standard output: OCSF Detection Findings (one JSON object a line), SARIF 2.1.0, CSV, JSON."""
    with stored.reader(config, assignments) as store:
        records, _ = stored.gathered(store.findings, FindingQuery, values, None)
    pairs = [(record.finding, record.state) for record in records]
    if form == "ocsf":
        for finding, state in pairs:
            click.echo(ocsf_line(finding, state), nl=False)
    elif form == "csv":
        click.echo(csv_table(pairs), nl=False)
    else:
        stored.print_json(sarif(pairs) if form == "sarif" else [_document(record) for record in records])


@command.command(name="set", short_help="Sets a finding's state, with a comment.")
@click.argument("id_", metavar="ID")
@click.argument("state", metavar="STATE", type=click.Choice(STATES))
@click.option("-m", "--comment", default="", help="Why; kept with the finding.")
@settings_options
def set_(id_: str, state: Any, comment: str, config: str | None, assignments: tuple[str, ...]) -> None:
    """Acknowledge a finding, call it a false positive, close it, or open it again. The sensor has to be running."""
    change = SetState(finding=id_, state=state, who=_user(), comment=comment)
    with LiveClient(settings_from(config, assignments).live_socket) as client:
        client.ask("command", change)
    click.echo(f"{id_}: {state.replace('_', ' ')}")


def _user() -> str:
    """Who asks for it: of several people who become root, the one."""
    return os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name


def _document(record: FindingRecord) -> dict[str, Any]:
    return {**json_form.public(record.finding, record.state), "events": record.events}


_COLUMNS: tuple[Column[FindingRecord], ...] = (
    Column("id", lambda record: cell(record.finding.id, "dim"), 16),
    Column("severity", lambda record: cell(record.finding.severity, _COLORS[record.finding.severity]), 8),
    Column("state", lambda record: cell(record.state.replace("_", " ")), 14, least=2),
    Column("finding", lambda record: cell(_told(record.finding), "bold" if record.state == "open" else "")),
    Column("service", lambda record: cell(record.finding.service), 20, least=4),
    Column("who", lambda record: cell(record.finding.client or (record.finding.identity or "")[:12]), 15, least=3),
    Column("times", lambda record: cell(f"{record.finding.count:,}"), 7, least=1, right=True),
    Column("last", lambda record: cell(stored.since(rfc3339(record.finding.last_ns))), 5, least=5),
)


def _told(f: Finding) -> str:
    return f"{f.title}: {f.route}" if f.route else f.title


def _detail_page(record: FindingRecord, transactions: list[TransactionRow]) -> Group:
    f = record.finding
    times = "once" if f.count == 1 else f"{f.count:,} times"
    blocks: list[RenderableType] = [
        Text.assemble((f.severity.upper(), _COLORS[f.severity]), "  ", cell(f.title, "bold"), f"  ({record.state})"),
        Text(f"  id {f.id}, rule {f.rule}" + (f", {f.category}" if f.category else ""), "dim"),
        Text(f"  {times}, first {rfc3339(f.first_ns)[:19]}Z, last {rfc3339(f.last_ns)[:19]}Z"),
    ]
    if (advice := ADVICE.get(f.rule)) is not None:
        blocks += [
            Padding(Text(advice.meaning), (1, 2, 0, 2)),
            Padding(Text(f"-> {advice.remedy}", "yellow"), (0, 2, 1, 2)),
        ]
    about = {"service": f.service, "endpoint": f.route, "client": f.client, "server": f.server, "identity": f.identity}
    blocks += [_pairs({name: value for name, value in about.items() if value})]
    blocks += [Text("\nEvidence", "bold"), _pairs(f.evidence)]
    blocks += [Text("\nLife", "bold")]
    life = stored.table("  time", "who", "state", "comment", fold=("comment",))
    for event in record.events:
        life.add_row(cell(f"  {event.time[:19]}Z"), cell(event.who), cell(event.state), cell(event.comment))
    blocks += [life, Text("\nTransactions", "bold")]
    calls = stored.table("  id", "time", "method", "path", "status", "client", fold=("path",))
    for t in transactions:
        status = t.status if t.grpc_status is None else f"grpc:{t.grpc_status}"
        values = (t.time[:19] + "Z", t.method, t.path, status, t.client)
        calls.add_row(cell(f"  {t.id}", "dim"), *(cell(value) for value in values))
    return Group(*blocks, calls)


def _pairs(values: dict[str, Any]) -> Table:
    made = stored.table("", "", fold=("",))
    made.show_header = False
    for name, value in values.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        made.add_row(cell(f"  {name.replace('_', ' ')}"), cell(text))
    return made
