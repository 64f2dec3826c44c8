"""Counters in shared memory: one page a worker and one for core, made and kept by `run`.

What a killed part had counted is still there for its successor, so that what was lost with it is known exactly: what it
had begun and not handed on.
"""

from __future__ import annotations

import enum
import mmap
import os

from apisensor.transactions.counts import Count


class WorkerCount(enum.IntEnum):
    """Indexes after those of `Count` in a worker's page. All only ever rise."""

    DELIVERED = 64
    """Transactions handed to core's link."""
    LOST_WITH_WORKER = 65
    """Transactions that were begun by workers that died."""
    DROPPED_CORE_BEHIND = 66
    """Transactions dropped because core did not read for long."""
    EVENTS = 67
    """Records read from the ring."""
    FAILED = 68
    """Exchanges that could not be made transactions: an error in the sensor."""
    RECORDED_BYTES = 69
    """Bytes written to the recording."""


class CoreCount(enum.IntEnum):
    """Indexes in core's page."""

    RECEIVED = 0
    """Transactions taken from the workers' links."""
    HANDLED = 1
    """Transactions given to all sinks, their line written where lines are printed."""
    NOT_PRINTED = 6
    """Transactions whose line was dropped because the reader of standard output was too slow."""
    LOST_WITH_CORE = 2
    """Transactions that cores took and did not hand on before they died."""
    SPANS_OFFERED = 3
    """Spans given to the exporter by this core and the ones before it."""
    SPANS_SETTLED = 4
    """Spans sent or counted as dropped."""
    SPANS_LOST_WITH_CORE = 5
    """Spans that waited in the exporters of cores that died."""


PAGE_BYTES = mmap.PAGESIZE


def make(name: str) -> int:
    """A new page of zeroes; returns its descriptor."""
    descriptor = os.memfd_create(f"apisensor-{name}", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, PAGE_BYTES)
    return descriptor


def map_page(descriptor: int, *, write: bool) -> memoryview:
    """The page as u64 counters."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
    return memoryview(mmap.mmap(descriptor, PAGE_BYTES, mmap.MAP_SHARED, protection)).cast("Q")


def worker_counters(pages: list[memoryview]) -> dict[str, int]:
    """The workers' counters summed, by their public names."""
    members: list[Count | WorkerCount] = [*Count, *WorkerCount]
    return {f"worker.{member.name.lower()}": sum(page[member] for page in pages) for member in members}


def core_counters(page: memoryview) -> dict[str, int]:
    """Core's counters by their public names."""
    return {f"core.{member.name.lower()}": page[member] for member in CoreCount}
