"""The live socket's place in the file system: made once, group-readable, never taken from a sensor that lives."""

from __future__ import annotations

import errno
import os
import socket
import stat

BACKLOG = 16


class LiveError(Exception):
    """The live socket cannot be had. Its text is one line that says what to do."""


def listen(path: str, group: int | None = None) -> socket.socket:
    """The listening socket at `path`, mode 0660; what a dead sensor left there goes.

    Args:
        path: absolute; its directory exists.
        group: numeric id of the group that may connect; None: the caller's.

    Raises:
        LiveError: another sensor listens there, something else lies there, or the directory is not writable.
    """
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path)
        before = os.umask(0o117)
        try:
            listening.bind(path)
        finally:
            os.umask(before)
        if group is not None:
            os.chown(path, -1, group)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise LiveError(f"{path}: another sensor is starting on this node") from None
        raise LiveError(f"{path}: the live socket cannot be made: {error.strerror or error}") from None
    except LiveError:
        listening.close()
        raise
    return listening


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise LiveError(f"{path}: is not a socket; remove it, or set general.runtime_directory")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except BlockingIOError:
            raise LiveError(f"{path}: a sensor is already running on this node") from None
        else:
            raise LiveError(f"{path}: a sensor is already running on this node")
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
