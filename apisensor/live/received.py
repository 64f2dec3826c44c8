"""The lines that core sends, put together from what was received: no socket, so clients of both kinds read alike."""

from __future__ import annotations

LINE_BYTES = 16 << 20
"""Longest line that is taken; a transaction with all its headers is far below."""
READ_BYTES = 64 * 1024
"""Received at once."""
ANSWER_SECONDS = 10.0
"""How long the first answer may take: core answers between two batches of transactions."""


class Lines:
    """Bytes in, lines out."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._searched = 0
        """Bytes of the rest in which there is no newline."""

    @property
    def waiting(self) -> bool:
        """Is there something of a line, or a line?"""
        return bool(self._rest)

    @property
    def too_long(self) -> bool:
        """No line of a sensor is that long: whoever sends it is none."""
        return self._searched > LINE_BYTES

    def feed(self, received: bytes) -> None:
        self._rest += received

    def next(self) -> bytes | None:
        """The next line with its newline; None: it is not all there."""
        end = self._rest.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._rest)
            return None
        line = bytes(self._rest[: end + 1])
        del self._rest[: end + 1]
        self._searched = 0
        return line
