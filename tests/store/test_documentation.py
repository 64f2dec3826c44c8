"""docs/store.md against the code."""

from __future__ import annotations

import re
from pathlib import Path

from apisensor.sections import Store
from apisensor.store import endpoints, findings, read_endpoints, read_transactions, transactions
from apisensor.store.condition import FAILURES, LOSSES
from apisensor.store.schema import SEGMENT_BITS
from apisensor.store.writer import Writer
from tests.test_docs import rows, sections

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_causes_of_loss() -> None:
    found = rows(sections("store.md")["What may be lost"])
    assert set(found) - {"counter store.lost."} == {"queue_full", *LOSSES}
    assert set(FAILURES) < set(LOSSES)


def test_tables(writer: Writer) -> None:
    found = rows(sections("store.md")["Reading it with sqlite3"])
    tables = writer.connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    assert set(found) == {name for (name,) in tables}


def test_statements_run(writer: Writer) -> None:
    text = sections("store.md")["Reading it with sqlite3"]
    statements = re.findall(r"^    (SELECT[^;]+;)", text, re.MULTILINE)
    assert len(statements) == 3
    for statement in statements:
        assert writer.connection.execute(statement).fetchall() == []


def test_numbers() -> None:
    text = " ".join((DOCS / "store.md").read_text().split())
    settings = Store()
    for part in (
        f"`store.max_days`, {settings.max_days} by default",
        f"they last happened, {settings.finding_days} by default; the latest {findings.MAX_FINDINGS:,}",
        f"the first and the latest {findings.MAX_EVENTS - 1} steps",
        f"the latest {endpoints.MAX_ALIASES:,}",
        f"looks at {read_transactions.BUDGET:,} rows at most",
        f"the first {transactions.PATH_CHARACTERS} characters of a path",
        f"if at most {read_endpoints.FEW} match",
        f"`seq` / {1 << SEGMENT_BITS}",
    ):
        assert part in text
