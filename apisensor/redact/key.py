"""The key of the identities' hashes: a file that only its owner can read, and that a fleet can share."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

KEY_SIZE = 32
"""Bytes: HMAC-SHA-256 gains nothing from more (RFC 2104 section 3)."""


class KeyFileError(Exception):
    """The key file cannot be used. One line: the file, what is wrong, what to do."""


def load_or_create_key(path: str | os.PathLike[str]) -> bytes:
    """The key in the file `path`; a missing file is created, mode 0600, with a random key.

    Raises:
        KeyFileError: the file cannot be read or made, is no regular file, can be read by others, or has not 32 bytes.
    """
    file = Path(path)
    try:
        key = _load(file)
        return _create(file) if key is None else key
    except OSError as error:
        raise KeyFileError(f"identity key {file}: {error.strerror or error}") from error


def load_key(path: str | os.PathLike[str]) -> bytes:
    """The key in the file `path`.

    Raises:
        KeyFileError: there is none, or it cannot be used.
    """
    file = Path(path)
    try:
        key = _load(file)
    except OSError as error:
        raise KeyFileError(f"identity key {file}: {error.strerror or error}") from error
    if key is None:
        raise KeyFileError(f"identity key {file}: there is none; the first `apisensor run` makes it")
    return key


def _load(file: Path) -> bytes | None:
    try:
        # Without waiting for the writer of a FIFO that somebody put there. Symbolic links are followed: Kubernetes
        # mounts secrets through them, and what they lead to is checked below.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"identity key {file}: not a regular file; name another or remove it")
        if status.st_uid not in (0, os.geteuid()):
            owner, user = status.st_uid, os.geteuid()
            raise KeyFileError(f"identity key {file}: belongs to user {owner}; run: chown {user} {file}")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyFileError(f"identity key {file}: mode {mode:04o} lets others read it; run: chmod 600 {file}")
        key = os.read(descriptor, KEY_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_SIZE:
        size = f"{len(key)} bytes" if len(key) <= KEY_SIZE else f"more than {KEY_SIZE} bytes"
        raise KeyFileError(f"identity key {file}: has {size}, must have {KEY_SIZE}; remove it to get a new key")
    return key


def _create(file: Path) -> bytes:
    """Writes a new key beside its place and links it there: no reader sees half of it, and the first writer wins."""
    key = secrets.token_bytes(KEY_SIZE)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            os.fchmod(opened.fileno(), 0o600)  # whatever the umask
            opened.write(key)
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            existing = _load(file)
            if existing is None:
                raise KeyFileError(f"identity key {file}: comes and goes, or is a dangling link; remove it") from None
            return existing
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key
