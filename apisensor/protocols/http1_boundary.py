"""Where the last of several HTTP/1 messages begins that one call brought, and what the parser would not read right.

The parsers tell what they find and not where. Looked for only where it matters, which is seldom: the bytes are parsed
once more, cut wherever a message without length may end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from apisensor.protocols.http1_engine import Engine

HEAD_END: Final = b"\r\n\r\n"


class MisreadError(Exception):
    """The parser is about to read something else than what the bytes say."""


def plain_value(name: bytes, value: bytes) -> bytes:
    """A field's value without blanks behind it, which are no part of it (RFC 9112 section 5.1). Other white space the
    parser refuses.

    Raises:
        MisreadError: A tab is among the blanks, which llhttp takes for a part of the transfer coding.
    """
    plain = value.rstrip()
    if b"\t" in value[len(plain) :] and name.lower() == b"transfer-encoding":
        raise MisreadError
    return plain


class _Probe:
    """What must be known of a message to find its end."""

    def __init__(self) -> None:
        self.length: int | None = None
        self.coded = self.ended = False

    def on_message_begin(self) -> None: ...
    def on_url(self, piece: bytes) -> None: ...
    def on_headers_complete(self) -> None: ...
    def on_body(self, piece: bytes) -> None: ...

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"content-length":
            self.length = int(value)
        elif name == b"transfer-encoding":
            self.coded = bool(plain_value(name, value))

    def on_message_complete(self) -> None:
        self.ended = True


def last_start(data: bytes, new_parser: Callable[[Any], Any], engine: Engine) -> int:
    """The place of the last message that begins in data; the first one begins with it, empty lines left out.

    Args:
        new_parser: The engine's, for the direction.
    """
    begin = 0
    while True:
        while data[begin : begin + 1] in (b"\r", b"\n"):
            begin += 1
        head_end = data.find(HEAD_END, begin) + len(HEAD_END)
        if head_end < len(HEAD_END):
            return begin
        probe = _Probe()
        parser = new_parser(probe)
        try:
            parser.feed_data(data[begin:head_end])
            end = head_end
            while not probe.ended and (probe.coded or probe.length is None):
                cut = data.find(HEAD_END, end) + len(HEAD_END)
                if cut < len(HEAD_END):
                    return begin
                parser.feed_data(data[end:cut])
                end = cut
        except (engine.refused, engine.switched):
            return begin
        if not probe.ended and probe.length is not None:
            end += probe.length
        if end >= len(data):
            return begin
        begin = end
