"""The PROXY protocol (HAProxy's specification, versions 1 and 2): what a proxy sends before the client's first byte."""

from __future__ import annotations

from typing import Final

_LINE: Final = b"PROXY "
_LONGEST_LINE: Final = 107
"""Section 2.1: the longest line there can be, CRLF included."""
_FAMILIES: Final = (b"TCP4 ", b"TCP6 ", b"UNKNOWN")
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_HEAD: Final = 16
"""Section 2.2: signature, version and command, family, length of what follows."""


LOOKED_AT: Final = 128
"""Bytes that say all there is to know of a header's length; no line and no head is longer."""


def header_length(data: bytes, size: int | None = None) -> int | None:
    """Bytes of the PROXY header that data begins with; 0 where there is none, None where more bytes decide.

    Args:
        size: How many bytes there are, where data is only the first LOOKED_AT of them.
    """
    if data[:1] == _LINE[:1]:
        return _line_length(data)
    if data[:_HEAD][: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        return 0
    if len(data) < _HEAD:
        return None
    if data[12] >> 4 != 2:
        return 0
    length = _HEAD + int.from_bytes(data[14:16], "big")
    return length if (len(data) if size is None else size) >= length else None


def _line_length(data: bytes) -> int | None:
    if data[: len(_LINE)] != _LINE[: len(data)]:
        return 0
    family = data[len(_LINE) : len(_LINE) + 7]
    if not any(family.startswith(known) or known.startswith(family) for known in _FAMILIES):
        return 0
    end = data.find(b"\r\n", 0, _LONGEST_LINE)
    if end >= 0:
        return end + 2
    return None if len(data) < _LONGEST_LINE else 0
