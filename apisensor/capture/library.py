"""What capture knows of a file with TLS functions; told to core and to `run` as it is."""

from __future__ import annotations

import msgspec


class Library(msgspec.Struct, frozen=True, tag="library"):
    """A file with TLS functions."""

    identity: str
    """Of the inode: the same for every path and mount that leads to it."""
    path: str
    """Where it was first seen."""
    library: str
    """Which one it is ("openssl", "gnutls", ...), by its functions, else by its name."""
    offsets: dict[str, int]
    version: str | None
    attached: bool
    reason: str | None
    """Why it is not attached, one line."""
    delay_ms: float
    """From the moment it was first seen mapped to its probes being in place."""
