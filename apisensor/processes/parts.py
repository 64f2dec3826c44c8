"""The parts of a sensor: which there are, how they are linked, and what each is given.

capture --- finder        each pair is a link of which `run` keeps both ends,
   |  \\                    so what was sent to a dead part waits for its successor
   |   core - - - web       web asks core through its socket, as `apisensor tail` does
workers -'
"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import NamedTuple

from apisensor.processes.link import Link, pair
from apisensor.processes.pages import make
from apisensor.sections import Settings

NEED_KERNEL = frozenset({"worker", "capture"})
"""Modules of the parts that start when the loader is done; the others start beside it."""


class Page(NamedTuple):
    """What the web part serves with: kept by `run`, so that a restarted one has the same address and token."""

    listening: socket.socket
    token: str


class Part:
    """One part: how it is started, and how it is."""

    def __init__(self, name: str, module: str, user: str, descriptors: dict[str, int], index: int = 0) -> None:
        self.name, self.module, self.user, self.index = name, module, user, index
        self.descriptors = descriptors
        self.ours, self.theirs = pair()
        self.link = Link(self.ours)
        self.process: subprocess.Popen[bytes] | None = None
        self.handle = -1
        self.ready = False
        self.was_ready = False
        self.restarts = 0
        self.failures = 0
        self.started_ns = 0
        self.again_at = 0.0
        self.last_exit: str | None = None
        self.wakes: socket.socket | None = None
        """Where a connection starts it again, after it has ended because there was nothing to do."""
        self.resting = False
        """It has."""


class Linked(NamedTuple):
    """All parts, none started."""

    parts: list[Part]
    sockets: list[socket.socket]
    """Both ends of each link, and what is listened on: open for as long as the sensor runs."""


def make_parts(
    settings: Settings,
    key: bytes,
    described: bytes | None,
    live: socket.socket | None,
    page: Page | None,
    recording: int | None,
) -> Linked:
    """
    Args:
        described: what descriptor sets say, for the workers.
        recording: an open file; then nothing is analysed, and a recorder is in core's place.
    """
    general = settings.general
    finder_link, core_link = pair(), pair()
    sockets = [*finder_link, *core_link]
    file = {} if recording is None else {"recording": recording}
    descriptions = {} if described is None else {"descriptions": in_memory(described)}
    sink = {"capture": core_link[1].fileno(), "page": make("core"), **file}
    workers = []
    for index in range(settings.worker.count):
        ours, theirs = pair()
        sockets += [ours, theirs]
        counters = make(f"worker-{index}")
        sink |= {f"worker:{index}": ours.fileno(), f"page:{index}": counters}
        given = {"page": counters, "core": theirs.fileno(), "key": in_memory(key), **descriptions, **file}
        workers.append(Part(f"worker-{index}", "worker", general.sandbox_user, given, index))
    if live is not None:
        sockets.append(live)
        sink["live"] = live.fileno()
    consumer = "core" if recording is None else "recorder"
    capture = {"finder": finder_link[0].fileno(), "core": core_link[0].fileno()}
    parts = [
        Part("finder", "finder", general.sandbox_user, {"capture": finder_link[1].fileno()}),
        Part(consumer, consumer, general.user, sink),
        *workers,
        Part("capture", "capture", general.user, capture),
    ]
    if page is not None:
        sockets.append(page.listening)
        web = {"web": page.listening.fileno(), "token": in_memory(page.token.encode())}
        parts.append(Part("web", "web", general.user, web))
        parts[-1].wakes = page.listening
    return Linked(parts, sockets)


def needed(descriptors: dict[str, int], part: Part) -> dict[str, int]:
    """The programs and maps that a part works with, of all that were loaded."""
    if part.module == "worker":
        return {
            "ring": descriptors[f"ring:{part.index}"],
            **{name: descriptors[name] for name in ("map:skips", "map:governor")},
        }
    return {name: descriptor for name, descriptor in descriptors.items() if not name.startswith(("ring:", "inner:"))}


def in_memory(content: bytes) -> int:
    """A descriptor from which the bytes can be read: nothing secret goes into an argument list or a file."""
    descriptor = os.memfd_create("apisensor-input", os.MFD_CLOEXEC)
    os.write(descriptor, content)
    return descriptor
