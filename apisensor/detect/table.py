"""Findings as CSV (RFC 4180), for spreadsheets: what would be a formula there is text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from apisensor.detect.json_form import public
from apisensor.detect.model import Finding, State
from apisensor.spreadsheet import guarded

COLUMNS = (
    *("id", "time", "severity", "state", "rule", "title", "category", "service", "route", "client", "server"),
    *("identity", "count", "first_time", "last_time", "evidence", "transactions", "trace_ids"),
)


def csv_table(findings: Iterable[tuple[Finding, State]]) -> str:
    """A header line and a line for each finding, ended by CRLF."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for finding, state in findings:
        document = public(finding, state)
        writer.writerow([cell(document[column]) for column in COLUMNS])
    return out.getvalue()


def cell(value: Any) -> str:
    """The text of a cell. Text that a spreadsheet would calculate gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, dict):
        value = "; ".join(f"{name}={_listed(inner)}" for name, inner in value.items())
    text = _listed(value)
    return guarded(text) if isinstance(value, str | list) else text


def _listed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
