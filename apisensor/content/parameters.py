"""Parameters of field values."""

from __future__ import annotations

PARAMETERS = 16
"""Parameters of one value that are looked at."""


def parameter(value: bytes, name: bytes) -> bytes | None:
    """The parameter `; name=...` of a value, quotes removed (RFC 9110 section 5.6.6).

    A quoted semicolon ends it early, which makes an odd name of it and nothing else.
    """
    for piece in value.split(b";", PARAMETERS)[1:]:
        key, _, text = piece.partition(b"=")
        if key.strip().lower() == name:
            return text.strip().strip(b'"')
    return None
