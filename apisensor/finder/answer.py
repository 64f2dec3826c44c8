"""What the finder is asked, and its answer. Apart from what finds it: who asks loads no ELF parser."""

from __future__ import annotations

import enum

import msgspec


class Question(enum.Enum):
    """What the finder is asked about an open file; behind the question's number (8 bytes, little endian)."""

    FUNCTIONS = b"f"
    VERSION = b"v"
    HINT = b"h"


class Found(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The finder's answer: fixed form, whatever the file holds."""

    offsets: dict[str, int]
    """Function (of finder.functions.ROLES) to offset in the file; empty where the file defines none of them."""
    returns: dict[str, list[int]] = {}
    """Function to the offsets of its return instructions, where return probes cannot be used (Go)."""
    hint: str | None = None
    """A library of finder.hints that is linked in."""
    version: str | None = None
    """Of the library, from its version text."""
    error: str | None = None
    """Why the file could not be read as ELF, or what was found in it cannot be observed; one line."""
    question: int = 0
    """Number of the question that this answers."""
