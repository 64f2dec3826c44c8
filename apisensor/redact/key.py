"""The key of the identities' hashes: a file that only its owner can read, and that a fleet can share."""

from __future__ import annotations

import secrets

from apisensor.secret_file import SecretFile

KEY_SIZE = 32
"""Bytes: HMAC-SHA-256 gains nothing from more (RFC 2104 section 3)."""


def identity_key(path: str) -> SecretFile:
    """The key in the file `path`."""
    return SecretFile(
        what="identity key",
        path=path,
        make=lambda: secrets.token_bytes(KEY_SIZE),
        wrong=_wrong,
        largest=KEY_SIZE,
        remedy=f"run: chmod 600 {path}",
    )


def _wrong(content: bytes) -> str | None:
    if len(content) == KEY_SIZE:
        return None
    size = f"{len(content)} bytes" if len(content) < KEY_SIZE else f"more than {KEY_SIZE} bytes"
    return f"has {size}, must have {KEY_SIZE}"
