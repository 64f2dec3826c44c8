"""The sensor's own log, on standard error: lines for people, or JSON for a log pipeline (settings general.log_*).

It says what happens to the sensor. What it captures never goes here, redacted or not.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from apisensor.sections import Settings


def _line(_logger: WrappedLogger, method: str, event: EventDict) -> str:
    """`apisensor: what happened`; the level is said where it is not the usual one."""
    level = "" if method == "info" else f"{method}: "
    return f"apisensor: {level}{event['event']}"


def make(settings: Settings, part: str) -> FilteringBoundLogger:
    """The log of one part."""
    level = logging.getLevelNamesMapping()[settings.general.log_level.upper()]
    processors: list[Processor] = [_line]
    if settings.general.log_format == "json":
        processors = [
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ]
    log: FilteringBoundLogger = structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return log.bind(part=part)
