"""What parses HTTP/1 messages: llhttp by default, h11 where httptools is not installed.

A `Reader` (`http1`) makes a parser for each stretch of its direction that is in step, feeds it, and is called back with
what it finds. That is all the two engines have in common, in the form in which httptools has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, Protocol


class Callbacks(Protocol):
    """What a parser tells, in the order of the bytes."""

    def on_message_begin(self) -> None: ...
    def on_header(self, name: bytes, value: bytes) -> None:
        """A field line; after `on_headers_complete` one of the trailers. llhttp leaves blanks behind the value."""

    def on_headers_complete(self) -> None: ...
    def on_body(self, piece: bytes) -> None: ...
    def on_message_complete(self) -> None: ...


class RequestCallbacks(Callbacks, Protocol):
    """What a parser of requests tells."""

    def on_url(self, piece: bytes) -> None:
        """The target, or a piece of it; before the field lines."""


class Parser(Protocol):
    """One direction's bytes, in step. The getters are for `on_headers_complete`."""

    def feed_data(self, data: bytes) -> None: ...


class Engine(NamedTuple):
    """One implementation."""

    request: Callable[[RequestCallbacks], Any]
    """Makes a Parser that has get_method(), get_http_version() and should_upgrade(), too."""
    response: Callable[[Callbacks], Any]
    """Makes one with get_status_code()."""
    switched: type[Exception]
    """Raised by feed_data behind the head of a message that asks for, or grants, another protocol; args[0]: how many
    bytes of the data were read."""
    refused: type[Exception]
    """Raised by feed_data where the bytes are no message; its text is DUPLICATE_LENGTH where that is why."""
    failed: type[Exception]
    """Raised by feed_data where a callback failed; a subclass of `refused`."""


DUPLICATE_LENGTH: Final = "Duplicate Content-Length"
"""llhttp's words."""
