"""How the parts through which records stream stand towards the applications of the node, in the kernel's scheduler.

An application that wakes, because a request came, takes the processor from them at once; they take it from none. They
get the same share of it as before, later and in longer pieces: what they read waits in a ring and in queues meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import struct

SLICE_NS = 100_000_000
"""The longest that the scheduler grants (since 6.12; ignored before): whoever asks for a shorter one, as every other
process does, comes first."""

_SYS_SCHED_SETATTR = 314  # x86-64
_SCHED_ATTR = struct.Struct("IIQiIQQQII")  # sched_setattr(2); a fair policy's slice is in sched_runtime


def give_way() -> None:
    """The calling thread, and those that it will start, give way to others (SCHED_BATCH). Best effort: a container's
    seccomp filter may forbid it, and then nothing but latency is lost."""
    attributes = _SCHED_ATTR.pack(_SCHED_ATTR.size, os.SCHED_BATCH, 0, 0, 0, SLICE_NS, 0, 0, 0, 0)
    ctypes.CDLL(None).syscall(_SYS_SCHED_SETATTR, 0, attributes, 0)
