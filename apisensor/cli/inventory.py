"""`apisensor inventory`: the APIs of this node, from the store; also while the sensor runs."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from apisensor.cli import stored
from apisensor.cli.listing import Column, cell
from apisensor.cli.options import Whole, settings_options
from apisensor.cli.output import page_console
from apisensor.inventory.model import EndpointKey, EndpointRecord
from apisensor.inventory.openapi import documents
from apisensor.inventory.table import csv_text
from apisensor.live.text import duration, size
from apisensor.store.model import EndpointDetail, EndpointQuery, EndpointRow

SHOWN = 20
"""Lines of a part of a page for a person; --format json has all."""

_FILTERS = (
    click.option("--search", metavar="TEXT", help="Part of the route or of its owner, any case."),
    click.option("--owner", metavar="NAME", help="Service, or destination of calls that leave the node."),
    click.option("--side", type=click.Choice(["server", "client"]), help="Served here, or called elsewhere."),
    click.option("--method", metavar="METHOD", help="GET, POST, ..."),
    click.option("--sensitive", is_flag=True, help="Only those that carry sensitive data."),
    click.option("--unauthenticated", is_flag=True, help="Only those that served calls without credentials."),
    click.option("--errors", is_flag=True, help="Only those with errors."),
)

_NAMES = ("search", "owner", "side", "method", "sensitive", "unauthenticated", "errors")
"""What they are called."""


def endpoint_filters(command: Any) -> Any:
    """The fields of an EndpointQuery; the command gets them as keyword arguments."""
    for option in reversed(_FILTERS):
        command = option(command)
    return command


@click.group(name="inventory", short_help="The APIs of this node: list, show, export.")
def command() -> None:
    """What APIs there are, who calls them, how they authenticate and what sensitive data they carry."""


@command.command(name="list", short_help="Endpoints, filterable.")
@endpoint_filters
@click.option(
    "--sort",
    type=click.Choice(["owner", "last_seen", "count", "errors", "latency", "first_seen"]),
    default="owner",
    show_default=True,
)
@click.option("-n", "--limit", type=Whole(1), default=100, show_default=True, help="Endpoints shown.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def list_(limit: int, form: str, config: str | None, assignments: tuple[str, ...], **values: Any) -> None:
    """List endpoints: a service (or destination), a method, a route template."""
    with stored.reader(config, assignments) as store:
        rows, more = stored.gathered(store.endpoints, EndpointQuery, values, limit)
        unmatched = 0 if any(values[name] for name in _NAMES) else sum(row.unmatched for row in store.owners())
    if form == "json":
        stored.print_json(rows)
        return
    stored.print_rows(_COLUMNS, rows, "no endpoint matches", "-n shows more, --search narrows" if more else "")
    if unmatched and sys.stdout.isatty():
        page_console().print(Text(f"{unmatched:,} calls belong to no endpoint (404 of scans and the like)", "dim"))


@command.command(short_help="One endpoint with everything that is known of it.")
@click.argument("id_", metavar="ID")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@settings_options
def show(id_: str, form: str, config: str | None, assignments: tuple[str, ...]) -> None:
    """Show one endpoint. ID may be one that it had before a route template was learnt."""
    with stored.reader(config, assignments) as store:
        detail = store.endpoint(id_)
    if detail is None:
        raise click.ClickException(f"no endpoint has the id {id_!r}: `apisensor inventory list` shows those there are")
    if form == "json":
        stored.print_json(detail)
    else:
        page_console().print(_detail_page(detail))


@command.command(short_help="The inventory as OpenAPI 3.1, CSV or JSON.")
@endpoint_filters
@click.option("--format", "form", type=click.Choice(["openapi", "csv", "json"]), default="openapi", show_default=True)
@settings_options
def export(form: str, config: str | None, assignments: tuple[str, ...], **values: Any) -> None:
    """Write the inventory to standard output. An OpenAPI document describes one owner: --owner says which."""
    with stored.reader(config, assignments) as store:
        rows, _ = stored.gathered(store.endpoints, EndpointQuery, values, None)
        owners = sorted({row.owner for row in rows})
        if form == "openapi" and len(owners) != 1:
            if not owners:
                raise click.ClickException("no endpoint matches: there is nothing to export")
            known = ", ".join(owners[:SHOWN])
            raise click.UsageError(f"an OpenAPI document describes one owner: give --owner ({known})")
        details = [detail for row in rows if (detail := store.endpoint(row.id)) is not None]
    if form == "json":
        stored.print_json(details)
        return
    records = [_record(detail) for detail in details]
    if form == "csv":
        click.echo(csv_text(records), nl=False)
    else:
        stored.print_json(documents(records)[0])


def _record(detail: EndpointDetail) -> EndpointRecord:
    row = detail.row
    return EndpointRecord(row.id, EndpointKey(row.side, row.owner, row.method, row.route), detail.profile)


_COLUMNS: tuple[Column[EndpointRow], ...] = (
    Column("id", lambda row: cell(row.id, "dim"), 16),
    Column("owner", lambda row: cell(f"→ {row.owner}" if row.side == "client" else row.owner), 24),
    Column("method", lambda row: cell(row.method), 7),
    Column("route", lambda row: cell(row.route, "bold")),
    Column("calls", lambda row: cell(f"{row.count:,}"), 9, least=7, right=True),
    Column("errors", lambda row: cell(f"{row.error_rate:.1%}" if row.errors else "", "red"), 6, least=5, right=True),
    Column("p95", lambda row: cell(duration(row.p95_ms)), 6, least=3, right=True),
    Column("auth", lambda row: cell(", ".join(row.auth), "yellow" if row.unauthenticated else ""), 14, least=8),
    Column("sensitive", lambda row: cell(", ".join(row.sensitive), "magenta"), 26, least=6),
    Column("callers", lambda row: cell(f"{row.callers:,}"), 7, least=2, right=True),
    Column("seen", lambda row: cell(stored.since(row.last_seen)), 5, least=4),
    Column("first", lambda row: cell(stored.since(row.first_seen)), 5, least=1),
)


def _detail_page(detail: EndpointDetail) -> Group:
    row, profile = detail.row, detail.profile
    blocks: list[RenderableType] = [
        Text.assemble((f"{row.method} ", "bold"), cell(row.route, "bold"), "  ", cell(row.owner), f"  ({row.side})"),
        Text(f"  id {row.id}" + (f", before {', '.join(detail.old_ids)}" if detail.old_ids else ""), "dim"),
        Text(f"  {row.count:,} calls, {row.errors:,} errors, first {row.first_seen[:19]}Z, last {row.last_seen[:19]}Z"),
        Text(f"  over TLS {profile.encrypted:,}, incomplete {profile.incomplete:,}, unanswered {profile.unanswered:,}"),
    ]
    counted = {
        "Statuses": profile.statuses,
        "gRPC statuses": profile.grpc_statuses,
        "Authentication": profile.auth,
        "Sensitive data in": profile.sensitive_in,
        "Sensitive data out": profile.sensitive_out,
        "Hosts": profile.hosts,
        "Content types": profile.content_types,
        "Query parameters": profile.query_names,
        "Anomalies": profile.anomalies,
    }
    for title, counts in counted.items():
        if counts:
            blocks += [Text(f"\n{title}", "bold"), _counts(counts)]
    blocks += [Text("\nQuantiles", "bold"), _quantiles(detail), Text("\nCallers", "bold"), _callers(detail)]
    return Group(*blocks)


def _counts(counts: dict[str, int]) -> Table:
    made = stored.table("", "", right=("",))
    made.show_header = False
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    for name, count in ordered[:SHOWN]:
        made.add_row(cell(f"  {count:>10,}"), cell(name))
    if len(ordered) > SHOWN:
        made.add_row(cell(""), Text(f"and {len(ordered) - SHOWN} more", "dim"))
    return made


def _quantiles(detail: EndpointDetail) -> Table:
    shown = {
        "latency_ms": ("latency", duration),
        "request_bytes": ("request", _bytes),
        "response_bytes": ("response", _bytes),
    }
    columns = ("p50", "p90", "p95", "p99", "max")
    made = stored.table("", *columns, right=columns)
    for name, (title, form) in shown.items():
        values = detail.quantiles[name]
        made.add_row(cell(f"  {title}"), *(cell(form(values[column])) for column in columns))
    return made


def _bytes(value: float | None) -> str:
    return size(None if value is None else round(value))


def _callers(detail: EndpointDetail) -> Table:
    made = stored.table("  calls", "identity", "scheme", "service", "address", right=("  calls",))
    callers = sorted(detail.profile.callers.values(), key=lambda caller: -caller.count)
    for caller in callers[:SHOWN]:
        values = (caller.identity, caller.scheme, caller.service, caller.address)
        made.add_row(cell(f"{caller.count:,}"), *(cell(value) for value in values))
    if len(callers) > SHOWN:
        made.add_row(cell(""), Text(f"and {len(callers) - SHOWN} more", "dim"))
    return made
