"""Processes that have TLS libraries mapped and do nothing: what stands in their memory at each function tells whether
it is observed. A uprobe is a breakpoint in every process's copy of the page; without it the page is the file's."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from apisensor.finder.symbols import find_functions
from tests.peers.process import Peer

_PROGRAM = """
import ctypes, os, signal, sys
for path in sys.argv[2:]:
    ctypes.CDLL(path)
children = []
for _ in range(int(sys.argv[1]) - 1):
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    children.append(pid)
print("ready", os.getpid(), *children, flush=True)
sys.stdin.read()
for pid in children:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


class Witnesses:
    """`count` processes that have the libraries mapped; a context manager.

    Args:
        libraries: files, of which a later one needs those before it (libcrypto, then libssl).
    """

    def __init__(self, directory: Path, count: int, libraries: Sequence[Path]) -> None:
        names = [str(path) for path in libraries]
        self._peer = Peer([sys.executable, "-c", _PROGRAM, str(count), *names], directory / "witnesses")
        try:
            self.pids = [int(word) for word in self._peer.wait_ready()]
        except BaseException:
            self._peer.stop()
            raise

    def __enter__(self) -> Witnesses:
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.finish(b"")


@functools.cache
def functions_of(library: Path) -> dict[str, int]:
    """The TLS functions of a library and their offsets in the file."""
    with library.open("rb") as file:
        return find_functions(file).offsets


class Link:
    """A BPF link on functions of a file, as the kernel tells of it since 6.15 where its descriptors are."""

    def __init__(self, text: str) -> None:
        self.holders: set[str] = set()
        """Processes that have a descriptor of it."""
        self.pid = int((re.search(r"^pid:\t(\d+)$", text, re.MULTILINE) or ["", "0"])[1])
        """The one process that it is for; 0: all."""
        self.offsets = {int(offset, 16) for offset in re.findall(r"^\d+\t (0x[0-9a-f]+)\t", text, re.MULTILINE)}


def links_on(library: Path) -> list[Link]:
    """Every link on a library."""
    found: dict[str, Link] = {}
    for entry in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            text = entry.read_text()
            if f"path:\t{library}\n" in text:
                (number,) = re.findall(r"^link_id:\t(\d+)$", text, re.MULTILINE)
                found.setdefault(number, Link(text)).holders.add(entry.parts[2])
    return list(found.values())


def observed_by_others(library: Path, own: int | None) -> set[str]:
    """The functions of a library at which links stand that process `own` does not hold: of other sensors that run on
    this machine."""
    theirs: set[int] = set()
    for link in links_on(library):
        if str(own) not in link.holders:
            theirs |= link.offsets
    return {name for name, offset in functions_of(library).items() if offset in theirs}


def changed(pid: int, library: Path) -> set[str]:
    """The TLS functions of a library at which a process's memory is not the file's.

    Raises:
        LookupError: the process has not mapped the library, or it has no such functions.
    """
    offsets = functions_of(library)
    with library.open("rb") as file, Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        spans = _code(pid, library)
        if not offsets or not spans:
            raise LookupError(f"process {pid}: no functions of {library}")
        found = set()
        for name, offset in offsets.items():
            begin = next(at + offset - start for start, end, at in spans if start <= offset < end)
            file.seek(offset)
            memory.seek(begin)
            if memory.read(1) != file.read(1):
                found.add(name)
        return found


def _code(pid: int, library: Path) -> list[tuple[int, int, int]]:
    """(first offset in the file, end, address) of what a process has mapped of it as code."""
    inode = library.stat().st_ino
    spans = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        span, flags, offset, _, number, *_ = line.split()
        if "x" in flags and int(number) == inode:
            low, high = (int(end, 16) for end in span.split("-"))
            spans.append((int(offset, 16), int(offset, 16) + high - low, low))
    return spans


def libssl_of(python: str = sys.executable) -> list[Path]:
    """libcrypto and libssl that a Python uses."""
    code = "import ssl; print(open('/proc/self/maps').read())"
    maps = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, timeout=20).stdout
    return [
        Path(next(line.split()[-1] for line in maps.splitlines() if f"/{name}" in line))
        for name in ("libcrypto", "libssl")
    ]
