"""Span and trace ids (W3C Trace Context: 8 and 16 bytes, hexadecimal, never all zero)."""

from __future__ import annotations

import hashlib
import os
from typing import Final

BATCH: Final = 4096
"""Bytes drawn at once: one system call (getrandom) for 170 transactions."""

_NO_SPAN: Final = "0" * 16
_NO_TRACE: Final = "0" * 32


class IdSource:
    """Ids from the system's randomness, or, with a seed, the same ids in the same order each time."""

    def __init__(self, seed: bytes | None = None) -> None:
        """`seed`: what the ids follow from, for instance the digest of the file that is replayed; None: random."""
        self._seed = seed
        self._batches = 0
        self._hex = ""
        self._at = 0

    def span_id(self) -> str:
        """16 hexadecimal digits."""
        while True:
            drawn = self._draw(16)
            if drawn != _NO_SPAN:
                return drawn

    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        while True:
            drawn = self._draw(32)
            if drawn != _NO_TRACE:
                return drawn

    def _draw(self, digits: int) -> str:
        end = self._at + digits
        if end > len(self._hex):
            self._hex = self._batch().hex()
            self._at, end = 0, digits
        drawn = self._hex[self._at : end]
        self._at = end
        return drawn

    def _batch(self) -> bytes:
        if self._seed is None:
            return os.urandom(BATCH)
        self._batches += 1
        return hashlib.shake_128(self._seed + self._batches.to_bytes(8, "big")).digest(BATCH)
