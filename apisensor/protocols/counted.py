"""Messages inside a body, counted while it passes: nothing of them is kept, so the body may be of any length.

A counter is fed what passes of one direction, in order, and told of what does not. Where it can no longer say how many
messages there were it says why, and counts nothing more: a count is right or absent.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

Field = tuple[bytes | None, bytes | None]

MESSAGE_CUT: Final = "message_cut"
"""The body ended inside a message, which is not counted."""

NOT_CAPTURED: Final = "body_not_captured"
"""Part of the body was deliberately not captured, and a message's beginning or end may have been in it."""


class Passed(msgspec.Struct, frozen=True, gc=False):
    """The messages of one direction: of gRPC, of a WebSocket, or server-sent events."""

    protocol: str
    """"grpc", "grpc-web", "sse" or "websocket"."""

    count: int | None = None
    """Messages that passed whole; None: see `reason`."""
    bytes: int | None = None
    """Of their payloads as sent, so compressed where they are."""
    largest: int | None = None
    """Bytes of the largest one."""
    compressed: int | None = None
    """How many of them are compressed."""
    control: int | None = None
    """WebSocket: control frames (ping, pong, close)."""
    close_code: int | None = None
    """WebSocket: the code of the close frame (RFC 6455 section 7.4)."""
    reason: str | None = None
    """Why this is not all there was: an INCOMPLETE_REASONS name, MESSAGE_CUT or NOT_CAPTURED. None: it is."""


class Counter(Protocol):
    """What counts the messages of one direction."""

    protocol: str
    """"grpc", "grpc-web", "sse" or "websocket"."""

    @property
    def trailers(self) -> list[Field]:
        """Trailers that came inside the body."""

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""

    def skip(self, size: int, reason: str) -> None:
        """So many bytes of the body were not captured, or are lost."""

    def lose(self, reason: str) -> None:
        """Nobody knows how many bytes are lost."""

    def passed(self, reason: str | None) -> Passed:
        """The counts; the body is over, whole or not, for this reason."""
