"""The sensor's own log, on standard error: lines for people, or JSON for a log pipeline (settings general.log_*).

It says what happens to the sensor. What it captures never goes here, redacted or not.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import msgspec

from apisensor.sections import Settings

NAME = "apisensor"


class _Lines(logging.Formatter):
    """`apisensor: what happened`; the level is said where it is not the usual one."""

    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"apisensor: {level}{record.getMessage()}"


class _Json(logging.Formatter):
    """One object a line: part, event, level, timestamp (RFC 3339, UTC, microseconds)."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self._part = part

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "part": self._part,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        return msgspec.json.encode(line).decode()


def make(settings: Settings, part: str) -> logging.Logger:
    """The log of one part; a process is one part."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json(part) if settings.general.log_format == "json" else _Lines())
    log = logging.getLogger(NAME)
    log.handlers[:] = [handler]
    log.propagate = False
    log.setLevel(settings.general.log_level.upper())
    return log
