"""Bytes that are kept as they come. Whoever sends two at a time makes an object of each, which takes twenty times as
much memory as it holds: so many small ones are joined."""

from __future__ import annotations

from typing import Final

MOST: Final = 256
"""Pieces of one list: some 11 KB beyond their bytes. To join them copies what is there, which a limit bounds: 64 KiB
two at a time are copied 64 times over, in a millisecond."""
PIECE: Final = 45
"""Bytes of memory that a piece takes beyond its own: an object, its place in a list."""


def join(pieces: list[bytes], begin: int = 0) -> None:
    """Make those from `begin` on one, in place."""
    pieces[begin:] = [b"".join(pieces[begin:])]
