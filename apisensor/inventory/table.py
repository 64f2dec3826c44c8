"""Endpoints as rows of CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable

from apisensor.inventory.histogram import quantile
from apisensor.inventory.model import OTHER, EndpointRecord
from apisensor.spreadsheet import guarded
from apisensor.transactions.json_form import rfc3339

Cell = str | int | float | None


def _counts(counts: dict[str, int]) -> str:
    return " ".join(f"{key}:{count}" for key, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))


COLUMNS: dict[str, Callable[[EndpointRecord], Cell]] = {
    "id": lambda r: r.id,
    "side": lambda r: r.key.side,
    "owner": lambda r: r.key.owner,
    "method": lambda r: r.key.method,
    "route": lambda r: r.key.route,
    "count": lambda r: r.profile.count,
    "errors": lambda r: r.profile.errors,
    "error_rate": lambda r: r.profile.errors / r.profile.count if r.profile.count else 0.0,
    "unanswered": lambda r: r.profile.unanswered,
    "encrypted": lambda r: r.profile.encrypted,
    "statuses": lambda r: _counts(r.profile.statuses),
    "auth": lambda r: _counts(r.profile.auth),
    "open_successes": lambda r: r.profile.open_successes,
    "sensitive_in": lambda r: _counts(r.profile.sensitive_in),
    "sensitive_out": lambda r: _counts(r.profile.sensitive_out),
    "callers": lambda r: sum(key != OTHER for key in r.profile.callers),
    "p50_ms": lambda r: quantile(r.profile.latency_ms, 0.5),
    "p95_ms": lambda r: quantile(r.profile.latency_ms, 0.95),
    "p95_request_bytes": lambda r: quantile(r.profile.request_bytes, 0.95),
    "p95_response_bytes": lambda r: quantile(r.profile.response_bytes, 0.95),
    "first_seen": lambda r: rfc3339(r.profile.first_ns),
    "last_seen": lambda r: rfc3339(r.profile.last_ns),
}
"""Columns of the CSV, in their order. Several counts in one cell: "200:17 404:2", the largest first."""


def csv_text(records: Iterable[EndpointRecord]) -> str:
    """A heading and one line per endpoint (RFC 4180)."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for record in records:
        cells = (column(record) for column in COLUMNS.values())
        writer.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in cells])
    return out.getvalue()
