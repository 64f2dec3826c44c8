"""What the kernel holds for the sensor: BPF links, by the descriptors of the processes that hold them."""

from __future__ import annotations

import contextlib
from pathlib import Path


def links() -> dict[str, set[str]]:
    """Every BPF link that a process holds: its id, and which processes hold it."""
    found: dict[str, set[str]] = {}
    for entry in Path("/proc").glob("[0-9]*/fdinfo/*"):
        with contextlib.suppress(OSError):
            for line in entry.read_text().splitlines():
                if line.startswith("link_id:"):
                    found.setdefault(line.split()[1], set()).add(entry.parts[2])
    return found
