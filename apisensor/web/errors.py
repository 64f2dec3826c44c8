"""What a caller is told when an answer cannot be given: {"error": {"code", "message"}} with a fitting status."""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: str
    """For programs; docs/api.md lists them."""
    message: str
    """One line for a person."""


class ErrorAnswer(msgspec.Struct, frozen=True):
    """The body of every answer whose status is 400 or above."""

    error: ErrorBody


STATUSES = {
    "bad_request": 400,
    "not_logged_in": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "too_large": 413,
    "too_many_attempts": 429,
    "internal": 500,
    "unavailable": 503,
}
"""Code: HTTP status."""


class ApiError(Exception):
    """An answer that cannot be given; translated to its JSON at the edge (app.py)."""

    def __init__(self, code: str, message: str, retry_after_s: int | None = None) -> None:
        """
        Args:
            code: one of STATUSES.
            message: one line, without anything that only the log should know.
            retry_after_s: what Retry-After says.
        """
        super().__init__(message)
        self.code, self.message, self.retry_after_s = code, message, retry_after_s

    @property
    def status(self) -> int:
        return STATUSES[self.code]

    def body(self) -> bytes:
        return msgspec.json.encode(ErrorAnswer(ErrorBody(self.code, self.message)))
