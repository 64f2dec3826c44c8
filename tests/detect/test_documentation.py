"""docs/detection.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from apisensor.detect import baseline, failures, findings, ocsf
from apisensor.detect.advice import ADVICE
from apisensor.detect.detection import DETECTORS, Detection
from apisensor.detect.detector import SECOND
from apisensor.detect.detectors import auth_failures_client, auth_failures_identity, response_volume
from apisensor.detect.failures import PATTERNS
from apisensor.detect.json_form import public
from apisensor.detect.model import SEVERITIES, STATES
from apisensor.sections import Detect
from tests.detect.calls import call, identity, login, run
from tests.detect.test_detection import ATTACK
from tests.detect.test_exports import NOTHING
from tests.test_docs import rows, sections

FOUND = sections("detection.md")


def test_rules() -> None:
    table = rows(FOUND["Detection"])
    assert list(table) == list(DETECTORS)
    for name, (title, category, settings, severities, over) in table.items():
        detector = DETECTORS[name]
        assert (title, category) == (detector.title, detector.category or "none")
        assert re.findall(r"`detect\.(\w+)`", settings) == list(detector.settings)
        assert severities.split(", ") == list(detector.severities)
        assert over == f"{detector.quiet_ns // SECOND // 3600} h"


def test_fields_of_a_finding_in_their_order() -> None:
    fields = rows(FOUND["Findings"])
    document = public(NOTHING)
    assert list(fields) == list(document)
    assert {name for name, cells in fields.items() if "null" in cells[0].split(" or ")} == {
        name for name, value in document.items() if value is None
    }
    assert re.findall(r'"(\w+)"', fields["severity"][1]) == list(SEVERITIES)
    assert re.findall(r'"(\w+)"', fields["state"][1]) == list(STATES)


def test_each_says_what_it_means_and_what_to_do() -> None:
    assert list(ADVICE) == list(DETECTORS)
    for name, advice in ADVICE.items():
        text = " ".join(FOUND[name].split())
        assert f"- Means: {advice.meaning} - What to do: {advice.remedy} - Does not find: " in text


@pytest.mark.parametrize("name", DETECTORS)
def test_each_has_its_section_with_its_evidence(name: str) -> None:
    text = FOUND[name]
    for part in ("- Severity: ", "Evidence", "- Example: ", "- Does not find: "):
        assert part in text
    calls = [*ATTACK, *[login(500 + n, f"v{n}", client="10.3.3.3") for n in range(30)]]
    seen = {key for finding in run(calls) if finding.rule == name for key in finding.evidence}
    assert seen
    described = set(re.findall(r"`(\w+)`", text.partition("Evidence")[2].partition("- Example")[0]))
    assert seen <= described
    for severity in DETECTORS[name].severities:
        assert severity in text.lower() or severity == "critical"


def test_patterns() -> None:
    table = {name: cells[0] for name, cells in rows(FOUND["auth-failures-client"]).items()}
    tokens = [call(n, status=401, scheme="bearer", identity=identity(f"t{n}")) for n in range(30)]
    assert table.pop("tokens")
    assert run(tokens)[0].evidence["pattern"] == "tokens"
    assert table == PATTERNS


def test_numbers() -> None:
    growth = FOUND["Findings"]
    assert f"at most {findings.NEW_PER_MINUTE} findings" in growth.replace("\n", " ")
    assert f"first {findings.FIRST_CALLS} and the latest {findings.LATEST_CALLS} calls" in growth
    assert findings.UPDATE_NS == SECOND
    assert f"OCSF {ocsf.VERSION} Detection" in growth.replace("\n", " ")
    high, critical = auth_failures_identity.RISES_AT
    guessed = FOUND["auth-failures-identity"].replace("\n  ", " ")
    assert f"high from {high} and critical from {critical} times `detect.auth_failures`" in guessed
    first, second = auth_failures_client.RISES_AT
    assert f"at {first} and at {second} times" in FOUND["auth-failures-client"].replace("\n", " ")
    assert f"(the first {failures.CLIENTS})" in FOUND["auth-failures-identity"]
    assert f"exact up to {failures.SAMPLE}," in FOUND["auth-failures-client"]
    volume = FOUND["response-volume"].replace("\n", " ")
    assert f"latest {baseline.KEPT} windows" in volume
    assert f"plus {baseline.SIGMAS:.0f} standard deviations" in volume
    assert f"high at {response_volume.HIGH_AT} times the factor" in volume


def test_counters() -> None:
    named = [name for name in Detection(Detect()).counters() if not name.startswith("detect.failed.")]
    assert list(rows(FOUND["Counters"])) == [*named, "detect.failed.RULE"]


def test_settings_are_all_described() -> None:
    text = (Path(__file__).parents[2] / "docs" / "detection.md").read_text().partition("## Counters")[0]
    assert set(re.findall(r"`detect\.(\w+)`", text)) == set(Detect.__struct_fields__)


def test_links_lead_somewhere() -> None:
    docs = Path(__file__).parents[2] / "docs"
    for target in re.findall(r"\]\(([^)#:]+)\)", (docs / "detection.md").read_text()):
        assert (docs / target).exists()
