"""A bounded memory: what was idle for longest makes room, and is counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Generic, TypeVar

V = TypeVar("V")


class Tracked(Generic[V]):
    """Text -> what is remembered of it; at most `limit` entries."""

    __slots__ = ("_entries", "evicted", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.evicted = 0
        """Entries that made room so far."""
        self._entries: OrderedDict[str, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> V | None:
        """The entry, which counts as used; None: there is none."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: V) -> V | None:
        """Adds or replaces an entry; the one that made room, if one had to."""
        entries = self._entries
        if key in entries:
            entries.move_to_end(key)
        entries[key] = entry
        if len(entries) <= self.limit:
            return None
        self.evicted += 1
        return entries.popitem(last=False)[1]

    def forget(self, key: str) -> None:
        """Drops an entry; nothing where there is none."""
        self._entries.pop(key, None)

    def values(self) -> Iterable[V]:
        """All entries, the one idle for longest first."""
        return self._entries.values()
