"""Whether this process may load BPF programs and attach uprobes here: what the tests marked `kernel` need."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path

ALLOW_VARIABLE = "APISENSOR_ALLOW_NO_BPF"
"""Set to 1, kernel tests are skipped where they cannot run, and the summary says so. Otherwise they fail there."""

_BPF_CALL = {"x86_64": 321, "aarch64": 280}
"""Number of bpf(2)."""
_MAP_CREATE = 0
_ARRAY = 2
_UPROBE = Path("/sys/bus/event_source/devices/uprobe/type")


class _MapCreate(ctypes.Structure):
    """The head of union bpf_attr for BPF_MAP_CREATE; the kernel takes the rest as 0."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("map_type", "key_size", "value_size", "max_entries", "map_flags")]


@functools.cache
def missing() -> str | None:
    """Why kernel tests cannot run here, in one line; None: they can."""
    if os.geteuid() != 0:
        return "not root"
    number = _BPF_CALL.get(platform.machine())
    if number is None:
        return f"no bpf(2) number known for {platform.machine()}"
    libc = ctypes.CDLL(None, use_errno=True)
    attributes = _MapCreate(_ARRAY, 4, 4, 1, 0)
    descriptor = libc.syscall(number, _MAP_CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if descriptor < 0:
        return f"bpf(2) is refused: {os.strerror(ctypes.get_errno())}"
    os.close(descriptor)
    if not _UPROBE.exists():
        return f"no uprobes: {_UPROBE} does not exist"
    return None
