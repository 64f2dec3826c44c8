"""Reads a BPF ring buffer from its descriptor alone: no bcc, no bpf(2), no privilege.

Layout (kernel/bpf/ringbuf.c, 5.8): page 0 holds the consumer position (writable), page 1 the producer position
(read-only), then the data, mapped twice in a row so that no record wraps. A record is a header of 8 bytes (u32 length
with BUSY in bit 31 and DISCARD in bit 30, u32 page offset), the payload, and padding to 8 bytes.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator
from typing import TypeVar

PAGE = mmap.PAGESIZE
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1
_HEADER = 8
_length = struct.Struct("I")

Record = TypeVar("Record")


class Ring:
    """The consumer of one ring. There is at most one at a time; another process may take over where it stopped."""

    def __init__(self, descriptor: int, size: int) -> None:
        """Maps the ring of `size` data bytes. Raises OSError when the descriptor is no ring of that size."""
        self._mask = size - 1
        self._consumer = mmap.mmap(descriptor, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=0)
        self._producer = mmap.mmap(descriptor, PAGE + 2 * size, mmap.MAP_SHARED, mmap.PROT_READ, offset=PAGE)
        self._view = memoryview(self._producer)
        # Aligned 8-byte loads and stores, as the kernel's smp_load_acquire/smp_store_release pairs with on x86-64.
        self._taken = memoryview(self._consumer).cast("Q")
        self._made = self._view[:PAGE].cast("Q")

    def waiting(self) -> int:
        """Bytes that the kernel has written and nobody has taken."""
        return self._made[0] - self._taken[0]

    def take(self, decode: Callable[[memoryview], Record], most: int) -> Iterator[Record]:
        """Yields up to `most` decoded records, oldest first. `decode` must keep nothing of the view it is given.

        The consumer position moves past a record after it was decoded and before it is worked on: a consumer that dies
        loses that one record, and its successor gets none twice.
        """
        view, mask, taken, unpack = self._view, self._mask, self._taken, _length.unpack_from
        position = taken[0]
        end = self._made[0]
        while position < end and most:
            at = PAGE + (position & mask)
            length = unpack(view, at)[0]
            if length & _BUSY:
                # The kernel is still writing it.
                break
            size = length & _LENGTH
            position += (size + _HEADER + 7) & ~7
            if length & _DISCARD:
                taken[0] = position
                continue
            record = decode(view[at + _HEADER : at + _HEADER + size])
            taken[0] = position
            most -= 1
            yield record
