"""The documents are compared with what they describe."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import click
import pytest

from apisensor.cli.findings import finding_filters
from apisensor.cli.inventory import endpoint_filters
from apisensor.cli.main import COMMANDS, cli
from apisensor.cli.options import filter_options, settings_options
from apisensor.events.model import Binding
from apisensor.processes import capture
from apisensor.processes.capture import CAPABILITIES
from apisensor.processes.sandbox import SANDBOX
from apisensor.protocols.counted import Passed
from apisensor.settings import TABLE
from apisensor.transactions.json_form import public
from apisensor.transactions.model import INCOMPLETE_REASONS, OPERATION_REASONS
from tests.live.transactions import transaction

DOCS = Path(__file__).parent.parent / "docs"


def sections(name: str) -> dict[str, str]:
    """Heading: its text; the text before the first heading under ""."""
    parts = re.split(r"^##? (.+)$", (DOCS / name).read_text(), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def rows(text: str) -> dict[str, list[str]]:
    """First cell, without its marks, of every table row: the other cells."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("| `"):
            found[cells[0].replace("`", "")] = cells[1:]
    return found


def test_fields_of_a_transaction_in_their_order() -> None:
    fields = rows(sections("transaction.md")["A transaction"])
    assert list(fields) == list(public(transaction()))
    nothing_known = public(
        transaction(
            method=None, authority=None, path=None, request_headers=None, response_headers=None, status=None,
            response_body_size=None, client=None, server=None, auth=None, binding=None, duration_ns=None, ttfb_ns=None,
            conn_id=None, process=None, tls=None,
        )
    )  # fmt: skip
    may_be_null = {name for name, cells in fields.items() if "null" in cells[0].split(" or ")}
    assert {name for name, value in nothing_known.items() if value is None} == may_be_null


def test_reasons_and_bindings() -> None:
    found = sections("transaction.md")
    assert {name: cells[0] for name, cells in rows(found["incomplete_reason"]).items()} == INCOMPLETE_REASONS
    listed = {name: cells[0] for name, cells in rows(found["operations"]).items()}
    assert {name: listed.get(name) for name in OPERATION_REASONS} == OPERATION_REASONS
    assert tuple(rows(found["messages"])) == Passed.__struct_fields__
    assert set(rows(found["binding"])) == {binding.name.lower() for binding in Binding}


def options(command: click.Command) -> dict[str, click.Option]:
    return {", ".join(o.opts): o for o in command.params if isinstance(o, click.Option)}


def shared(decorate: object) -> set[str]:
    @click.command()
    def probe() -> None: ...

    assert callable(decorate)
    return set(options(decorate(probe)))


SHARED = {
    "the settings options": (shared(settings_options), "Settings options"),
    "the filters": (shared(filter_options), "Filters"),
    "the endpoint filters": (shared(endpoint_filters), "Endpoint filters"),
    "the finding filters": (shared(finding_filters), "Finding filters"),
}
"""How a command's text says that it has them: the options, and the section that describes them."""


def leaves() -> dict[str, click.Command]:
    """Every command that does something: "inventory list", not "inventory"."""
    found: dict[str, click.Command] = {}
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        if isinstance(command, click.Group):
            found.update({f"{name} {sub}": below for sub, below in command.commands.items()})
        else:
            found[name] = command
    return found


LEAVES = leaves()


def test_every_command_and_no_other() -> None:
    found = sections("commands.md")
    assert list(found) == ["", "Commands", *LEAVES, *(section for _, section in SHARED.values())]
    assert re.findall(r"^    apisensor (\w+)", found["Commands"], re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", LEAVES)
def test_options_of_a_command(name: str) -> None:
    text = " ".join(sections("commands.md")[name].split()).replace("And the", "and the")
    real = options(LEAVES[name])
    own = set(real)
    for phrase, (theirs, _) in SHARED.items():
        has = own >= theirs
        assert (phrase in text) == has, phrase
        if has:
            own -= theirs
    described = rows(sections("commands.md")[name])
    assert set(described) == own
    for option, cells in described.items():
        if isinstance(choice := real[option].type, click.Choice):
            assert all(f"`{value}`" in cells[0] for value in choice.choices)
            assert (
                real[option].default is None
                or not real[option].show_default
                or (f"`{real[option].default}` (default)" in cells[0])
            )


def test_shared_options() -> None:
    found = sections("commands.md")
    for theirs, section in SHARED.values():
        assert set(rows(found[section])) == theirs


def test_privileges() -> None:
    found = sections("privileges.md")
    assert list(rows(found["Capabilities of capture"])) == list(CAPABILITIES)
    code = inspect.getsource(capture)
    for name, cells in rows(found["Capabilities of capture"]).items():
        assert f'"{name}",  # {cells[0].replace("`", "")}' in code
    named = set(re.findall(r"`(\w+)`", found["The sandbox"].partition("memory.\n")[2]))
    assert named == {*SANDBOX, "mmap", "mprotect"}
    described = found["Who runs as whom"]
    parts = rows(described)
    modules = {"run", "loader", "describer", "capture", "finder", "worker-N", "core", "web", "recorder"}
    assert set(parts) == modules
    for name in modules - {"run", "loader"}:
        code = (Path(capture.__file__).parent / f"{name.removesuffix('-N')}.py").read_text()
        user = parts[name][0].strip("`").removeprefix("general.")
        kept = ", kept_capabilities(parameters)" if name == "capture" else ""
        assert f"become(parameters.settings.general.{user}{kept})" in code, name
        assert ("seal()" in code) == (parts[name][2] == "sandbox"), name


SECTIONS = {key.partition(".")[0] for key in TABLE}
NAMES = re.compile(r"`(?:--set )?([a-z]+\.[a-z_]+)(?:=[^`]*)?`")
"""Of settings, and of the counters that metrics.md describes."""


@pytest.mark.parametrize("path", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_what_a_document_names_is_there(path: Path) -> None:
    """Settings, commands with their options, and other documents: what a reader would type or follow."""
    text = path.read_text()
    keys = {key for key in NAMES.findall(text) if key.partition(".")[0] in SECTIONS}
    assert keys <= set(TABLE) | {*NAMES.findall((DOCS / "metrics.md").read_text()), "web.token"}
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (path.parent / link).exists(), link
    for line in re.findall(r"`(apisensor [^`]+)`|^    (apisensor .+)$", text, re.MULTILINE):
        words = (line[0] or line[1]).split()[1:]
        if not words or words[0].startswith(("-", "[", "COMMAND")):
            continue
        assert words[0] in COMMANDS, words
        name = " ".join(words[:2]) if " ".join(words[:2]) in LEAVES else words[0]
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        known = set(options(LEAVES[name])) if name in LEAVES else set()
        assert given <= known, (words, given - known)
