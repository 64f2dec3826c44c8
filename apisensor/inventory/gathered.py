"""What is new of one endpoint: gathered call by call, expanded into a profile when it is told.

Most calls of an endpoint differ in numbers alone. What a profile counts by name is the same for all calls of one shape,
so shapes are counted here, and each is looked at once, however many calls had it.

    call ──> shape ─────────> calls of it ──┐
         ├─> times, sizes ──> lists ────────┼── expanded ──> profile
         └─> caller ────────────────────────┘

Shapes are expanded in the order of their first calls: what has no room in a profile's dictionaries is what would have
had none if each call had been counted there at once.
"""

from __future__ import annotations

from typing import Final

from apisensor.inventory import callers, histogram, profile
from apisensor.inventory.model import Profile
from apisensor.inventory.profile import Shape, call_shape
from apisensor.transactions.model import Transaction

SHAPES: Final = 128
"""Shapes gathered before they are expanded: an endpoint's calls have some ten; those with odd queries have one each."""
CALLS: Final = 512
"""Calls gathered before they are expanded. Their numbers take 80 KB."""


class Gathered:
    """The calls of one endpoint since the inventory was last flushed."""

    __slots__ = ("_durations", "_profile", "_received", "_sent", "_shapes", "_starts")

    def __init__(self) -> None:
        self._profile = Profile()
        """Of the calls that are expanded; its callers are those of all calls."""
        self._shapes: dict[Shape, int] = {}
        self._starts: list[int] = []
        """Unix time of each call, ns."""
        self._durations: list[int] = []
        """ns."""
        self._received: list[int] = []
        """Bytes of requests."""
        self._sent: list[int] = []
        """Bytes of responses."""

    def add(self, t: Transaction, caller_service: str | None = None) -> None:
        """Counts one call.

        Args:
            t: The view that counts; its time is that of its first byte.
            caller_service: service.name of the calling process, where the other view of this call is known.
        """
        wall_ns = t.start_ns + t.wall_offset_ns
        shape = call_shape(t)
        shapes, starts = self._shapes, self._starts
        shapes[shape] = shapes.get(shape, 0) + 1
        starts.append(wall_ns)
        self._received.append(t.request_body_size)
        if t.duration_ns is not None:
            self._durations.append(t.duration_ns)
        if t.response_body_size is not None:
            self._sent.append(t.response_body_size)
        callers.note(self._profile.callers, t, caller_service, wall_ns)
        if len(starts) >= CALLS or len(shapes) >= SHAPES:
            self._expand()

    def merge(self, more: Gathered) -> None:
        """Adds what another has gathered."""
        profile.merge(self.profile(), more.profile())

    def profile(self) -> Profile:
        """All of it."""
        if self._starts:
            self._expand()
        return self._profile

    def _expand(self) -> None:
        """Moves what is gathered into the profile."""
        into, starts = self._profile, self._starts
        first_ns, last_ns = min(starts), max(starts)
        into.first_ns = min(into.first_ns, first_ns) if into.count else first_ns
        into.last_ns = max(into.last_ns, last_ns)
        for shape, calls in self._shapes.items():
            profile.count(into, shape, calls)
        histogram.add(into.latency_ms, [duration / 1_000_000 for duration in self._durations])
        histogram.add(into.request_bytes, self._received)
        histogram.add(into.response_bytes, self._sent)
        self._shapes.clear()
        for numbers in (starts, self._durations, self._received, self._sent):
            numbers.clear()
