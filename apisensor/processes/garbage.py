"""Python's collector of reference cycles, and what the allocator keeps, in processes through which records stream.

Records are freed by their reference counts. Yet each one that is alive for a while counts towards the next collection,
and each collection looks at what the process holds for good. So what is there when the work begins is set aside, and
collections are as rare as there may be cycles: a few come with failed connections and exceptions.
"""

from __future__ import annotations

import ctypes
import gc

ALLOCATIONS = 10_000
"""Containers made and not yet freed between two collections, some 2 MB. Python's 700 are those of a dozen transactions:
they cost core three microseconds of each. Many more would have left the processor's caches when they are looked at."""


def settle() -> None:
    """To be called when what the process holds for good is made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS)


def give_back() -> None:
    """Memory that was freed goes back to the kernel. The C library keeps it for the next time, and keeps more the more
    there once was."""
    ctypes.CDLL(None).malloc_trim(0)
