"""What a sender answers about one request; the common language of gRPC and HTTP (OTLP specification, "Failures")."""

from __future__ import annotations

from typing import Protocol

import msgspec

MESSAGE_CHARACTERS = 300
"""Of a receiver's own words; they are for one line on a status page."""


class Accepted(msgspec.Struct, frozen=True):
    """The receiver took the request. Never sent again, whatever it rejected of it."""

    rejected: int = 0
    """Spans or data points the receiver says it rejected (partial success)."""
    message: str = ""


class Retryable(msgspec.Struct, frozen=True):
    """Not taken now; the same bytes may be sent again."""

    message: str
    after_s: float | None = None
    """The wait that the receiver asked for (RetryInfo, Retry-After)."""


class Refused(msgspec.Struct, frozen=True):
    """Not taken, and must not be sent again."""

    message: str


Outcome = Accepted | Retryable | Refused


class Sender(Protocol):
    """Sends one encoded request of its signal. Used by one thread; close may come from another."""

    def send(self, request: bytes, timeout_s: float) -> Outcome:
        """Blocks up to about timeout_s. Failures are outcomes, not exceptions."""

    def close(self) -> None:
        """Ends a send that is under way, soon."""


def one_line(message: str, secrets: tuple[str, ...]) -> str:
    """A message from outside: printable, short, without the values in secrets."""
    for secret in secrets:
        message = message.replace(secret, "[redacted]")
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= MESSAGE_CHARACTERS else line[: MESSAGE_CHARACTERS - 1] + "…"
