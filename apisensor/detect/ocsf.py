"""Findings as OCSF Detection Finding events (class 2004 of the Open Cybersecurity Schema Framework)."""

from __future__ import annotations

from typing import Any

import msgspec

from apisensor import __version__
from apisensor.detect.advice import ADVICE
from apisensor.detect.model import Finding, Severity, State

VERSION = "1.9.0"
"""Of the schema (August 2026)."""
CLASS, CATEGORY = 2004, 2

SEVERITY_IDS: dict[Severity, int] = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
STATUS_IDS: dict[State, int] = {"open": 1, "acknowledged": 2, "false_positive": 3, "closed": 4}
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High", 5: "Critical"}
_STATUSES = {1: "New", 2: "In Progress", 3: "Suppressed", 4: "Resolved"}
_CREATE, _UPDATE, _CLOSE = 1, 2, 3
_ACTIVITIES = {_CREATE: "Create", _UPDATE: "Update", _CLOSE: "Close"}
_ENDED: frozenset[State] = frozenset(("false_positive", "closed"))
_RULE = 1
"""Analytic type."""

_encode = msgspec.json.Encoder().encode


def ocsf(f: Finding, state: State = "open") -> dict[str, Any]:
    """The event: the finding as it is now. Times are milliseconds of Unix time, as OCSF has them."""
    activity = _CLOSE if state in _ENDED else _CREATE if f.last_ns <= f.time_ns else _UPDATE
    severity, status = SEVERITY_IDS[f.severity], STATUS_IDS[state]
    advice = ADVICE.get(f.rule)
    return {
        "activity_id": activity,
        "activity_name": _ACTIVITIES[activity],
        "category_uid": CATEGORY,
        "category_name": "Findings",
        "class_uid": CLASS,
        "class_name": "Detection Finding",
        "type_uid": CLASS * 100 + activity,
        "type_name": f"Detection Finding: {_ACTIVITIES[activity]}",
        "time": _ms(f.time_ns if activity == _CREATE else f.last_ns),
        "start_time": _ms(f.first_ns),
        "end_time": _ms(f.last_ns),
        "count": f.count,
        "severity_id": severity,
        "severity": _SEVERITIES[severity],
        "status_id": status,
        "status": _STATUSES[status],
        "is_alert": activity != _CLOSE,
        "message": f.title,
        "metadata": {
            "version": VERSION,
            "product": {"name": "apisensor", "vendor_name": "apisensor", "version": __version__},
        },
        "finding_info": {
            "uid": f.id,
            "title": f.title,
            "analytic": {"uid": f.rule, "name": f.rule, "type_id": _RULE, "type": "Rule"},
            "created_time": _ms(f.time_ns),
            "first_seen_time": _ms(f.first_ns),
            "last_seen_time": _ms(f.last_ns),
            "related_events": [{"uid": transaction, "type": "transaction"} for transaction in f.transactions],
            **({} if f.category is None else {"types": [f"OWASP {f.category}"]}),
            **({} if advice is None else {"desc": advice.meaning}),
        },
        **({} if advice is None else {"remediation": {"desc": advice.remedy}}),
        "evidences": [_evidence(f)],
        "unmapped": {"key": f.key, "trace_ids": f.trace_ids, "endpoint": f.endpoint},
    }


def _evidence(f: Finding) -> dict[str, Any]:
    """Who, where, and the numbers; what is not known is absent."""
    found: dict[str, Any] = {"data": f.evidence}
    if f.client is not None:
        found["src_endpoint"] = {"ip": f.client}
    if f.server is not None:
        address, _, port = f.server.rpartition(":")
        unix = f.server.startswith("unix:")
        found["dst_endpoint"] = {"name": f.server} if unix else {"ip": address.strip("[]"), "port": int(port)}
    if f.service is not None:
        found.setdefault("dst_endpoint", {})["svc_name"] = f.service
    if f.identity is not None:
        found["user"] = {"uid": f.identity}
    if f.route is not None:
        found["api"] = {"operation": f.route}
    return found


def ocsf_line(f: Finding, state: State = "open") -> bytes:
    """One line of JSON, newline included."""
    return _encode(ocsf(f, state)) + b"\n"


def _ms(unix_ns: int) -> int:
    return unix_ns // 1_000_000
