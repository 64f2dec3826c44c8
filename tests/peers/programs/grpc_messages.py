"""What the gRPC peers in Python send: opaque bytes, as one message or in parts where the plan wants chunks."""

from __future__ import annotations

PIECE = 10_000
PREFIX = 5
"""Bytes that gRPC puts before each message."""


def messages(content: bytes, chunked: bool) -> list[bytes]:
    """At least one."""
    step = PIECE if chunked else max(len(content), 1)
    return [content[at : at + step] for at in range(0, len(content), step)] or [b""]


def size_of(sent: list[bytes]) -> int:
    """Bytes on the connection."""
    return sum(PREFIX + len(message) for message in sent)
