"""A secret in a file of its own: made where it is missing, refused where others could have read it."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class SecretFileError(Exception):
    """The file cannot be used. One line: the file, what is wrong, what to do."""


class SecretFile(NamedTuple):
    """One kind of secret, in one file."""

    what: str
    """For errors: "identity key"."""
    path: str
    make: Callable[[], bytes]
    """New content."""
    wrong: Callable[[bytes], str | None]
    """Why content is none, as in "has 7 bytes, must have 32"; None: it is one."""
    largest: int
    """Bytes that are read; more is none."""
    remedy: str
    """What to do where others can get at it, as in "run: chmod 600 PATH"."""
    group: int | None = None
    """Numeric id of the group that may read it, beside the owner; None: nobody else may."""

    def load(self) -> bytes:
        """The content.

        Raises:
            SecretFileError: there is no file, or it cannot be used.
        """
        content = self._guarded(self._load)
        if content is None:
            raise self._error("there is none; the first `apisensor run` makes it")
        return content

    def load_or_create(self) -> bytes:
        """The content; a missing file is made, owned by the caller.

        Raises:
            SecretFileError: the file cannot be read or made, is no regular file, belongs to somebody else, can be read
                by others, or holds something else.
        """
        content = self._guarded(self._load)
        return self._guarded(self._create) if content is None else content

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except OSError as error:
            raise self._error(error.strerror or str(error)) from error

    def _error(self, text: str) -> SecretFileError:
        return SecretFileError(f"{self.what} {self.path}: {text}")

    @property
    def _mode(self) -> int:
        return 0o600 if self.group is None else 0o640

    def _load(self) -> bytes | None:
        try:
            # Without waiting for the writer of a FIFO that somebody put there. Symbolic links are followed: Kubernetes
            # mounts secrets through them, and what they lead to is checked below.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            self._check(os.fstat(descriptor))
            content = os.read(descriptor, self.largest + 1)
        finally:
            os.close(descriptor)
        if (wrong := self.wrong(content)) is not None:
            raise self._error(f"{wrong}; remove it to get a new one")
        return content

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise self._error("not a regular file; name another or remove it")
        if status.st_uid not in (0, os.geteuid()):
            owner, user = status.st_uid, os.geteuid()
            raise self._error(f"belongs to user {owner}; run: chown {user} {self.path}")
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077 & ~self._mode:
            raise self._error(f"mode {mode:04o} lets others at it; {self.remedy}")
        if mode & 0o040 and status.st_gid not in (0, self.group):
            raise self._error(f"mode {mode:04o} lets group {status.st_gid} at it; {self.remedy}")

    def _create(self) -> bytes:
        """Writes new content beside its place and links it there: no reader sees half of it, the first writer wins."""
        file, content = Path(self.path), self.make()
        draft = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                if self.group is not None:
                    os.fchown(opened.fileno(), -1, self.group)
                os.fchmod(opened.fileno(), self._mode)  # whatever the umask
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            try:
                os.link(draft, file)
            except FileExistsError:
                existing = self._load()
                if existing is None:
                    raise self._error("comes and goes, or is a dangling link; remove it") from None
                return existing
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return content
