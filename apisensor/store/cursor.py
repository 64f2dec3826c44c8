"""Where a page ended, as an opaque text. Each says for which kind and order of rows it was made."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from apisensor.store.errors import StoreError
from apisensor.store.model import LARGEST_PAGE

MAX_CHARACTERS = 8_192
"""Longer than any cursor: routes are bounded."""


def encode(kind: str, values: tuple[int | float | str, ...]) -> str:
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((kind, *values))).decode().rstrip("=")


def decode(kind: str, cursor: str, types: tuple[type, ...]) -> tuple[Any, ...]:
    """The values that encode was given.

    Raises:
        StoreError: it is none, or was made for another order.
    """
    try:
        if len(cursor) > MAX_CHARACTERS:
            raise ValueError
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        found = msgspec.convert(msgspec.msgpack.decode(body), type=list[Any])
    except (ValueError, binascii.Error, msgspec.MsgspecError):
        found = None
    # bool is an int: no cursor has one.
    if found is None or [type(value) for value in found] != [str, *types] or found[0] != kind:
        raise StoreError("the cursor does not belong to this query: begin without it")
    return tuple(found[1:])


def check_limit(limit: int) -> None:
    """Raises StoreError where a page would be empty or too long."""
    if not 1 <= limit <= LARGEST_PAGE:
        raise StoreError(f"a page has 1 to {LARGEST_PAGE} rows, not {limit}")


def like(text: str) -> str:
    """A pattern for `LIKE ? ESCAPE '\\'`: the text anywhere, letters of ASCII in any case."""
    for special in "\\%_":
        text = text.replace(special, "\\" + special)
    return f"%{text}%"
