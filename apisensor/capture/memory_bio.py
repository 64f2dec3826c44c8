"""The probes that only processes with memory BIOs need, on BIO_write: others would pay a trap for each TLS record.

A link of its own for each such process leaves all others alone. But the kernel asks every consumer of a probe at every
hit, and taking one away makes it wait for all processors: with 500 processes a handshake took four times as long as
with one, and the sensor 40 s to end (Linux 6.18, a busy machine). From MOST_OF_A_FILE processes of one file on there is
one link for all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from apisensor.capture.probes import Programs

MOST_OF_A_FILE = 16
"""Processes with links of their own on one file: to ask so many costs about what a trap costs."""
MOST_PROCESSES = 16384
"""Processes that are observed; as many as the kernel's map has room for."""
_OWN, _SHARED = "process:", "memory_bio:"


class MemoryBios:
    """Which processes are observed, and by which link. `keep` and `drop` are those of Libraries."""

    def __init__(
        self, programs: Programs, keep: Callable[[str, None, list[int]], None], drop: Callable[[str], None]
    ) -> None:
        self._programs, self._keep, self._drop = programs, keep, drop
        self._own: dict[int, str] = {}
        """Process with a link of its own: the file that it is on."""
        self._shared: set[str] = set()
        """Files with a link for all processes."""
        self._in: set[int] = set()
        """All processes that are observed."""

    def restore(self, label: str) -> None:
        """Takes over a link that a predecessor attached. Labels of other things are passed over."""
        if label.startswith(_OWN):
            pid, _, identity = label.removeprefix(_OWN).partition(":")
            self._own[int(pid)] = identity
            self._in.add(int(pid))
        elif label.startswith(_SHARED):
            self._shared.add(label.removeprefix(_SHARED))

    def __contains__(self, pid: int) -> bool:
        return pid in self._in

    def observe(self, pid: int, identity: str, descriptor: int, offsets: Mapping[str, int]) -> bool:
        """Observes a process that uses this open file. False: there are too many. Raises OSError."""
        if len(self._in) >= MOST_PROCESSES:
            return False
        if identity not in self._shared:
            on_it = [known for known, file in self._own.items() if file == identity]
            if len(on_it) < MOST_OF_A_FILE:
                links = self._programs.attach_process(descriptor, offsets, pid)
                self._keep(f"{_OWN}{pid}:{identity}", None, links)
                self._own[pid] = identity
            else:
                self._keep(f"{_SHARED}{identity}", None, self._programs.attach_process(descriptor, offsets, 0))
                self._shared.add(identity)
                for known in on_it:
                    self._drop_own(known)
        self._in.add(pid)
        return True

    def gone(self, pid: int) -> None:
        """A process has ended."""
        self._in.discard(pid)
        if pid in self._own:
            self._drop_own(pid)

    def _drop_own(self, pid: int) -> None:
        self._drop(f"{_OWN}{pid}:{self._own.pop(pid)}")
