"""The store's one error, and what SQLite's errors mean for it."""

from __future__ import annotations

import sqlite3
from typing import Literal

Cause = Literal["disk_full", "damaged", "not_allowed", "busy", "io_error", "newer", "older", "missing"]

_CAUSES: dict[str, Cause] = {
    "SQLITE_FULL": "disk_full",
    "SQLITE_CORRUPT": "damaged",
    "SQLITE_NOTADB": "damaged",
    "SQLITE_READONLY": "not_allowed",
    "SQLITE_CANTOPEN": "not_allowed",
    "SQLITE_PERM": "not_allowed",
    "SQLITE_AUTH": "not_allowed",
    "SQLITE_BUSY": "busy",
    "SQLITE_LOCKED": "busy",
    "SQLITE_IOERR": "io_error",
}
"""Primary result code of SQLite: what it is to us. https://www.sqlite.org/rescode.html"""


class StoreError(Exception):
    """The store cannot do it. Its text is one line that says what to do."""

    def __init__(self, text: str, cause: Cause | None = None) -> None:
        super().__init__(" ".join(text.split()))
        self.cause: Cause | None = cause


def cause_of(error: sqlite3.Error) -> Cause:
    """Extended codes ("SQLITE_IOERR_WRITE") count as their primary one; what is unknown is an I/O error."""
    name: str = getattr(error, "sqlite_errorname", None) or ""
    primary = "_".join(name.split("_")[:2])
    if primary in _CAUSES:
        return _CAUSES[primary]
    # Text that should be UTF-8 and is not, raised by the binding and without a code.
    return "damaged" if "decode" in str(error).lower() else "io_error"
