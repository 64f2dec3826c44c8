"""A message under way: what the parsers fill in and the pairing reads."""

from __future__ import annotations

from itertools import chain
from typing import Final

from apisensor.protocols import anomalies
from apisensor.protocols.counted import NOT_CAPTURED, Counter, Passed
from apisensor.protocols.pieces import MOST, PIECE, join
from apisensor.protocols.websocket import WebSocketReader

Field = tuple[bytes | None, bytes | None]
"""A field line, name and value as sent. None: an HPACK entry that the sensor did not see inserted."""


_FIELD: Final = 130
"""Bytes that a field line takes beyond its octets: a tuple, two objects, its place in a list."""
_MESSAGE: Final = 600
"""The same of a message."""


def held_by(fields: list[Field] | None) -> int:
    """Bytes of memory that field lines take, roughly."""
    if not fields:
        return 0
    try:
        octets = sum(map(len, chain.from_iterable(fields)))  # type: ignore[arg-type]
    except TypeError:  # some are not known
        octets = sum(len(part) for part in chain.from_iterable(fields) if part is not None)
    return octets + _FIELD * len(fields)


class Message:
    """A request or a response, from its first byte on. Mutable until `ended`; equal to itself only."""

    method: bytes | None = None
    scheme: bytes | None = None
    authority: bytes | None = None
    target: bytes | None = None
    """Path with query; None for CONNECT, which has none."""
    status: int | None = None
    fields: list[Field] | None = None
    """None until the head is complete, or where it was not seen."""
    body_size: int = 0
    room: int = 0
    """Bytes of content that may still be kept."""
    kept: int = 0
    """Bytes in `body`."""
    ended: bool = False
    """Nothing more of it will come."""
    reason: str | None = None
    """Why it is not complete (transactions.model.INCOMPLETE_REASONS)."""
    shed: bool = False
    """Of its content nothing is kept: the governor left it out."""
    tunnel: bytes | None = None
    """HTTP/2's :protocol of an extended CONNECT (RFC 8441)."""
    counter: Counter | None = None
    """Counts the messages that the body holds; None: its type says of none."""

    def __init__(self, start_ns: int, end_ns: int, *, version: str = "http/1.1") -> None:
        self.start_ns = start_ns
        """Event clock of the first byte."""
        self.end_ns = end_ns
        """Event clock of the last byte seen so far."""
        self.version = version
        self.trailers: list[Field] = []
        self.body: list[bytes] = []
        """Pieces of the content's beginning."""
        self.anomalies: list[str] = []

    def same_head(self, now: int, kept: int, reason: str | None) -> Message:
        """Another part of a WebSocket, of which nothing has passed yet: this message's head and what reads its frames.

        Args:
            now: Event clock of the first byte.
            kept: Bytes that the reader of frames may keep.
            reason: Why this part is not complete from its start.
        """
        part = Message(now, now, version=self.version)
        part.method, part.scheme, part.authority, part.target = self.method, self.scheme, self.authority, self.target
        part.status, part.fields, part.trailers = self.status, self.fields, self.trailers
        part.tunnel, part.shed, part.counter = self.tunnel, self.shed, self.counter
        part.kept, part.reason = kept, reason
        return part

    def held(self) -> int:
        """Bytes of memory that it takes, roughly."""
        first = len(self.target or b"") + len(self.authority or b"") + len(self.method or b"")
        pieces = PIECE * len(self.body)
        return _MESSAGE + first + self.kept + pieces + held_by(self.fields) + held_by(self.trailers)

    def passed(self, reason: str | None) -> Passed:
        """The messages inside, where there is a counter; what a body holds of trailers is in `trailers` from then on.

        Args:
            reason: Of the exchange: why this message is perhaps not all.
        """
        counter = self.counter
        assert counter is not None
        if counter.trailers and not self.trailers:
            self.trailers = counter.trailers
        if isinstance(counter, WebSocketReader):
            self.body = counter.text
            self.body_size = counter.size
            self.anomalies = [*self.anomalies, *counter.anomalies]
        why = self.reason or (None if self.ended else reason)
        # Where it is another one, bytes are missing somewhere, and the counter knows whether that matters to it.
        return counter.passed(why if why in _UNFINISHED else None)


def value_of(fields: list[Field] | None, name: bytes) -> bytes | None:
    """The value of the first field line with this (lower-case) name; None: there is none, or it is not known."""
    size = len(name)
    for key, value in fields or ():
        if key is not None and len(key) == size and key.lower() == name:
            return value
    return None


_UNFINISHED: Final = frozenset(("request_not_finished", "response_not_finished", "response_not_seen", "stream_reset"))


def count_unseen(message: Message, size: int) -> None:
    """Count a piece of content that passed and was deliberately not captured: no loss, but nobody looked at it."""
    message.body_size += size
    message.room = 0
    if message.counter is not None:
        message.counter.skip(size, NOT_CAPTURED)
    if anomalies.NOT_CAPTURED not in message.anomalies:
        message.anomalies.append(anomalies.NOT_CAPTURED)


def add_content(message: Message, piece: bytes) -> None:
    """Count a piece of content and keep what there is room for."""
    size = len(piece)
    message.body_size += size
    if message.counter is not None:
        message.counter.feed(piece)
    room = message.room
    if room:
        if size > room:
            piece = piece[:room]
            size = room
        message.body.append(piece)
        if len(message.body) == MOST:
            join(message.body)
        message.room = room - size
        message.kept += size
