"""Calls and findings for tests of detect."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

from apisensor.detect.detection import Detection
from apisensor.detect.model import Call, Finding
from apisensor.sections import Detect

START = 1_750_000_020_000_000_000
"""Unix time of a test's beginning, ns; a whole number of minutes."""
SECOND = 1_000_000_000

_numbers = itertools.count(1)


def identity(name: str) -> str:
    """Like a keyed hash: 32 hexadecimal digits that follow from the name."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def call(seconds: float = 0, **fields: Any) -> Call:
    """A GET with status 200 over TLS from 10.0.0.2, without a credential; whatever matters to a test is replaced."""
    number = next(_numbers)
    whole: dict[str, Any] = {
        "time_ns": START + round(seconds * SECOND),
        "transaction": f"{number:016x}",
        "trace_id": f"{number:032x}",
        "side": "server",
        "endpoint": "e1",
        "service": "shop",
        "method": "GET",
        "route": "/things/{id}",
        "path": "/things/1",
        "status": 200,
        "grpc_status": None,
        "client": "10.0.0.2",
        "server": "10.0.0.1:443",
        "scheme": None,
        "identity": None,
        "login_identity": None,
        "request_bytes": 0,
        "response_bytes": 100,
        "encrypted": True,
        "loopback": False,
        "sensitive": [],
        "anomalies": [],
    }
    return Call(**{**whole, **fields})


def login(seconds: float, user: str = "alice", status: int = 401, **fields: Any) -> Call:
    """A try to log in."""
    whole = {"endpoint": "e-login", "method": "POST", "route": "/login", "path": "/login", "status": status}
    return call(seconds, **{**whole, "login_identity": identity(user), **fields})


def basic(seconds: float, user: str = "alice", status: int = 401, **fields: Any) -> Call:
    """A call with basic authentication."""
    return call(seconds, **{"scheme": "basic", "identity": identity(user), "status": status, **fields})


def run(calls: list[Call], detection: Detection | None = None, **settings: Any) -> list[Finding]:
    """Findings as they stand at the end, in the order in which they began."""
    detection = detection or Detection(Detect(**settings))
    last: dict[str, Finding] = {}
    for one in calls:
        for finding in detection.observe(one):
            last[finding.id] = finding
    for finding in detection.due(max((one.time_ns for one in calls), default=START) + 10 * SECOND):
        last[finding.id] = finding
    return list(last.values())


def rules(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings]
