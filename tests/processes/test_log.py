"""The sensor's own log: lines for people, objects for a pipeline, each level as the settings say."""

from __future__ import annotations

import json
import logging
import re

import msgspec
import pytest

from apisensor.processes import log
from apisensor.sections import General, Settings


def settings(**general: str) -> Settings:
    return Settings(general=msgspec.convert(general, General))


def test_lines_for_people_name_what_is_not_usual(capsys: pytest.CaptureFixture[str]) -> None:
    made = log.make(settings(), "core")
    made.info("ready (%s)")
    made.warning("worker-0 ended")
    made.error("it cannot work")
    made.debug("nobody asked")
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "apisensor: ready (%s)",
        "apisensor: warning: worker-0 ended",
        "apisensor: error: it cannot work",
    ]


def test_objects_for_a_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    log.make(settings(log_format="json", log_level="warning"), "web")
    logging.getLogger("apisensor.web").error("an answer failed\n\x1b[2J")
    logging.getLogger("apisensor.web").info("all is well")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", found.pop("timestamp"))
    assert found == {"part": "web", "event": "an answer failed\n\x1b[2J", "level": "error"}
