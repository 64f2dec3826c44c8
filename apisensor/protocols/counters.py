"""Which bodies hold messages that are counted, by their media type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apisensor.protocols.counted import Counter
from apisensor.protocols.event_stream import EventCounter
from apisensor.protocols.grpc import MessageCounter, TextCounter

_COUNTERS: Final[dict[bytes, Callable[[], Counter]]] = {
    b"application/grpc": MessageCounter,
    b"application/grpc-web": lambda: MessageCounter(web=True),
    b"application/grpc-web-text": TextCounter,
    b"text/event-stream": EventCounter,
}
"""Media type without what follows a plus (the messages' own format) or a semicolon."""


TYPES_KEPT: Final = 256
"""Values of Content-Type that are remembered as plain; multipart boundaries differ each time."""
_LONGEST_KEPT: Final = 128

PLAIN: Final[set[bytes]] = set()
"""Values of Content-Type whose bodies hold no messages: callers look here first."""


def counter_of(content_type: bytes) -> Counter | None:
    """A counter for a body of this type; None: it holds no messages."""
    make = _COUNTERS.get(content_type.partition(b";")[0].partition(b"+")[0].strip().lower())
    if make is not None:
        return make()
    if len(content_type) <= _LONGEST_KEPT:
        if len(PLAIN) >= TYPES_KEPT:
            PLAIN.clear()
        PLAIN.add(content_type)
    return None
