"""Names that operations show: what may be one, and how long it may be.

A peer chooses them, and what stands where a name is due may be a value (a JSON body sent as a form, a key in place of a
method). Only what is written like a name passes; what passes is searched for secrets like any text.
"""

from __future__ import annotations

import string

NAME_BYTES = 128
"""Longest name shown. Generated method names reach 80; longer ones are content."""
ACTION_BYTES = 256
"""Longest SOAP action shown: a URI."""
FIELDS = 32
"""Names listed of one operation. Forms and GraphQL documents of real applications have fewer at the top."""
OPERATIONS = 16
"""Operations listed of one transaction: batches in use have a handful."""

_NAME = (string.ascii_letters + string.digits + "_.:/$[]-").encode()
_ACTION = _NAME + b"#?=&+~@!,;()'*%"


def identifier(text: bytes | None) -> bytes | None:
    """The text where it is written like a name, else None."""
    if not text or len(text) > NAME_BYTES or text.translate(None, _NAME):
        return None
    return text


def action(text: bytes | None) -> bytes | None:
    """The text where it is written like a URI (RFC 3986), else None."""
    if not text or len(text) > ACTION_BYTES or text.translate(None, _ACTION):
        return None
    return text
