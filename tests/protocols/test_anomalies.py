"""The documented anomalies are those the code knows."""

from __future__ import annotations

import re
from pathlib import Path

from apisensor.content import codings
from apisensor.protocols.anomalies import ANOMALIES
from apisensor.redact.redactor import INVALID_UTF8
from apisensor.replay import overlap

DOCUMENT = Path(__file__).parents[2] / "docs" / "anomalies.md"


def test_document_lists_each_anomaly_and_no_other() -> None:
    rows = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows.pop(INVALID_UTF8)
    assert rows == {**ANOMALIES, **codings.ANOMALIES, **overlap.ANOMALIES}
