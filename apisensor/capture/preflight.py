"""What must be known before a probe is attached: whether attaching could harm an application."""

from __future__ import annotations

import platform
from pathlib import Path

from apisensor.capture.uretprobe import affected_version, passes_seccomp

PERF_CLOSED = 3
"""kernel.perf_event_paranoid from which Debian's and Ubuntu's kernels let nobody but an administrator open perf events,
whatever CAP_PERFMON says; mainline knows -1 to 2."""


def perf_is_closed() -> bool:
    """Does this kernel want CAP_SYS_ADMIN for perf events?"""
    return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text(encoding="ascii")) >= PERF_CLOSED


def uretprobe_hazard() -> str | None:
    """Would a return probe end applications under a seccomp filter on this kernel? One line if so.

    It is tried; where that is not possible, the kernel's version decides. Call it before threads are started: it forks.
    """
    passes = passes_seccomp()
    if passes or (passes is None and not affected_version(platform.release())):
        return None
    return (
        f"kernel {platform.release()}: return probes end applications under a seccomp filter (fixed in 6.12.14, 6.13.3 "
        "and 6.14): TLS libraries are not attached; take a fixed kernel"
    )
