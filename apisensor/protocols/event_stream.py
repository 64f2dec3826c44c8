"""Server-sent events in a body (WHATWG HTML section 9.2.6): lines end with CR, LF or both; a blank line ends an event,
which is one if it had a `data` field."""

from __future__ import annotations

from apisensor.protocols.counted import MESSAGE_CUT, Field, Passed

_DATA = b"data"
_FIELD = b"data:"
_BOM = b"\xef\xbb\xbf"
_KEPT = len(_BOM) + len(_FIELD) + 1
"""Bytes of a line that say what it is, a space behind the colon included."""


class EventCounter:
    """Counts events; their size is that of their `data` values, line ends and one leading space not counted."""

    __slots__ = (
        "_after_cr", "_bytes", "_count", "_event", "_has_data", "_largest", "_line", "_line_size", "_reason",
        "_started", "protocol", "trailers",
    )  # fmt: skip

    def __init__(self) -> None:
        self.protocol = "sse"
        self.trailers: list[Field] = []
        self._line = b""
        """The first bytes of a line that is not complete."""
        self._line_size = 0
        self._after_cr = False
        self._started = False
        self._event = 0
        self._has_data = False
        self._count = self._bytes = self._largest = 0
        self._reason: str | None = None

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        if self._reason is not None or not data:
            return
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            if not data:
                self._after_cr = False
                return
        self._after_cr = data[-1:] == b"\r"
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = data.split(b"\n")
        self._extend(first)
        for line in lines:
            self._end_line()
            self._extend(line)

    def skip(self, size: int, reason: str) -> None:
        """So many bytes of the body were not captured, or are lost: any of them may have been a line's end."""
        if size:
            self.lose(reason)

    def lose(self, reason: str) -> None:
        """Nobody knows how many bytes are lost."""
        self._reason = self._reason or reason

    def passed(self, reason: str | None) -> Passed:
        """The counts; the body is over, whole or not, for this reason."""
        if self._reason is not None:
            return Passed(self.protocol, reason=self._reason)
        if reason is None and self._has_data:
            reason = MESSAGE_CUT  # a browser drops it, too
        return Passed(self.protocol, self._count, self._bytes, self._largest, 0, reason=reason)

    def _extend(self, piece: bytes) -> None:
        line = self._line
        if len(line) < _KEPT:
            self._line = line + piece[:_KEPT]
        self._line_size += len(piece)

    def _end_line(self) -> None:
        line, size = self._line, self._line_size
        self._line, self._line_size = b"", 0
        if not self._started:
            self._started = True
            if line.startswith(_BOM):
                line = line[len(_BOM) :]
                size -= len(_BOM)
        if not size:
            if self._has_data:
                self._count += 1
                self._bytes += self._event
                self._largest = max(self._largest, self._event)
            self._event = 0
            self._has_data = False
        elif line.startswith(_FIELD):
            self._has_data = True
            self._event += size - len(_FIELD) - (line[len(_FIELD) : len(_FIELD) + 1] == b" ")
        elif size == len(_DATA) and line == _DATA:
            self._has_data = True
