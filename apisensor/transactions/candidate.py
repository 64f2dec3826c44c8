"""The first bytes of one direction of a flow, kept while they may be the beginning of a message.

Whoever sends them may send them one by one, and each look reads them all again: so looks are rationed, and pieces
beyond the first few are kept as one.
"""

from __future__ import annotations

from typing import Final

from apisensor.protocols.frames import only_frames
from apisensor.protocols.identify import Start, identify
from apisensor.protocols.proxy import LOOKED_AT

WAIT: Final = 64 * 1024
"""Bytes kept at most: four HTTP/2 frames of the usual size, far more than a start line."""

_PIECES: Final = 64
"""Pieces kept apart, each with its time; the others are one, with the time of the latest. A start line that comes in
more of them is somebody typing, or an attack."""

_EACH: Final = 64
"""Bytes up to which each piece is a reason to look: enough for prefaces, status lines and frame headers."""

_LOOKED: Final = 16 * WAIT
"""Bytes looked at in all, beyond which the end of a line is no reason to look any more, but only twice the size."""

Piece = tuple[bytes, int, bool]
"""Bytes, their time in ns, and whether they begin a call."""


class Candidate:
    """What may become the beginning of a conversation."""

    __slots__ = ("_head", "_looked", "_next_look", "_pieces", "_tail", "_tail_ns", "frames", "size")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.size = 0
        """Bytes kept."""
        self.frames = False
        """They look like HTTP/2 frames."""
        self._head = b""
        self._pieces: list[Piece] = []
        self._tail = bytearray()
        self._tail_ns = 0
        self._looked = 0
        self._next_look = 0

    def head(self, data: bytes) -> bytes:
        """The first LOOKED_AT bytes of what is kept and these behind it."""
        return self._head + data[: LOOKED_AT - len(self._head)]

    def look(self, data: bytes, *, first: bool = False) -> Start:
        """What these bytes, put behind the ones that are kept, make of them; MORE where it is too early to look.

        Args:
            first: Those that are kept are the first of a connection.
        """
        size = self.size + len(data)
        line_ends = b"\n" in data and self._looked < _LOOKED
        if size > _EACH and size < self._next_look and not line_ends:
            return Start.MORE
        self._next_look = 2 * size
        self._looked += size
        return identify(self._all(data), first=first)

    def only_frames(self, data: bytes) -> bool:
        """Whether all that is kept and these bytes are HTTP/2 frames, as far as they go."""
        return only_frames(self._all(data))

    def _all(self, data: bytes) -> bytes:
        return b"".join((*(piece for piece, _, _ in self._pieces), self._tail, data))

    def add(self, data: bytes, now: int, call_start: bool) -> None:
        """Keep these bytes, too."""
        self.size += len(data)
        self._head = self.head(data)
        if len(self._pieces) < _PIECES:
            self._pieces.append((data, now, call_start))
        else:
            self._tail += data
            self._tail_ns = now

    def take(self) -> list[Piece]:
        """All that was kept, in order; nothing stays."""
        pieces = self._pieces
        if self._tail:
            pieces.append((bytes(self._tail), self._tail_ns, False))
        self.clear()
        return pieces


class Opening:
    """What came of a flow whose protocol is not known yet."""

    __slots__ = ("candidates", "looks", "prefix", "total_looks")

    def __init__(self) -> None:
        self.candidates = (Candidate(), Candidate())
        """Chunks that may be the beginning of a message, by direction."""
        self.prefix = [0, 0]
        """Bytes of each direction before what is to be identified: a PROXY header, or what led to a tunnel."""
        self.looks = [0, 0]
        self.total_looks = 0

    def frames_alone(self) -> bool:
        """Whether a direction looked like HTTP/2 to the last of what is kept of it; the other has not said so."""
        return any(candidate.frames and candidate.only_frames(b"") for candidate in self.candidates)

    def size(self) -> int:
        """Bytes kept."""
        return sum(candidate.size for candidate in self.candidates)
