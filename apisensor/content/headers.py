"""Field lines by name, and parameters of their values."""

from __future__ import annotations

from apisensor.transactions.model import Header

PARAMETERS = 16
"""Parameters of one value that are looked at."""


def value_of(headers: list[Header] | None, name: bytes) -> bytes | None:
    """The value of the first field line with this (lower-case) name; None: there is none, or it is not known."""
    size = len(name)
    for key, value in headers or ():
        if key is not None and len(key) == size and key.lower() == name:
            return value
    return None


def parameter(value: bytes, name: bytes) -> bytes | None:
    """The parameter `; name=...` of a value, quotes removed (RFC 9110 section 5.6.6).

    A quoted semicolon ends it early, which makes an odd name of it and nothing else.
    """
    for piece in value.split(b";", PARAMETERS)[1:]:
        key, _, text = piece.partition(b"=")
        if key.strip().lower() == name:
            return text.strip().strip(b'"')
    return None
