"""Tells which files processes map as code, the moment they do: PERF_RECORD_MMAP2 of a dummy event on each processor.

This is how a library is found that a process loads long after it started, at no cost to any other system call (a
tracepoint on mmap(2) would slow every system call of the machine).
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import msgspec

from apisensor.capture.kernel import open_mapping_events

PAGES = 64
"""Data pages of each processor's buffer (256 KiB): some 2,000 mappings, a burst of 200 program starts."""

_RECORD_LOST, _RECORD_MMAP2 = 2, 10
_HEADER = struct.Struct("=IHH")
_MMAP2 = struct.Struct("=IIQQQIIQQII")
_DATA_HEAD, _DATA_TAIL = 1024 // 8, 1032 // 8
"""Indexes of data_head and data_tail in struct perf_event_mmap_page, as u64."""


class Mapping(msgspec.Struct, frozen=True):
    """A file that a process mapped executable."""

    pid: int
    device: tuple[int, int]
    """Major and minor number, as in /proc/PID/maps."""
    inode: int
    path: str
    """As the process's mount namespace names it; may be stale."""
    time_ns: int
    """CLOCK_MONOTONIC of the mapping."""


class MappingWatch:
    """The buffers of all processors. `descriptors` become readable when there is something."""

    def __init__(self, processors: int) -> None:
        """Raises OSError (PermissionError without CAP_PERFMON)."""
        self.lost = 0
        """Mappings that no buffer had room for; the caller looks at all processes again when it rises."""
        self.descriptors: list[int] = []
        self._buffers: list[mmap.mmap] = []
        for processor in range(processors):
            try:
                descriptor = open_mapping_events(processor)
            except OSError as error:
                if error.errno == 19:  # ENODEV: the processor is offline
                    continue
                raise
            self.descriptors.append(descriptor)
            self._buffers.append(mmap.mmap(descriptor, (1 + PAGES) * mmap.PAGESIZE))

    def read(self) -> Iterator[Mapping]:
        """Yields what has come since the last call."""
        for buffer in self._buffers:
            yield from self._drain(buffer)

    def _drain(self, buffer: mmap.mmap) -> Iterator[Mapping]:
        size = PAGES * mmap.PAGESIZE
        control = memoryview(buffer)[: mmap.PAGESIZE].cast("Q")
        head, tail = control[_DATA_HEAD], control[_DATA_TAIL]
        while tail < head:
            at = tail % size
            kind, _, length = _HEADER.unpack(self._bytes(buffer, at, _HEADER.size))
            record = self._bytes(buffer, at, length)
            tail += length
            if kind == _RECORD_LOST:
                self.lost += struct.unpack_from("=Q", record, 16)[0]
            elif kind == _RECORD_MMAP2:
                pid, _, _, _, _, major, minor, inode, _, _, _ = _MMAP2.unpack_from(record, 8)
                name = record[8 + _MMAP2.size :].split(b"\0", 1)[0]
                time_ns = int.from_bytes(record[-8:], "little")
                yield Mapping(pid, (major, minor), inode, os.fsdecode(name), time_ns)
        control[_DATA_TAIL] = tail

    @staticmethod
    def _bytes(buffer: mmap.mmap, at: int, length: int) -> bytes:
        """`length` bytes at `at` of the data area, which is a ring."""
        size = PAGES * mmap.PAGESIZE
        first = min(length, size - at)
        start = mmap.PAGESIZE + at
        return buffer[start : start + first] + buffer[mmap.PAGESIZE : mmap.PAGESIZE + length - first]

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
