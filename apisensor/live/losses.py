"""What helps against losses: said wherever losses are shown."""

from __future__ import annotations

from collections.abc import Iterable

REMEDIES = {
    "ring_full": "raise capture.ring_bytes or worker.count",
    "map_full": "raise capture.max_connections and capture.max_tls_sessions",
    "shed": "the governor keeps it under governor.cpu_share: raise that, or leave out what is not wanted "
    "(capture.never_*)",
    "mappings": "nothing to do: all processes were looked at again, and what came in the burst is attached to",
    "core_behind": "core is too slow: leave out what is not wanted (capture.never_*)",
    "not_printed": "what reads its standard output is too slow",
    "disk_full": "free space for general.state_directory, or lower store.max_bytes",
    "queue_full": "the disk of general.state_directory is too slow: raise store.queue_bytes",
}
"""Beginning of a cause: what helps."""
OTHERWISE = "docs/metrics.md says what each of them is"


def remedies(lost: Iterable[str]) -> list[str]:
    """
    Args:
        lost: counters that are not zero, "kernel.lost.ring_full".
    """
    causes = {name.partition(".lost.")[2] for name in lost}
    return [text for cause, text in REMEDIES.items() if any(name.startswith(cause) for name in causes)]
