"""Field lines of a transaction: the JSON text that its public form has of them, from the worker on.

Lines repeat from call to call. So each is written once (the worker remembers it), and a section is those texts put one
behind the other: nobody on the way to the store has to take it apart.

    [["Host","api.example"],[null,"x"]]    a name or value that is not known is null
"""

from __future__ import annotations

from typing import Final

import msgspec

Line = tuple[str | None, str | None]
"""Name and value, as sent and then redacted."""

NONE: Final = b"[]"
"""A section without lines."""
NULL: Final = b"null"
"""A name or value that is not known."""

_BACKSLASH: Final = 0x5C

written: Final = msgspec.json.Encoder().encode
"""One line as JSON, or a list of them."""
listed: Final = msgspec.json.Decoder(list[Line]).decode
"""The lines of a section."""
text_of: Final = msgspec.json.Decoder(str).decode
"""A value that `first` gave."""


def section(lines: list[bytes]) -> bytes:
    """A section of lines that are written already."""
    return b"[%b]" % b",".join(lines)


def beginning(name: str) -> bytes:
    """How a line of this name (ASCII) begins, for `first`."""
    return written([name.lower()])[:-1] + b","


def first(lines: bytes, begins: bytes) -> bytes | None:
    """The first known value of a name, as JSON; NULL: no value is known; None: no line has that name.

    A quotation mark that follows a bracket begins a line or ends a text: within a text it is written with a backslash.
    So where `begins` is found, a line of that name begins.
    """
    at = lines.lower().find(begins)
    if at < 0:
        return None
    at += len(begins)
    end = lines.find(b'"]', at + 1)
    if lines[at] != 0x22 or lines[end - 1] == _BACKSLASH:  # null, or the text may go on
        return _first_of(listed(lines), text_of(begins[1:-1]))
    return lines[at : end + 1]


def _first_of(lines: list[Line], name: str) -> bytes | None:
    values = [value for known, value in lines if known is not None and known.lower() == name]
    return written(next((value for value in values if value is not None), None)) if values else None
