"""What must be known before a probe is attached: whether attaching could harm an application."""

from __future__ import annotations

import platform
import re

FIXED = {(6, 12): 14, (6, 13): 3}
"""Stable series that were fixed, and from which patch level on (commit cf6cb56ef244, "seccomp: passthrough uretprobe
systemcall without filtering"). 6.11 never was; 6.14 and later have it."""


def uretprobe_hazard(release: str | None = None) -> str | None:
    """Would a return probe end applications under a seccomp filter on this kernel? One line if so.

    Linux 6.11 made return probes on x86-64 enter the kernel by a system call of their own, which filters then refused.
    """
    version = re.match(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,5}))?", release or platform.release())
    if version is None:
        return None
    series, patch = (int(version[1]), int(version[2])), int(version[3] or 0)
    if series < (6, 11) or series >= (6, 14) or patch >= FIXED.get(series, 1 << 30):
        return None
    return (
        f"kernel {version[0]}: return probes end applications under a seccomp filter (fixed in 6.12.14, 6.13.3 and "
        "6.14): TLS libraries are not attached; take a fixed kernel"
    )
