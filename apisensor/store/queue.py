"""What core has handed over and the store's thread has not taken yet, bounded in bytes.

One thread puts, one takes. Both only append to, or take from, their end of a deque and add to a counter of their own,
so neither waits for the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ByteQueue(Generic[T]):
    """`on_crowded` is called by put when the queue is half full: nobody need wait for the next round."""

    def __init__(self, limit: int, on_crowded: Callable[[], None]) -> None:
        self._limit = limit
        self._on_crowded = on_crowded
        self._items: deque[tuple[int, T]] = deque()
        self._put_bytes = 0
        self._taken_bytes = 0
        self.refused = 0

    @property
    def bytes(self) -> int:
        return self._put_bytes - self._taken_bytes

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, size: int) -> bool:
        """False: there was no room."""
        waiting = self._put_bytes - self._taken_bytes
        if waiting + size > self._limit:
            self.refused += 1
            return False
        self._put_bytes += size
        self._items.append((size, item))
        if waiting + waiting > self._limit:
            self._on_crowded()
        return True

    def take(self) -> tuple[int, T] | None:
        """The oldest with its size; None: the queue is empty."""
        if not self._items:
            return None
        taken = self._items.popleft()
        self._taken_bytes += taken[0]
        return taken
