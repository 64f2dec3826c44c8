"""The login token of the page and the REST API: a file that root and the sensor's group can read."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import stat
from pathlib import Path

from apisensor.sections import Settings
from apisensor.web.listening import authority, place

TOKEN_BYTES = 32
"""Of randomness: nobody guesses 256 bits."""
MODE = 0o640

_FORM = re.compile(r"[A-Za-z0-9_-]{43}")
"""URL-safe base64 of TOKEN_BYTES (RFC 4648 section 5), without padding."""


class TokenFileError(Exception):
    """The token file cannot be used. One line: the file, what is wrong, what to do."""


def load_or_create_token(path: str | os.PathLike[str], gid: int) -> str:
    """The token in the file `path`; a missing file is made, mode 0640, owned by the caller and the group `gid`.

    Raises:
        TokenFileError: the file cannot be read or made, is no regular file, belongs to somebody else, can be read by
            others or written by the group, or holds no token.
    """
    file = Path(path)
    try:
        token = _load(file, gid)
        return _create(file, gid) if token is None else token
    except OSError as error:
        raise TokenFileError(f"login token {file}: {error.strerror or error}") from error


def load_token(path: str | os.PathLike[str], gid: int) -> str:
    """The token in the file `path`.

    Raises:
        TokenFileError: there is none, or it cannot be used.
    """
    file = Path(path)
    try:
        token = _load(file, gid)
    except OSError as error:
        raise TokenFileError(f"login token {file}: {error.strerror or error}") from error
    if token is None:
        raise TokenFileError(f"login token {file}: there is none; the first `apisensor run` makes it")
    return token


def link(settings: Settings, listening: socket.socket, token: str) -> str:
    """The address that logs a browser in: for the terminal of who started the sensor, and for nothing that is kept.

    On an unspecified address (0.0.0.0, ::) it names the first of web.hosts, else the loopback address.
    """
    address, port = place(listening)
    if address in ("0.0.0.0", "::"):
        address = settings.web.hosts[0] if settings.web.hosts else {"0.0.0.0": "127.0.0.1", "::": "::1"}[address]
        if settings.web.hosts and re.search(r":\d+$|\]$", address):
            return f"http://{address}/login?token={token}"
    return f"http://{authority(address, port)}/login?token={token}"


def _load(file: Path, gid: int) -> str | None:
    try:
        # Without waiting for the writer of a FIFO that somebody put there.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise TokenFileError(f"login token {file}: not a regular file; remove it")
        if status.st_uid not in (0, os.geteuid()):
            raise TokenFileError(f"login token {file}: belongs to user {status.st_uid}; remove it to get a new one")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o027 or (mode & 0o040 and status.st_gid not in (0, gid)):
            who = "others" if mode & 0o027 else f"group {status.st_gid}"
            raise TokenFileError(
                f"login token {file}: mode {mode:04o} lets {who} at it; remove it to get a new one (it may be known)"
            )
        text = os.read(descriptor, 256).decode("ascii", "replace").strip()
    finally:
        os.close(descriptor)
    if not _FORM.fullmatch(text):
        raise TokenFileError(f"login token {file}: holds no token; remove it to get a new one")
    return text


def _create(file: Path, gid: int) -> str:
    """Writes a new token beside its place and links it there: no reader sees half of it, the first writer wins."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w") as opened:
            os.fchown(opened.fileno(), -1, gid)
            os.fchmod(opened.fileno(), MODE)  # whatever the umask
            opened.write(token + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            existing = _load(file, gid)
            if existing is None:
                raise TokenFileError(f"login token {file}: comes and goes, or is a dangling link; remove it") from None
            return existing
    finally:
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
    return token
