"""The documented anomalies are those the code knows."""

from __future__ import annotations

import re
from pathlib import Path

from apisensor.protocols.anomalies import ANOMALIES

DOCUMENT = Path(__file__).parents[2] / "docs" / "anomalies.md"


def test_document_lists_each_anomaly_of_the_parsers() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert {name: rows.get(name) for name in ANOMALIES} == ANOMALIES
