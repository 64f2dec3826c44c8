"""CSV that spreadsheets may open: text that attackers wrote is never a formula."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What text begins with that spreadsheets calculate, or that hides it (OWASP, "CSV Injection")."""


def guarded(text: str) -> str:
    """The text of a cell, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA) else text
