"""What core knows of the node, as the status document and as sentences when nothing is captured."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable

import apisensor
from apisensor.capture.blind import UNKNOWN
from apisensor.capture.library import Library
from apisensor.enrich.processes import ProcessTable
from apisensor.export.exporter import Exporter
from apisensor.live.quiet import QuietFacts, quiet_note
from apisensor.live.status import LibraryStatus, Part, ProcessStatus, Status
from apisensor.live.text import size
from apisensor.processes.messages import KernelReport, Parts, ProcessTraffic
from apisensor.store.service import StoreService
from apisensor.transactions.model import Transaction

MOST_COUNTED = 4096
"""Processes whose transactions are counted; the one that was quiet for longest makes room."""

UNSEEN_BYTES, UNSEEN_SHARE = 65_536, 0.1
"""What may pass of a process's TLS before its connections are known: a handshake or two of each that is older than the
sensor. More of it, and a larger share, is told."""


class NodeStatus:
    """Filled by core as messages come; read when somebody asks."""

    def __init__(
        self,
        counters: Callable[[], dict[str, int]],
        processes: ProcessTable,
        exporter: Exporter | None,
        store: StoreService | None,
    ) -> None:
        self._counters, self._processes, self._exporter, self._store = counters, processes, exporter, store
        self._started = time.time()
        self.kernel = KernelReport({}, [])
        self.parts = Parts([])
        self.libraries: dict[str, Library] = {}
        self._transactions: OrderedDict[int, int] = OrderedDict()
        self._mark: tuple[dict[str, int], dict[int, ProcessTraffic]] = ({}, {})

    def count(self, transaction: Transaction) -> None:
        """A transaction of this process was captured."""
        counts, pid = self._transactions, transaction.pid
        counts[pid] = counts.get(pid, 0) + 1
        counts.move_to_end(pid)
        if len(counts) > MOST_COUNTED:
            counts.popitem(last=False)

    def status(self) -> Status:
        """The status document."""
        now = time.monotonic_ns()
        users = Counter(row.library for row in self.kernel.processes if row.library)
        return Status(
            version=apisensor.__version__,
            started=self._started,
            parts=[
                Part(
                    name=part.name,
                    pid=part.pid,
                    user=part.user,
                    uptime_seconds=(now - part.started_ns) / 1e9 if part.pid is not None else 0.0,
                    restarts=part.restarts,
                    memory_bytes=part.memory_bytes,
                    last_exit=part.last_exit,
                    resting=part.resting,
                )
                for part in self.parts.parts
            ],
            maps=self.parts.maps,
            counters=self._all_counters(),
            libraries=[
                LibraryStatus(
                    path=library.path,
                    file=library.identity,
                    library=library.library,
                    version=library.version,
                    probes=len(library.offsets) if library.attached else 0,
                    processes=users[library.path],
                    reason=library.reason,
                )
                for library in self.libraries.values()
            ],
            processes=[self._process(row) for row in self.kernel.processes],
            export=self._export(),
            notes=self._notes(),
        )

    def _notes(self) -> list[str]:
        stored = self._store.notes() if self._store is not None else []
        paused = [f"paused, nothing of it is captured: {rule}" for rule in self.kernel.paused]
        return [*paused, *self._governor_note(), *self.parts.notes, *self._attach_note(), *stored]

    def _governor_note(self) -> list[str]:
        governor = self.parts.governor
        if governor is None or not governor.level:
            return []
        left_out = "bodies" if not governor.shed_percent else f"bodies and {governor.shed_percent:.0f} % of connections"
        return [
            f"the governor leaves out {left_out}: the sensor may use {governor.share_percent} % of the machine "
            f"(governor.cpu_share) and uses {governor.used_percent:.0f} %"
        ]

    def _attach_note(self) -> list[str]:
        delays = [library.delay_ms for library in self.libraries.values() if library.attached]
        if not delays:
            return []
        return [f"slowest attachment to a library: {max(delays):.1f} ms after it was first seen"]

    def _process(self, row: ProcessTraffic) -> ProcessStatus:
        seen = self._processes.latest(row.pid)
        unseen = bool(row.encrypted_bytes and not row.decrypted_bytes)
        blind = unseen and (row.library is None or row.blind is not None)
        note = None
        if blind:
            note = f"blind spot: {row.blind or UNKNOWN}"
        elif unseen:
            note = "its TLS library is attached, but no call of it was seen: an older connection, or another copy"
        elif row.unseen_bytes > max(UNSEEN_BYTES, UNSEEN_SHARE * row.encrypted_bytes):
            why = row.blind or "on connections older than the sensor, or through another TLS of the same process"
            note = f"{size(row.unseen_bytes)} of its TLS passed outside of {row.library or 'what is attached'}: {why}"
        return ProcessStatus(
            pid=row.pid,
            executable=seen.executable if seen else None,
            service=seen.service if seen else None,
            container=seen.container if seen else None,
            libraries=[row.library] if row.library else [],
            attached=row.library is not None,
            transactions=self._transactions.get(row.pid, 0),
            plaintext_bytes=row.plain_bytes + row.decrypted_bytes,
            encrypted_bytes=row.encrypted_bytes,
            decrypted_bytes=row.decrypted_bytes,
            captured_bytes=row.captured_bytes,
            unseen_bytes=row.unseen_bytes,
            blind=blind,
            note=note,
        )

    def _export(self) -> dict[str, int | float | str | None] | None:
        if self._exporter is None:
            return None
        stats = self._exporter.stats()
        return {
            "endpoint": self._exporter.destination,
            "state": stats.state,
            "offered": stats.offered,
            "sent": stats.sent,
            "queued": stats.queued,
            "last_error": stats.last_error,
            **{f"dropped.{cause}": count for cause, count in stats.dropped.items() if count},
        }

    def _all_counters(self) -> dict[str, int]:
        governor = self.parts.governor
        governed = {}
        if governor is not None:
            governed = {"governor.level": governor.level, "governor.used_percent": round(governor.used_percent)}
        return {**self.kernel.counters, **self._counters(), **governed}

    def mark(self) -> None:
        """Something was captured just now: what `quiet` tells later is counted from here on."""
        self._mark = (self._all_counters(), {row.pid: row for row in self.kernel.processes})

    def quiet(self, seconds: float) -> list[str]:
        """Why nothing may have been captured for so long."""
        before, rows_before = self._mark
        counters = {name: count - before.get(name, 0) for name, count in self._all_counters().items()}
        rows = [_since(row, rows_before.get(row.pid)) for row in self.kernel.processes]
        blind = [row for row in rows if row.encrypted_bytes and not row.decrypted_bytes and not row.library]
        missing = [part for part in self.parts.parts if part.pid is None and not part.resting]
        facts = QuietFacts(
            seconds=seconds,
            connections=counters.get("kernel.connections", 0),
            plaintext_bytes=sum(row.plain_bytes for row in rows),
            encrypted_bytes=sum(row.encrypted_bytes for row in rows),
            captured_tls_bytes=sum(row.decrypted_bytes for row in rows),
            attached_libraries=sum(library.attached for library in self.libraries.values()),
            unattached_libraries=[
                f"{library.path} ({library.reason})" for library in self.libraries.values() if not library.attached
            ],
            blind_processes=[self._name(row.pid) for row in blind],
            late_flows=counters.get("worker.flows_joined_late", 0),
            not_http_flows=counters.get("worker.flows_not_http", 0),
            lost={name.rsplit(".", 1)[1]: count for name, count in counters.items() if ".lost." in name and count},
            dead_parts=[part.name for part in missing if part.last_exit],
            starting_parts=[part.name for part in missing if not part.last_exit],
        )
        return quiet_note(facts)

    def _name(self, pid: int) -> str:
        seen = self._processes.latest(pid)
        return f"{seen.executable or '?'} ({pid})" if seen else str(pid)


def _since(row: ProcessTraffic, before: ProcessTraffic | None) -> ProcessTraffic:
    """What a process moved since an earlier report."""
    if before is None:
        return row
    return ProcessTraffic(
        row.pid,
        row.plain_bytes - before.plain_bytes,
        row.encrypted_bytes - before.encrypted_bytes,
        row.decrypted_bytes - before.decrypted_bytes,
        row.captured_bytes - before.captured_bytes,
        row.unseen_bytes - before.unseen_bytes,
        row.library,
        row.blind,
    )
