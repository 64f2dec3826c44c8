"""Runs the loader and keeps what it loaded."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from pathlib import Path

import msgspec

import apisensor
from apisensor.events.decode import LayoutError, check_layouts
from apisensor.sections import Settings

LOADER_PYTHON = "/usr/bin/python3"
"""The distribution's Python: the only one that its bcc package can be imported by."""
LOAD_WAIT_S = 300
"""Compiling takes a second or two; on an emulated processor, beside others, some minutes."""
END_WAIT_S = 2.0
"""For its end, once it has answered."""
SKIP_SLOTS = 1 << 16
"""Flows whose positions the workers can publish at once: 2 MiB of shared memory."""
MAX_WORKERS = 16
PAGE = 4096


class LoadError(Exception):
    """The kernel side could not be loaded: one line that says what to do."""


class Kernel(msgspec.Struct, frozen=True):
    """The loaded programs and maps, by their descriptors."""

    descriptors: dict[str, int]
    """"tracepoint:NAME", "uprobe:NAME", "map:NAME", "ring:N"."""
    uprobe_multi: bool
    back_end: str
    programs: str
    """Where they come from: "compiled", or "from the cache"."""


class Loading:
    """The loader at work: compiles and loads bpf/ in a process of its own, which is gone afterwards.

    Its descriptor is readable when it is done, or has died. Raises LoadError.
    """

    def __init__(self, settings: Settings) -> None:
        package = Path(apisensor.__file__).parent
        if not os.access(LOADER_PYTHON, os.X_OK):
            raise LoadError(f"{LOADER_PYTHON} is missing: install the packages python3 and python3-bpfcc")
        parameters = {
            "macros": macros(settings),
            "workers": settings.worker.count,
            "back_end": settings.capture.backend,
            "cache": cache(settings),
        }
        self._ours, theirs = socket.socketpair()
        self._ours.setblocking(False)
        with theirs:
            command = [LOADER_PYTHON, "-I", str(package / "loader/__main__.py")]
            command += [str(theirs.fileno()), str(package / "bpf")]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env={"PATH": "/usr/bin:/bin"}
            )
        self._until = time.monotonic() + LOAD_WAIT_S
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:  # it says itself why it died
            stdin.write(json.dumps(parameters).encode())

    def fileno(self) -> int:
        return self._ours.fileno()

    @property
    def late(self) -> bool:
        """It takes longer than it may."""
        return time.monotonic() > self._until

    def finish(self) -> Kernel:
        """What it has loaded; when its descriptor is readable, or it is late."""
        try:
            message, descriptors, _, _ = socket.recv_fds(self._ours, 1 << 20, 253)
        except BlockingIOError:
            raise LoadError(f"the loader did not finish within {LOAD_WAIT_S} s") from None
        finally:
            self.close()
        if not message:
            status = self._process.returncode
            raise LoadError(f"the loader ended with status {status} and said nothing (its lines are above)")
        answer = json.loads(message)
        if "error" in answer:
            raise LoadError(answer["error"])
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        try:
            check_layouts(answer["layouts"])
        except LayoutError as error:
            raise LoadError(f"the kernel side is of another version: {error}; install apisensor again") from error
        return Kernel(
            dict(zip(answer["descriptors"], descriptors, strict=True)),
            answer["uprobe_multi"],
            answer["back_end"],
            answer["programs"],
        )

    def close(self) -> None:
        """Ends it, where it has not ended by itself: what it was asked for has come, or is not wanted any more."""
        self._ours.close()
        try:
            self._process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def macros(settings: Settings) -> dict[str, int]:
    """What bpf/ is compiled with, beside what the kernel says."""
    return {
        "RING_PAGES": settings.capture.ring_bytes // PAGE,
        "MAX_WORKERS": MAX_WORKERS,
        "MAX_CONNECTIONS": settings.capture.max_connections,
        "MAX_UNIX_CONNECTIONS": settings.capture.max_unix_connections,
        "MAX_TLS_SESSIONS": settings.capture.max_tls_sessions,
        "SKIP_SLOTS": SKIP_SLOTS,
    }


def cache(settings: Settings) -> str | None:
    """Where the compiled programs are kept; None: a recording on a node where no sensor has run."""
    directory = settings.general.state_directory
    return f"{directory}/programs" if os.path.isdir(directory) else None
