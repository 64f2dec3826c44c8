"""What /proc says of a process. A process may go any time: every function answers None or nothing then."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import msgspec

from apisensor.finder.functions import library_named

COMMAND_LINE_BYTES = 4096
"""Bytes of a command line that are read; what the kernel shows of it at all in older versions."""
ENVIRONMENT_BYTES = 1 << 18
"""Bytes of an environment that are looked through for a variable; ARG_MAX is 2 MiB, real ones are small."""
SMAPS_BYTES = 1 << 22
"""Bytes of a description of a process's mappings; a part of the sensor has a few hundred of them, 500 bytes each."""

_CRYPTO_LIBRARY = re.compile(r"^libcrypto([-.][\w.+-]*)?\.so")
# Only ever sees the base name of a path (255 bytes at most); linear.


class MappedFile(msgspec.Struct, frozen=True):
    """A file that a process has mapped as code."""

    device: tuple[int, int]
    inode: int
    path: str
    span: str
    """The address range as map_files names it, "lo-hi" in hexadecimal."""


def pids() -> list[int]:
    """All processes of this PID namespace."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _read(path: str, most: int) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        chunks = []
        while most > 0 and (block := os.read(descriptor, most)):
            chunks.append(block)
            most -= len(block)
        return b"".join(chunks)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def executable(pid: int) -> str | None:
    """The program's path as its mount namespace names it."""
    try:
        return os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    except OSError:
        return None


def executable_inode(pid: int) -> tuple[int, int, int] | None:
    """(inode, major, minor) of the program's file."""
    try:
        status = os.stat(f"/proc/{pid}/exe")
    except OSError:
        return None
    return status.st_ino, os.major(status.st_dev), os.minor(status.st_dev)


def arguments(pid: int) -> list[bytes]:
    """The command line; empty for kernel threads."""
    raw = _read(f"/proc/{pid}/cmdline", COMMAND_LINE_BYTES)
    return raw.rstrip(b"\0").split(b"\0") if raw else []


def cgroup(pid: int) -> str:
    raw = _read(f"/proc/{pid}/cgroup", 1 << 16)
    return raw.decode("utf-8", "replace") if raw else ""


def variables(pid: int, *names: str) -> list[str | None]:
    """The values of these environment variables; the rest of the environment is not kept."""
    raw = _read(f"/proc/{pid}/environ", ENVIRONMENT_BYTES) or b""
    values: dict[bytes, bytes] = {}
    wanted = {name.encode() for name in names}
    for entry in raw.split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name in wanted:
            values[name] = value
    return [values[key].decode("utf-8", "replace") if (key := name.encode()) in values else None for name in names]


def status(pid: int) -> tuple[int, int] | None:
    """(uid, parent)."""
    raw = _read(f"/proc/{pid}/status", 1 << 14)
    if not raw:
        return None
    fields = dict(line.split(b":", 1) for line in raw.splitlines() if b":" in line)
    try:
        return int(fields[b"Uid"].split()[0]), int(fields[b"PPid"])
    except (KeyError, ValueError):
        return None


def start_ns(pid: int) -> int | None:
    """When the process was forked, ns since boot, within a clock tick (10 ms); includes suspended time."""
    raw = _read(f"/proc/{pid}/stat", 1 << 12)
    if not raw or b")" not in raw:
        return None
    return int(raw.rsplit(b")", 1)[1].split()[19]) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def cpu_ns(pid: int) -> int | None:
    """CPU that the process has taken, user and system, all threads, ns; the kernel tells it in ticks of 10 ms."""
    raw = _read(f"/proc/{pid}/stat", 1 << 12)
    if not raw or b")" not in raw:
        return None
    user, system = raw.rsplit(b")", 1)[1].split()[11:13]
    return (int(user) + int(system)) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def memory_bytes(pid: int, *, maps: bool = False) -> int | None:
    """Proportional share of memory (Pss), bytes.

    Args:
        maps: The process may have mapped BPF maps. They are left out: theirs is the kernel's memory.
    """
    total = _pss(_read(f"/proc/{pid}/smaps_rollup", 1 << 12) or b"")
    if total is None or not maps:
        return total
    _, *mapped = (_read(f"/proc/{pid}/smaps", SMAPS_BYTES) or b"").split(b" anon_inode:bpf-map\n")
    return total - sum(_pss(one) or 0 for one in mapped)


def _pss(smaps: bytes) -> int | None:
    """Bytes of the first mapping that is described there."""
    _, found, after = smaps.partition(b"\nPss:")
    return int(after.split(None, 1)[0]) * 1024 if found else None


def mapped_files(pid: int) -> Iterator[MappedFile]:
    """Files mapped executable, one entry a file."""
    seen = set()
    for line in (_read(f"/proc/{pid}/maps", 1 << 24) or b"").splitlines():
        span, flags, _, device, inode, *path = line.split(None, 5)
        if b"x" not in flags or inode == b"0" or not path:
            continue
        major, minor = device.split(b":")
        key = (device, inode)
        if key not in seen:
            seen.add(key)
            name = os.fsdecode(path[0]).removesuffix(" (deleted)")
            yield MappedFile((int(major, 16), int(minor, 16)), int(inode), name, span.decode("ascii"))


def open_mapped(pid: int, file: MappedFile) -> int | None:
    """Opens exactly the file that is mapped, even where it was deleted or replaced since; None where it cannot be."""
    # map_files names a range without leading zeroes.
    low, high = (f"{int(end, 16):x}" for end in file.span.split("-"))
    for path in (f"/proc/{pid}/map_files/{low}-{high}", f"/proc/{pid}/root{file.path}"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(descriptor).st_ino == file.inode:
            return descriptor
        os.close(descriptor)
    return None


def is_tls_library(path: str) -> bool:
    """Is this the name of a TLS library that has a row in finder.functions?"""
    return library_named(path) is not None


def is_crypto_library(path: str) -> bool:
    """The same for the library under OpenSSL's, which has the BIO functions and the version text."""
    return _CRYPTO_LIBRARY.match(path.rsplit("/", 1)[-1]) is not None
