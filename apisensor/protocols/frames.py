"""HTTP/2 frame headers (RFC 9113 section 4.1): their layout, and what a plausible one looks like.

Joining a connection late means recognising frames without having counted them from the preface. One header is 9 octets
of which most have few legal values, so a chain of two, or one that ends exactly where the call's data ends, leaves
hardly room for accident.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

HEADER: Final = struct.Struct(">HBBBI")
"""Length (high 16 bits, low 8 bits), type, flags, stream identifier with the reserved bit."""
HEADER_SIZE: Final = 9

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
ALTSVC: Final = 0xA
ORIGIN: Final = 0xC
PRIORITY_UPDATE: Final = 0x10

END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

LARGE: Final = 1 << 20
"""Octets of the largest frame taken for plausible: peers raise SETTINGS_MAX_FRAME_SIZE from 16 KiB to 1 MiB at most.
Four letters where a frame is due say more than that."""

_USUAL: Final = 1 << 14
"""Octets that every peer accepts (RFC 9113 section 6.5.2)."""

_SURE: Final = 2
"""Plausible headers in a row that are taken for frames even where the last frame's end is not in sight."""

_WAIT: Final = 64 * 1024
"""How many bytes a single plausible header may announce and be waited for: four frames of the usual limit."""


class _Rule(NamedTuple):
    low: int
    """Payload octets at least."""
    high: int
    flags: int
    """Flags that the RFC defines for the type."""
    stream: bool | None
    """On a stream, on the connection (False), or either (None)."""


_RULES: Final = {
    DATA: _Rule(0, LARGE, END_STREAM | PADDED, True),
    HEADERS: _Rule(1, LARGE, END_STREAM | END_HEADERS | PADDED | PRIORITY_FLAG, True),
    PRIORITY: _Rule(5, 5, 0, True),
    RST_STREAM: _Rule(4, 4, 0, True),
    SETTINGS: _Rule(0, 6 * 64, 0x1, False),
    PUSH_PROMISE: _Rule(5, LARGE, END_HEADERS | PADDED, True),
    PING: _Rule(8, 8, 0x1, False),
    GOAWAY: _Rule(8, 4096, 0, False),
    WINDOW_UPDATE: _Rule(4, 4, 0, None),
    CONTINUATION: _Rule(0, LARGE, END_HEADERS, True),
    ALTSVC: _Rule(2, 4096, 0, None),
    ORIGIN: _Rule(0, 16384, 0, False),
    PRIORITY_UPDATE: _Rule(4, 4096, 0, False),
}


def plausible(length: int, kind: int, flags: int, stream: int) -> bool:
    """Whether a frame header with these values, the reserved bit included in `stream`, is one a peer would send."""
    rule = _RULES.get(kind)
    if rule is None or not rule.low <= length <= rule.high or flags & ~rule.flags or stream >> 31:
        return False
    if kind == SETTINGS and (length % 6 or (flags and length)):
        return False
    return rule.stream is None or rule.stream == bool(stream)


def frames_start(data: bytes) -> bool | None:
    """Whether data is the beginning of a chain of frames. None: too early to say."""
    size = len(data)
    position = found = 0
    while size - position >= HEADER_SIZE:
        high, low, kind, flags, stream = HEADER.unpack_from(data, position)
        length = high << 8 | low
        if not plausible(length, kind, flags, stream):
            return False
        found += 1
        position += HEADER_SIZE + length
        if position == size or found >= _SURE:
            return True
    if found:
        return None if position - size <= _WAIT else False
    # Less than one header: its first octets are the length's and the type.
    if data[:1] > b"\x10" or (size > 3 and data[3] not in _RULES):
        return False
    return None


def only_frames(data: bytes) -> bool:
    """Whether data, which begins with a frame header, has only plausible ones, or of unknown types and usual size."""
    size = len(data)
    position = 0
    while size - position >= HEADER_SIZE:
        high, low, kind, flags, stream = HEADER.unpack_from(data, position)
        length = high << 8 | low
        if not plausible(length, kind, flags, stream) and (kind in _RULES or length > _USUAL):
            return False
        position += HEADER_SIZE + length
    return True
