"""Says in the log when the receiver of spans stops taking them, and when it takes them again."""

from __future__ import annotations

import logging

from apisensor.export.exporter import ExportStats
from apisensor.live.text import visible


class Delivered:
    """What was said last. Between the two nothing is said: what is tried again and again would fill the log."""

    def __init__(self, destination: str, log: logging.Logger) -> None:
        """
        Args:
            destination: where spans go, as `apisensor status` shows it.
        """
        self._destination = destination
        self._log = log
        self._failing = False
        self._sent = self._dropped = 0

    def look(self, stats: ExportStats) -> None:
        """To be called now and then with the exporter's numbers."""
        dropped = sum(stats.dropped.values())
        fails = stats.state == "retrying" or dropped > self._dropped
        if fails and not self._failing:
            self._failing = True
            happens = f"{dropped:,} were dropped" if dropped else "they wait, up to a limit"
            self._log.warning(
                f"spans are not delivered to {self._destination} ({visible(stats.last_error or 'no answer')}): "
                f"{happens}; `apisensor doctor` looks at the way there"
            )
        elif self._failing and not fails and stats.sent > self._sent:
            self._failing = False
            self._log.info(f"spans are delivered to {self._destination} again")
        self._sent, self._dropped = stats.sent, dropped
