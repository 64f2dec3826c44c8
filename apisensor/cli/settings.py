"""`apisensor settings`: the table with what is in effect and where each value came from."""

from __future__ import annotations

import textwrap

import click
import msgspec
from rich.table import Table
from rich.text import Text

from apisensor.cli.options import settings_options
from apisensor.cli.output import page_console
from apisensor.settings import DEFAULT_CONFIG, TABLE, load_with_sources, shown_default


@click.command(name="settings", short_help="All settings, their values and where each came from.")
@click.option("--format", "form", type=click.Choice(["table", "json", "toml"]), default="table", show_default=True)
@click.option("--example", is_flag=True, help="Print a settings file with every setting in it, all commented out.")
@settings_options
def command(form: str, example: bool, config: str | None, assignments: tuple[str, ...]) -> int:
    """Show every setting: its value, its source, and what is allowed. docs/settings.md says what each is for."""
    if example:
        click.echo(example_file(), nl=False)
        return 0
    settings, sources = load_with_sources(config, None, assignments)
    values = {
        f"{section}.{name}": value
        for section, entries in msgspec.to_builtins(settings).items()
        for name, value in entries.items()
    }
    if form == "json":
        document = {key: {"value": value, "source": sources[key]} for key, value in values.items()}
        click.echo(msgspec.json.format(msgspec.json.encode(document)))
    elif form == "toml":
        click.echo(_toml(values), nl=False)
    else:
        _print_table(values, sources)
    return 0


def _toml(values: dict[str, object]) -> str:
    """A settings file that has these values. JSON's strings, numbers and lists are TOML's too."""
    lines: list[str] = []
    section = ""
    for key, value in values.items():
        if not key.startswith(section + ".") or not section:
            section = key.partition(".")[0]
            lines += ["", f"[{section}]"] if lines else [f"[{section}]"]
        lines.append(f"{key.partition('.')[2]} = {shown_default(value)}")
    return "\n".join(lines) + "\n"


def example_file() -> str:
    """Every setting with its default and its description, commented out: what an installation puts into /etc."""
    lines = [
        f"# Settings of apisensor ({DEFAULT_CONFIG}), each with its default: remove the # to change one.",
        "# The environment (APISENSOR_SECTION_KEY) and --set section.key=value go before this file.",
        "# Export to an OpenTelemetry collector is configured by the standard OTEL_* environment variables.",
    ]
    section = ""
    for key, field in TABLE.items():
        name = key.partition(".")[2]
        if key.partition(".")[0] != section:
            section = key.partition(".")[0]
            lines += ["", f"[{section}]"]
        described = f"{field.description} Allowed: {field.allowed}. {field.reason}".rstrip()
        lines += ["", *textwrap.wrap(described, 110, initial_indent="# ", subsequent_indent="# ")]
        lines.append(f"# {name} = {shown_default(field.default)}")
    return "\n".join(lines) + "\n"


def _print_table(values: dict[str, object], sources: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", overflow="fold")
    for key, value in values.items():
        changed = sources[key] != "default"
        table.add_row(Text(key), Text(shown_default(value), "bold" if changed else ""), Text(sources[key], "dim"))
    page_console().print(table)
