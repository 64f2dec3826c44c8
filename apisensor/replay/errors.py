"""The one error of this stage: a file that cannot be read, or not to its end."""

from __future__ import annotations


class ReplayError(Exception):
    """The file cannot be read (further). `str()` is one line for the user: what is wrong, where, and what to do.

    What was yielded before it was raised is good and complete.
    """
