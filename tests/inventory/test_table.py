"""CSV of the inventory."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.inventory.model import EndpointRecord
from apisensor.inventory.table import COLUMNS, csv_text
from apisensor.spreadsheet import FORMULA, guarded
from apisensor.transactions.model import Auth, Process, Transaction
from tests.export.records import call, transactions
from tests.inventory.calls import fed, served


def records(calls: list[Transaction]) -> list[EndpointRecord]:
    return [EndpointRecord(d.id, d.key, d.profile) for d in fed(calls).flush().endpoints]


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_row() -> None:
    made = records([served("/users/17", auth=Auth("bearer", "x")), *(served("/users/18", 500) for _ in range(3))])
    (row,) = rows(csv_text(made))
    assert list(row) == list(COLUMNS)
    assert (row["owner"], row["method"], row["route"]) == ("shop", "GET", "/users/{id}")
    assert (row["count"], row["errors"], row["error_rate"]) == ("4", "3", "0.75")
    assert row["statuses"] == "500:3 200:1"
    assert row["auth"] == "none:3 bearer:1"
    assert float(row["p95_ms"]) == pytest.approx(2.5, rel=0.025)
    assert row["last_seen"] == "2023-11-14T22:13:25.000000000Z"


@pytest.mark.parametrize("start", FORMULA)
def test_no_cell_is_a_formula(start: str) -> None:
    text = f"{start}cmd|' /C calc'!A0"
    made = records([call(process=Process(1, service=text)), call(process=Process(1, service=" " + text))])
    assert [row["owner"] for row in rows(csv_text(made))] == [f"'{text}", f"' {text}"]


def test_only_the_beginning_makes_a_formula() -> None:
    assert guarded("a=b") == "a=b"
    assert guarded("") == ""


@settings(max_examples=40, deadline=None)
@given(st.lists(transactions, max_size=5))
def test_whatever_was_seen_gives_readable_rows(calls: list[Transaction]) -> None:
    made = records(calls)
    found = rows(csv_text(made))
    assert [row["id"] for row in found] == [record.id for record in made]
    for row in found:
        assert not any(cell.startswith(FORMULA) for cell in row.values())


def test_an_empty_inventory() -> None:
    assert csv_text([]).splitlines() == [",".join(COLUMNS)]
