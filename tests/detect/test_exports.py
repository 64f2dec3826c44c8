"""What findings look like outside: JSON lines, CSV, OCSF, SARIF."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from apisensor.detect import json_form, ocsf, sarif
from apisensor.detect.advice import ADVICE
from apisensor.detect.detection import DETECTORS
from apisensor.detect.model import SEVERITIES, STATES, Finding, Severity, State
from apisensor.detect.table import COLUMNS, cell, csv_table
from apisensor.live.public import PublicFinding, decode_line
from tests.detect.calls import START, login, run
from tests.detect.test_detection import ATTACK

OCSF = json.loads((Path(__file__).parent / "ocsf_detection_finding.json").read_text())
FOUND = run(ATTACK)
NOTHING = Finding(
    id="0" * 16, rule="r", severity="info", title="t", category=None, key="k", evidence={}, transactions=[],
    trace_ids=[], first_ns=1, last_ns=1, time_ns=1, count=1,
)  # fmt: skip


def test_json_line() -> None:
    for finding in [*FOUND, NOTHING]:
        line = json_form.json_line(finding, "acknowledged")
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        document = json.loads(line)
        assert (document["kind"], document["id"], document["state"]) == ("finding", finding.id, "acknowledged")
        assert set(Finding.__struct_fields__) - set(document) == {"first_ns", "last_ns", "time_ns"}
        shown = decode_line(line)
        assert isinstance(shown, PublicFinding)
        assert (shown.title, shown.count, shown.severity) == (finding.title, finding.count, finding.severity)
    (guessed,) = run([login(n) for n in range(5)])
    document = json.loads(json_form.json_line(guessed))
    assert (document["time"], document["first_time"]) == (
        "2025-06-15T15:07:04.000000000Z",
        "2025-06-15T15:07:00.000000000Z",
    )
    # Everything that docs/detection.md promises.
    for name in ("rule", "severity", "title", "category", "evidence", "transactions", "client", "server", "identity"):
        assert document[name]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("severity", SEVERITIES)
def test_ocsf_is_valid(state: State, severity: Severity) -> None:
    validator = jsonschema.Draft202012Validator(OCSF)
    for finding in [*FOUND, NOTHING]:
        event = json.loads(ocsf.ocsf_line(msgspec.structs.replace(finding, severity=severity), state))
        validator.validate(event)
        assert event["severity_id"] == 1 + SEVERITIES.index(severity)
        assert event["status_id"] == {"open": 1, "acknowledged": 2, "false_positive": 3, "closed": 4}[state]
        assert event["type_uid"] == 200_400 + event["activity_id"]
        assert (event["activity_id"] == 3) == (state in ("false_positive", "closed")) == (not event["is_alert"])


def test_ocsf_says_who_and_where() -> None:
    (finding,) = run([login(n) for n in range(5)])
    event = ocsf.ocsf(finding)
    assert event["activity_name"] == "Create"
    assert event["finding_info"]["desc"] == ADVICE["auth-failures-identity"].meaning
    assert event["remediation"] == {"desc": ADVICE["auth-failures-identity"].remedy}
    assert event["time"] == (START + 4_000_000_000) // 1_000_000
    assert event["evidences"] == [
        {
            "data": finding.evidence,
            "src_endpoint": {"ip": "10.0.0.2"},
            "dst_endpoint": {"ip": "10.0.0.1", "port": 443, "svc_name": "shop"},
            "user": {"uid": finding.identity},
            "api": {"operation": "POST /login"},
        }
    ]
    assert [event["uid"] for event in event["finding_info"]["related_events"]] == finding.transactions
    grown = run([login(n) for n in range(6)])[0]
    assert ocsf.ocsf(grown)["activity_name"] == "Update"
    v6 = ocsf.ocsf(msgspec.structs.replace(finding, server="[2001:db8::1]:443"))
    assert v6["evidences"][0]["dst_endpoint"]["ip"] == "2001:db8::1"
    unix = ocsf.ocsf(msgspec.structs.replace(finding, server="unix:/run/a:1.socket", service=None))
    assert unix["evidences"][0]["dst_endpoint"] == {"name": "unix:/run/a:1.socket"}


def test_the_schema_refuses_what_is_wrong() -> None:
    event = ocsf.ocsf(FOUND[0])
    wrongs: list[dict[str, Any]] = [
        {"severity_id": 7},
        {"class_uid": 2001},
        {"odd": 1},
        {"time": "now"},
        {"evidences": [{}]},
    ]
    for wrong in wrongs:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**event, **wrong}, OCSF)
    for missing in (
        "activity_id",
        "category_uid",
        "class_uid",
        "finding_info",
        "metadata",
        "severity_id",
        "time",
        "type_uid",
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in event.items() if name != missing}, OCSF)


def test_csv() -> None:
    table = csv_table([*[(finding, "open") for finding in FOUND], (NOTHING, "closed")])
    header, *rows = csv.reader(io.StringIO(table))
    assert tuple(header) == COLUMNS
    assert len(rows) == len(FOUND) + 1
    assert set(COLUMNS) < set(json_form.public(NOTHING))
    first = dict(zip(header, rows[0], strict=True))
    assert first["transactions"].split() == FOUND[0].transactions
    assert f"failures={FOUND[0].evidence['failures']}; " in first["evidence"]
    assert dict(zip(header, rows[-1], strict=True))["service"] == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "  =", " @"])
def test_csv_cells_are_no_formulas(start: str) -> None:
    evil = f'{start}cmd|" /C calc"!A0,;\n'
    assert cell(evil) == "'" + evil
    assert cell([evil, "x"]).startswith("'")
    odd = msgspec.structs.replace(NOTHING, service=evil, route=evil, client=evil, title=evil, evidence={evil: evil})
    (_, row) = csv.reader(io.StringIO(csv_table([(odd, "open")])))
    assert len(row) == len(COLUMNS)
    assert not [value for value in row if value.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))]
    assert cell("plain") == "plain"
    assert cell(-5) == "-5"


def sarif_errors(log: dict[str, Any]) -> list[str]:
    """What section 3 of SARIF 2.1.0 forbids, of the parts that are used."""
    errors = []
    if log["version"] != "2.1.0" or not log["$schema"].endswith("sarif-schema-2.1.0.json"):
        errors.append("version")
    for run_ in log["runs"]:
        driver = run_["tool"]["driver"]
        rules = [rule["id"] for rule in driver["rules"]]
        if not driver["name"] or len(set(rules)) != len(rules):
            errors.append("driver")
        for result in run_["results"]:
            if rules[result["ruleIndex"]] != result["ruleId"]:
                errors.append("ruleIndex")
            if result["level"] not in ("none", "note", "warning", "error") or not 0 <= result["rank"] <= 100:
                errors.append("level")
            if not result["message"]["text"] or result["occurrenceCount"] < 1:
                errors.append("message")
            if str(uuid.UUID(result["guid"])) != result["guid"]:
                errors.append("guid")
            errors += [
                "suppression"
                for suppression in result.get("suppressions", [])
                if suppression["kind"] not in ("inSource", "external")
                or suppression["status"] not in ("accepted", "underReview", "rejected")
            ]
    return errors


def test_sarif() -> None:
    pairs: list[tuple[Finding, State]] = [(finding, STATES[n % 4]) for n, finding in enumerate(FOUND)]
    log = json.loads(json.dumps(sarif.sarif([*pairs, (NOTHING, "open")])))
    assert sarif_errors(log) == []
    (one,) = log["runs"]
    rules = one["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [*DETECTORS, "r"]
    assert [rule["help"]["text"] for rule in rules[:-1]] == [advice.remedy for advice in ADVICE.values()]
    assert [result["partialFingerprints"]["finding/v1"] for result in one["results"][:-1]] == [f.id for f in FOUND]
    assert [bool(result.get("suppressions")) for result in one["results"][:4]] == [False, False, True, True]
    assert len({result["guid"] for result in one["results"]}) == len(one["results"])
    assert sarif_errors(sarif.sarif([])) == []
