"""What a detector is: calls in, signals out. detect/detection.py lists all of them and makes findings of their signals.

A detector is a small class in a file of its own. It is told which fields of a call it may see (`sees`; a test holds it
to that), takes its thresholds from the settings, and remembers a bounded number of things (`Tracked`). It knows no
clock but the calls' time, which may run backwards: calls come from several workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from apisensor.detect.model import Call, Severity, Signal
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

SECOND = 1_000_000_000


class Detector(ABC):
    """One way to see that something is wrong."""

    name: ClassVar[str]
    """Of its rule: what `Finding.rule` and detect.off hold."""
    title: ClassVar[str]
    category: ClassVar[str | None]
    """OWASP API Security Top 10 2023 id."""
    sees: ClassVar[frozenset[str]]
    """Fields of Call that it reads."""
    about: ClassVar[frozenset[str]]
    """Fields of Call that a finding takes from the call that began it, beside its service."""
    settings: ClassVar[tuple[str, ...]]
    """Keys of the section detect that it takes thresholds from."""
    severities: ClassVar[tuple[Severity, ...]]
    """Those that its findings may have, rising."""
    quiet_ns: ClassVar[int]
    """A finding that did not happen again for so long is over: the next signal begins a new one."""

    def __init__(self, settings: Detect) -> None:
        self._settings = settings

    @abstractmethod
    def observe(self, call: Call) -> tuple[Signal, ...]:
        """What the call shows; mostly nothing."""

    @abstractmethod
    def memories(self) -> tuple[Tracked[object], ...]:
        """All that it remembers between calls."""
