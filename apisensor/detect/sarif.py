"""Findings as SARIF 2.1.0 (OASIS), for what shows the results of analysis tools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apisensor import __version__
from apisensor.detect.advice import ADVICE
from apisensor.detect.detection import DETECTORS
from apisensor.detect.json_form import public
from apisensor.detect.model import Finding, Severity, State

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

_LEVELS: dict[Severity, str] = {
    "info": "note",
    "low": "note",
    "medium": "warning",
    "high": "error",
    "critical": "error",
}
_RANKS: dict[Severity, float] = {"info": 0.0, "low": 25.0, "medium": 50.0, "high": 75.0, "critical": 100.0}
"""Section 3.27.25: 0 to 100."""
_SUPPRESSED: frozenset[State] = frozenset(("false_positive", "closed"))


def sarif(findings: Iterable[tuple[Finding, State]]) -> dict[str, Any]:
    """A log with one run."""
    results = [_result(finding, state) for finding, state in findings]
    names = [*DETECTORS, *sorted({result["ruleId"] for result in results} - set(DETECTORS))]
    for result in results:
        result["ruleIndex"] = names.index(result["ruleId"])
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {"name": "apisensor", "version": __version__, "rules": [_rule(name) for name in names]}
                },
                "results": results,
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    detector = DETECTORS.get(name)
    if detector is None:  # of a store that an older or newer sensor wrote
        return {"id": name}
    rule: dict[str, Any] = {
        "id": name,
        "shortDescription": {"text": detector.title},
        "fullDescription": {"text": ADVICE[name].meaning},
        "help": {"text": ADVICE[name].remedy},
    }
    return rule if detector.category is None else {**rule, "properties": {"tags": [f"OWASP {detector.category}"]}}


def _result(f: Finding, state: State) -> dict[str, Any]:
    where = " ".join(part for part in (f.service, f.route) if part is not None)
    result: dict[str, Any] = {
        "ruleId": f.rule,
        "level": _LEVELS[f.severity],
        "rank": _RANKS[f.severity],
        "message": {"text": f.title},
        "guid": _guid(f.id),
        "occurrenceCount": f.count,
        "partialFingerprints": {"finding/v1": f.id},
        "properties": public(f, state),
    }
    if where:
        result["locations"] = [{"logicalLocations": [{"fullyQualifiedName": where, "kind": "resource"}]}]
    if state in _SUPPRESSED:
        result["suppressions"] = [{"kind": "external", "status": "accepted"}]
    return result


def _guid(finding: str) -> str:
    """Section 3.5.3: a GUID. The finding's 64 bits, in the form of version 8 (RFC 9562 section 5.8)."""
    digits = finding.rjust(16, "0")
    return f"00000000-0000-8{digits[:3]}-8{digits[3:6]}-{digits[6:].rjust(12, '0')}"
