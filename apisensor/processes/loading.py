"""Runs the loader and keeps what it loaded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import msgspec

import apisensor
from apisensor.events.decode import LayoutError, check_layouts
from apisensor.sections import Settings

LOADER_PYTHON = "/usr/bin/python3"
"""The distribution's Python: the only one that its bcc package can be imported by."""
LOAD_WAIT_S = 120
"""Compiling takes a second or two; on an emulated processor a minute."""
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


def load(settings: Settings) -> Kernel:
    """Compiles and loads bpf/ in a process of its own, which is gone afterwards. Raises LoadError."""
    package = Path(apisensor.__file__).parent
    if not os.access(LOADER_PYTHON, os.X_OK):
        raise LoadError(f"{LOADER_PYTHON} is missing: install the packages python3 and python3-bpfcc")
    parameters = {
        "macros": {
            "RING_PAGES": settings.capture.ring_bytes // PAGE,
            "MAX_WORKERS": MAX_WORKERS,
            "MAX_CONNECTIONS": settings.capture.max_connections,
            "MAX_UNIX_CONNECTIONS": settings.capture.max_unix_connections,
            "MAX_TLS_SESSIONS": settings.capture.max_tls_sessions,
            "SKIP_SLOTS": SKIP_SLOTS,
        },
        "workers": settings.worker.count,
        "back_end": settings.capture.backend,
    }
    ours, theirs = socket.socketpair()
    with ours:
        command = [LOADER_PYTHON, "-I", str(package / "loader.py"), str(theirs.fileno()), str(package / "bpf")]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[theirs.fileno()], env={"PATH": "/usr/bin:/bin"}
        ) as process:
            theirs.close()
            try:
                process.communicate(json.dumps(parameters).encode(), LOAD_WAIT_S)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise LoadError(f"the loader did not finish within {LOAD_WAIT_S} s") from error
        ours.setblocking(False)
        try:
            message, descriptors, _, _ = socket.recv_fds(ours, 1 << 20, 253)
        except BlockingIOError:
            message, descriptors = b"", []
    if not message:
        raise LoadError(f"the loader ended with status {process.returncode} and said nothing (its lines are above)")
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
        dict(zip(answer["descriptors"], descriptors, strict=True)), answer["uprobe_multi"], answer["back_end"]
    )
