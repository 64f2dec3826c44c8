"""How the store is: what it lost and why, what fails at the moment, what happened to it since the start."""

from __future__ import annotations

import time

from apisensor.store.errors import Cause

LOSSES = ("disk_full", "io_error", "not_allowed", "damaged", "newer", "busy", "encode_error", "internal", "shutdown")
"""Why a transaction that the store's thread had was not stored; docs/store.md explains each, a test compares."""
MAX_NOTES = 20
"""Sentences kept, the latest."""

FAILURES: dict[Cause, str] = {
    "disk_full": "the disk is full",
    "io_error": "the disk does not take writes",
    "not_allowed": "the store may not be written",
    "damaged": "the store is damaged and could not be set aside",
    "newer": "the store was written by a newer apisensor",
    "busy": "another process has the store locked",
}


class Condition:
    """The store's thread changes it; others may read."""

    def __init__(self) -> None:
        self.lost = dict.fromkeys(LOSSES, 0)
        """Transactions."""
        self.failing: Cause | None = None
        self._since_ns = 0
        self._text = ""
        self._lost_before = 0
        self._said: list[str] = []

    def lose(self, cause: str, transactions: int) -> None:
        self.lost[cause] += transactions

    def fails(self, cause: Cause, text: str, now_ns: int) -> None:
        """It cannot be written; the error's own words."""
        if self.failing is None:
            self._lost_before = sum(self.lost.values())
        if self.failing != cause:
            self.failing, self._since_ns, self._text = cause, now_ns, text

    def works(self, now_ns: int) -> None:
        """A commit went through."""
        if self.failing is None:
            return
        failure, self.failing = FAILURES[self.failing], None
        self.say(f"{failure}: from {clock(self._since_ns)} to {clock(now_ns)}, {self._lost()} were not stored")

    def say(self, text: str) -> None:
        self._said = [*self._said[-MAX_NOTES + 1 :], text]

    def notes(self) -> list[str]:
        said, failing = list(self._said), self.failing
        if failing is not None:
            said.append(f"{FAILURES[failing]} since {clock(self._since_ns)}; {self._lost()} not stored ({self._text})")
        return said

    def _lost(self) -> str:
        return f"{sum(self.lost.values()) - self._lost_before:,} transactions"


def clock(unix_ns: int) -> str:
    """For people: to the second, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix_ns // 1_000_000_000))
