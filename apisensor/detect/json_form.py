"""The public JSON form of a finding (design of the output: docs/detection.md), one line each."""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor.detect.model import Finding, State
from apisensor.transactions.json_form import rfc3339

SCHEMA = 1
"""Version of this form: raised when a field changes its meaning or goes; new fields alone do not raise it."""

_encode = msgspec.json.Encoder().encode


def public(f: Finding, state: State = "open") -> dict[str, Any]:
    """The finding as the documented object; keys in their documented order, values ready for JSON."""
    return {
        "kind": "finding",
        "schema": SCHEMA,
        "id": f.id,
        "rule": f.rule,
        "severity": f.severity,
        "title": f.title,
        "category": f.category,
        "state": state,
        "key": f.key,
        "count": f.count,
        "evidence": f.evidence,
        "transactions": f.transactions,
        "trace_ids": f.trace_ids,
        "client": f.client,
        "server": f.server,
        "service": f.service,
        "endpoint": f.endpoint,
        "route": f.route,
        "identity": f.identity,
        "time": rfc3339(f.time_ns),
        "first_time": rfc3339(f.first_ns),
        "last_time": rfc3339(f.last_ns),
    }


def json_line(f: Finding, state: State = "open") -> bytes:
    """One line of JSON, newline included."""
    return _encode(public(f, state)) + b"\n"
