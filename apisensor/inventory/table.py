"""Endpoints as rows: CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from apisensor.inventory.histogram import quantile
from apisensor.inventory.model import OTHER, EndpointRecord, Histogram
from apisensor.transactions.json_form import rfc3339

Cell = str | int | float | None

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that spreadsheets run (OWASP, CSV Injection)."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


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
        writer.writerow([guarded(column(record)) for column in COLUMNS.values()])
    return out.getvalue()


def guarded(cell: Cell) -> Cell:
    """The cell, with an apostrophe before text that a spreadsheet would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.lstrip(" \n").startswith(FORMULA) else cell


def json_text(records: Iterable[EndpointRecord]) -> bytes:
    """{"endpoints": [...]}: each with its key, quantiles, and the whole profile without its histograms' buckets."""
    return msgspec.json.encode({"endpoints": [_object(record) for record in records]}) + b"\n"


def _object(record: EndpointRecord) -> dict[str, Any]:
    seen: dict[str, Any] = msgspec.to_builtins(record.profile)
    for name in ("latency_ms", "request_bytes", "response_bytes"):
        seen[name] = _quantiles(getattr(record.profile, name))
    for name in ("first", "last"):
        seen[f"{name}_seen"] = rfc3339(seen.pop(f"{name}_ns"))
    for caller in seen["callers"].values():
        for name in ("first", "last"):
            caller[f"{name}_seen"] = rfc3339(caller.pop(f"{name}_ns"))
    return {"id": record.id, **msgspec.to_builtins(record.key), **seen}


def _quantiles(h: Histogram) -> dict[str, float | None]:
    mean = h.sum / h.total if h.total else None
    largest = h.largest if h.total else None
    return {**{name: quantile(h, q) for name, q in QUANTILES.items()}, "mean": mean, "max": largest}
