"""The kernel side's counters, by their public names, and the bytes of each process."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from apisensor.capture.kernel import Map, per_cpu_sum, recursion_misses

NAMES = (
    "kernel.records",
    "kernel.chunk_bytes",
    "kernel.lost.ring_full",
    "kernel.lost.ring_full_bytes",
    "kernel.lost.copy_fault_bytes",
    "kernel.call_limit_bytes",
    "kernel.not_in_user_memory_bytes",
    "kernel.skipped_bytes",
    "kernel.lost.map_full_connections",
    "kernel.lost.map_full_sessions",
    "kernel.lost.map_full_calls",
    "kernel.encrypted_bytes",
    "kernel.never_bytes",
    "kernel.held_bytes",
    "kernel.lost.notices",
    "kernel.bindings",
    "kernel.ambiguous_prefixes",
    "kernel.connections",
    "kernel.sessions",
    "kernel.own_bytes",
    "kernel.lost.map_full_bytes",
    "kernel.lost.shed_connections",
    "kernel.lost.shed_bytes",
    "kernel.paused_bytes",
    "kernel.lost.unseen_path_bytes",
)
"""In the order of enum count in bpf/maps.h (compared in a test)."""

SOCKET_LIFE = ("tracepoint:inet_sock_set_state", "tracepoint:tcp_destroy_sock")
"""Programs that run in softirqs, too, and so may meet themselves on a processor. They carry no payload: where one is
skipped, a connection's end is told late, when its table entry is used again or its flow has been idle."""

RUN = ("tracepoint:", "kprobe:", "fexit:", "uprobe:")
"""Beginnings of the names of programs; other descriptors are maps and rings."""

MOST_READ = 2000
"""Processes whose bytes are read each time: two system calls each."""
MOST_REPORTED = 200
_TRAFFIC = struct.Struct("=QQQQQII")


class KernelCounters:
    """Reads what the programs count."""

    def __init__(self, descriptors: Mapping[str, int], traffic: Map) -> None:
        self._counts = descriptors["map:counts"]
        self._traffic = traffic
        programs = {name: one for name, one in descriptors.items() if name.startswith(RUN)}
        self._socket_life = [programs.pop(name) for name in SOCKET_LIFE if name in programs]
        self._programs = list(programs.values())

    def read(self) -> dict[str, int]:
        """All counters, since the programs were loaded."""
        values = dict(zip(NAMES, per_cpu_sum(self._counts, len(NAMES)), strict=True))
        values["kernel.lost.recursion"] = sum(recursion_misses(program) for program in self._programs)
        values["kernel.socket_ends_untold"] = sum(recursion_misses(program) for program in self._socket_life)
        return values

    def libraries(self, pid: int) -> int:
        """The TLS libraries that a process has had sessions of: bits of finder.functions."""
        value = self._traffic.get(struct.pack("I", pid))
        return _TRAFFIC.unpack(value)[6] if value is not None else 0

    def processes(
        self, libraries: Mapping[int, str], blind: Mapping[int, str]
    ) -> list[tuple[int, int, int, int, int, int, str | None, str | None]]:
        """(pid, plain, encrypted, decrypted, captured, unseen bytes, path of its TLS library, why its TLS is not seen),
        largest first."""
        rows = []
        for key in self._traffic.keys(MOST_READ):
            value = self._traffic.get(key)
            if value is None:
                continue
            plain, encrypted, decrypted, captured, unseen, _, _ = _TRAFFIC.unpack(value)
            pid = struct.unpack("I", key)[0]
            rows.append((pid, plain, encrypted, decrypted, captured, unseen, libraries.get(pid), blind.get(pid)))
        rows.sort(key=lambda row: -(row[1] + row[2]))
        return rows[:MOST_REPORTED]
