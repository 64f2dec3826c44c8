"""Counters in shared memory: one page a worker and one for core, made and kept by `run`.

What a killed part had counted is still there for its successor, so that what was lost with it is known exactly: what it
had begun and not handed on. A part may die inside the system call that hands a packet on, so neither side's word for it
is enough: packets carry running totals, and core, which sees them in order, does the sums (`account`).
"""

from __future__ import annotations

import enum
import mmap
import os

import msgspec

from apisensor.transactions.counts import Count
from apisensor.transactions.model import Transaction


class WorkerCount(enum.IntEnum):
    """Indexes after those of `Count` in a worker's page. All only ever rise."""

    SENT = 64
    """Transactions that were put into packets to core, or settled as lost when this worker was started."""
    DROPPED_CORE_BEHIND = 65
    """Transactions dropped because core did not read for long."""
    FAILED = 66
    """Exchanges that could not be made transactions: an error in the sensor."""
    EVENTS = 67
    """Records read from the ring."""
    RECORDS_IN_HAND = 68
    """Records that killed workers had in hand, one at most each: taken, and perhaps not counted as begun. Nobody reads
    them again, for they may be what the worker died of."""


class CoreCount(enum.IntEnum):
    """Indexes in core's page. All only ever rise."""

    RECEIVED = 0
    """Transactions taken from the workers' links."""
    HANDLED = 1
    """Transactions given to all sinks, their line written where lines are printed."""
    NOT_PRINTED = 2
    """Transactions whose line was dropped because the reader of standard output was too slow."""
    LOST_IN_CORE = 3
    """Transactions that cores received and did not hand on before they died."""
    LOST_ON_THE_WAY = 4
    """Transactions in packets that a core took from its link and died before it counted them."""
    LOST_WITH_WORKER = 5
    """Transactions that workers had begun, and not sent, when they died."""
    SPANS_OFFERED = 6
    """Spans given to the exporter by this core and the ones before it."""
    SPANS_SETTLED = 7
    """Spans sent or counted as dropped."""
    SPANS_LOST_WITH_CORE = 8
    """Spans that waited in the exporters of cores that died."""
    PRINTING = 9
    """Transactions whose lines are being written just now."""
    PERHAPS_PRINTED = 10
    """Of LOST_IN_CORE, those whose lines were being written when a core died: some may be out."""
    OWN_CALLS = 11
    """Transactions left out: calls to the sensor's own page."""
    ROWS_SETTLED = 12
    """Transactions stored or counted as not stored."""
    ROWS_LOST_WITH_CORE = 13
    """Transactions that waited to be stored in cores that died, those of the last commit perhaps included."""


ACCOUNTED = 64
"""Index in core's page from which on each worker has one number: its SENT up to which all is accounted for."""


class Packet(msgspec.Struct, array_like=True, frozen=True):
    """What a worker sends to core. `sent` and `begun` make lost packets visible, whoever died with them."""

    sent: int
    """WorkerCount.SENT including this packet's transactions."""
    transactions: list[Transaction]
    begun: int | None = None
    """In the first packet of a worker only: what all workers before it had begun, less what they counted as dropped."""


def account(page: memoryview, worker: int, packet: Packet) -> None:
    """Enters a packet in core's page: its transactions, and what must be lost by what it says.

    Repeated after a death it changes nothing, so what is counted once is never counted twice.
    """
    at = ACCOUNTED + worker
    if packet.begun is not None:
        page[CoreCount.LOST_WITH_WORKER] += max(0, packet.begun - page[at])
    else:
        count = len(packet.transactions)
        page[CoreCount.LOST_ON_THE_WAY] += max(0, packet.sent - count - page[at])
        page[CoreCount.RECEIVED] += count
    page[at] = packet.sent


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


_NAMES: list[tuple[enum.IntEnum, str]] = [
    (WorkerCount.DROPPED_CORE_BEHIND, "worker.lost.core_behind"),
    (WorkerCount.FAILED, "worker.lost.failed"),
    (CoreCount.LOST_IN_CORE, "core.lost.in_core"),
    (CoreCount.LOST_ON_THE_WAY, "core.lost.on_the_way"),
    (CoreCount.LOST_WITH_WORKER, "core.lost.with_worker"),
    (CoreCount.NOT_PRINTED, "core.lost.not_printed"),
    (CoreCount.SPANS_LOST_WITH_CORE, "core.lost.spans"),
    (CoreCount.ROWS_LOST_WITH_CORE, "core.lost.rows"),
    (WorkerCount.RECORDS_IN_HAND, "worker.lost.records_in_hand"),
    (Count.FLOWS_SHED, "worker.lost.shed_flows"),
    (Count.SHED_BYTES, "worker.lost.shed_bytes"),
    # Left out on purpose and counted exactly: a transaction that suffers from it says so itself.
    (Count.BYTES_LOST_SKIPPED, "worker.skipped_bytes"),
    (Count.BYTES_LOST_CALL_LIMIT, "worker.call_limit_bytes"),
    (Count.BYTES_LOST_NOT_IN_USER_MEMORY, "worker.not_in_user_memory_bytes"),
]
"""Public names that do not follow from the member's own."""


def _name(part: str, member: enum.IntEnum) -> str:
    """Public name of a counter: "<part>.<what>", and "<part>.lost.<cause>" for what is lost."""
    for known, name in _NAMES:
        if known is member:
            return name
    if member.name.startswith("BYTES_LOST_"):
        return f"{part}.lost.{member.name.removeprefix('BYTES_LOST_').lower()}_bytes"
    return f"{part}.{member.name.lower()}"


_WORKER_NAMES = [(member, _name("worker", member)) for member in (*Count, *WorkerCount)]
_CORE_NAMES = [(member, _name("core", member)) for member in CoreCount]


def worker_counters(pages: list[memoryview]) -> dict[str, int]:
    """The workers' counters summed, by their public names."""
    return {name: sum(page[member] for page in pages) for member, name in _WORKER_NAMES}


def core_counters(page: memoryview) -> dict[str, int]:
    """Core's counters by their public names."""
    return {name: page[member] for member, name in _CORE_NAMES}
