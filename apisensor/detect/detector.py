"""What a detector is: calls in, signals out. detect/detection.py lists all of them and makes findings of their signals.

A detector is a small class in a file of its own. It is told which fields of a call it may see (`sees`; a test holds it
to that), takes its thresholds from the settings, and remembers a bounded number of things (`Tracked`). It knows no
clock but the calls' time, which may run backwards: calls come from several workers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from apisensor.detect.model import Call, Severity
from apisensor.detect.tracked import Tracked
from apisensor.sections import Detect

SECOND = 1_000_000_000
Evidence = dict[str, str | int | float | list[str]]


class CallRef(msgspec.Struct, frozen=True, gc=False):
    """A call that belongs to a finding."""

    time_ns: int
    transaction: str
    trace_id: str


class Signal(msgspec.Struct, gc=False, kw_only=True):
    """A detector saw what it looks for: the beginning of a finding, or more of one."""

    key: str
    """What it is about; signals of one rule with the same key are one finding."""
    severity: Severity
    evidence: Evidence
    """As it is now; takes the place of what the finding had."""
    title: str | None = None
    """Where it says more than the detector's own."""
    seen: int = 1
    """Occurrences so far, where this is the beginning of a finding."""
    more: int = 1
    """Occurrences since the last signal with this key."""
    first_ns: int | None = None
    """Unix time of the first of them; None: of this call."""
    last_ns: int | None = None
    """Of the latest, which may have come before this call; None: of this call."""
    calls: tuple[CallRef, ...] = ()
    """The calls that led to it, where this is the beginning of a finding."""
    steps: tuple[int, ...] = ()
    """Occurrences at which the severity rises by one."""
    identity: str | None = None
    """Whom it is about, where the call does not say."""


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

    @abstractmethod
    def __init__(self, settings: Detect) -> None: ...

    @abstractmethod
    def observe(self, call: Call) -> tuple[Signal, ...]:
        """What the call shows; mostly nothing."""

    @abstractmethod
    def memories(self) -> tuple[Tracked[object], ...]:
        """All that it remembers between calls."""
