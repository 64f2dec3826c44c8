"""The commands over the store, beside a sensor that writes and after it: inventory, findings, store, identity, page."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from apisensor.live.text import columns
from apisensor.redact.identity import IdentityHash
from tests.cli.invoke import COMMAND, apisensor, environment, one_line
from tests.web import node
from tests.web.filled import FilledStore

NOTHING_IS_RUNNING = "no sensor is running"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Settings of a sensor whose core has the store open."""
    directory = tmp_path_factory.mktemp("stored")
    (directory / "store").mkdir()
    store = FilledStore(str(directory / "store" / "apisensor.db"), int(time.time()))
    yield [f"--set=general.state_directory={directory}", f"--set=general.runtime_directory={directory}"]
    store.close()


@pytest.fixture
def nowhere(tmp_path: Path) -> list[str]:
    return [f"--set=general.state_directory={tmp_path}", f"--set=general.runtime_directory={tmp_path}"]


def printed(*arguments: str) -> str:
    done = apisensor(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_endpoints_in_a_table(place: list[str]) -> None:
    lines = printed("inventory", "list", *place).splitlines()
    assert len(lines) == 1 + len(node.ENDPOINTS)
    row = next(line for line in lines if "/users/{id}" in line and "GET" in line)
    assert "accounts" in row
    assert "email" in row
    assert "cookie" in row


def test_filters_and_bounds_of_the_list(place: list[str]) -> None:
    found = json.loads(
        printed("inventory", "list", "--owner", "accounts", "--method", "GET", "--format", "json", *place)
    )
    assert {row["owner"] for row in found} == {"accounts"}
    assert {row["method"] for row in found} == {"GET"}
    cut = printed("inventory", "list", "-n", "3", "--sort", "count", *place)
    assert "the first 3" in cut
    assert printed("inventory", "list", "--search", "no such thing", *place) == "no endpoint matches\n"


def test_what_attackers_wrote_is_visible_text(place: list[str]) -> None:
    out = printed("inventory", "list", *place)
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "\\u202e" in out


def test_one_endpoint_also_by_an_id_it_had(place: list[str]) -> None:
    shown = printed("inventory", "show", node.endpoint_id(7), *place)
    assert printed("inventory", "show", node.old_id(7), *place) == shown
    for heading in ("Statuses", "Authentication", "Quantiles", "Callers", node.old_id(7)):
        assert heading in shown
    document = json.loads(printed("inventory", "show", node.endpoint_id(7), "--format", "json", *place))
    assert document["row"]["id"] == node.endpoint_id(7)


def test_exports_of_the_inventory(place: list[str]) -> None:
    document = json.loads(printed("inventory", "export", "--owner", "accounts", *place))
    validate(document)
    assert "/users/me" in document["paths"]
    rows = list(csv.DictReader(io.StringIO(printed("inventory", "export", "--format", "csv", *place))))
    assert len(rows) == len(node.ENDPOINTS)
    details = json.loads(printed("inventory", "export", "--format", "json", *place))
    assert {detail["row"]["id"] for detail in details} == {row["id"] for row in rows}
    done = apisensor("inventory", "export", *place)
    assert done.returncode == 2
    assert "--owner (" in done.stderr
    assert "accounts" in done.stderr


def test_findings_in_a_table_and_one_of_them(place: list[str]) -> None:
    lines = printed("findings", "list", *place).splitlines()
    assert len(lines) == 1 + len(node.FINDINGS)
    assert "critical" in lines[1]
    shown = printed("findings", "show", node.finding_id(0), *place)
    for heading in ("Evidence", "Life", "Transactions", "sensor"):
        assert heading in shown
    assert "-> Ask whether the clients in the evidence are the owner's." in shown
    assert "\x1b" not in shown
    worse = json.loads(printed("findings", "list", "--severity", "high", "--format", "json", *place))
    assert {row["severity"] for row in worse} <= {"high", "critical"}
    assert printed("findings", "list", "--rule", "none-such", *place) == "no finding matches\n"


def test_exports_of_findings(place: list[str]) -> None:
    count = len(node.FINDINGS)
    assert [json.loads(line)["class_uid"] for line in printed("findings", "export", *place).splitlines()] == [
        2004
    ] * count
    assert len(json.loads(printed("findings", "export", "--format", "sarif", *place))["runs"][0]["results"]) == count
    assert len(json.loads(printed("findings", "export", "--format", "json", *place))) == count
    assert len(list(csv.DictReader(io.StringIO(printed("findings", "export", "--format", "csv", *place))))) == count


@pytest.mark.parametrize("width", [60, 80, 200])
def test_tables_fit_the_terminal(width: int, place: list[str]) -> None:
    for command in (["inventory", "list"], ["findings", "list"], ["inventory", "show", node.endpoint_id(7)]):
        controller, terminal = os.openpty()
        termios.tcsetwinsize(terminal, (24, width))
        with subprocess.Popen([*COMMAND, *command, *place], stdout=terminal, env=environment()) as process:
            os.close(terminal)
            content = b""
            with contextlib.suppress(OSError):  # how the other end of a closed terminal reads
                while piece := os.read(controller, 65_536):
                    content += piece
        os.close(controller)
        assert process.returncode == 0
        lines = re.sub(r"\x1b\[[0-9;]*m", "", content.decode()).splitlines()
        assert len(lines) > 5
        assert max(map(columns, lines)) <= width
        assert any(word in content.decode() for word in ("/users/me", "Repeated", "Quantiles"))
        if command == ["inventory", "list"]:
            assert "3,122 calls belong to no endpoint" in content.decode()
            heads = lines[0].split()
            assert heads[:4] == ["id", "owner", "method", "route"]
            everything = ["calls", "errors", "p95", "auth", "sensitive", "callers", "seen", "first"]
            assert heads[4:] == {60: [], 80: [], 200: everything}[width]


def test_a_row_is_a_line_where_no_terminal_is(place: list[str]) -> None:
    shown = printed("inventory", "list", *place).splitlines()
    assert any("/internal/export/users.csv" in line for line in shown)
    assert all(line.startswith(("id ", *"0123456789abcdef")) for line in shown)


def test_the_store_itself(place: list[str]) -> None:
    shown = printed("store", "show", *place)
    assert "apisensor.db" in shown
    facts = json.loads(printed("store", "show", "--format", "json", *place))
    assert (facts["endpoints"], facts["findings"]) == (len(node.ENDPOINTS), len(node.FINDINGS))


@pytest.mark.parametrize(
    "arguments", [["inventory", "list"], ["findings", "list"], ["inventory", "show", "x"], ["store", "show"]]
)
def test_nothing_is_kept_yet(arguments: list[str], nowhere: list[str]) -> None:
    done = apisensor(*arguments, *nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no sensor has kept anything here yet" in one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inventory", "show", "0" * 16], "inventory list"),
        (["findings", "show", "0" * 16], "findings list"),
        (["findings", "set", "0" * 16, "closed"], NOTHING_IS_RUNNING),
        (["store", "purge", "--older-than", "7d"], NOTHING_IS_RUNNING),
        (["page"], "there is none"),
        (["inventory", "export", "--owner", "nobody"], "nothing to export"),
        (["identity", "hash", "alice"], "there is none"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: list[str], said: str, place: list[str]) -> None:
    done = apisensor(*arguments, *place, "--set=general.user=daemon")
    assert (done.returncode, done.stdout) == (1, "")
    assert said in one_line(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["store", "purge"],
        ["store", "purge", "--older-than", "soon"],
        ["store", "purge", "--service", "a", "--identity", "b"],
        ["findings", "set", "0" * 16, "solved"],
        ["inventory", "list", "--sort", "beauty"],
        ["inventory"],
    ],
)
def test_wrong_usage(arguments: list[str], place: list[str]) -> None:
    done = apisensor(*arguments, *(place if len(arguments) > 1 else []))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_identities_are_those_of_the_sensor(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    setting = f"--set=redact.key_file={key}"
    expected = IdentityHash(bytes(range(32))).of(b"alice")
    assert printed("identity", "hash", "alice", setting) == expected + "\n"
    done = apisensor("identity", "hash", "-", setting, input="alice\n")
    assert done.stdout == expected + "\n"
