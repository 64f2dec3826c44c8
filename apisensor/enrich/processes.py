"""The processes of the node over time, and the transactions that wait for theirs.

A pid names different processes over time, and one process different programs (execve). Each `ProcessSeen` begins a
*life* of its pid; a transaction belongs to the life that its first request byte lies in. Nothing is inherited: a
child whose own record is not known has none, whatever its parent is.
"""

from __future__ import annotations

import pwd
from collections import OrderedDict, deque

from apisensor.enrich.cgroup import membership
from apisensor.enrich.model import ProcessEvent, ProcessGone, ProcessSeen, TlsLibrary
from apisensor.enrich.service import service_name
from apisensor.redact.command_line import redact_command_line, redact_word
from apisensor.transactions.model import Process, Tls, Transaction

PROCESSES = 16_384
"""Pids kept. At up to 10 KB each (command lines are cut at 4,096 characters) 160 MB at the worst, 20 MB usually."""
LIVES = 4
"""Lives kept of one pid: an execve chain (container runtime, shell, wrapper, program) has about three."""
GONE_KEPT_NS = 60_000_000_000
"""How long a process is remembered after its end: its last transactions may still wait for a response's end."""
FIRST_SEEN_GRACE_NS = 1_000_000_000
"""How much younger than a transaction the first record of its process may be: a process that was found by its traffic
was first seen a moment after it."""
USERS = 4096
"""User names remembered; then it starts afresh."""


class _Life:
    """One program in one process."""

    __slots__ = ("gone_ns", "library_told", "process", "time_ns", "tls")

    def __init__(self, time_ns: int, process: Process, tls: Tls | None, library_told: bool) -> None:
        self.time_ns = time_ns
        self.process = process
        self.tls = tls
        self.library_told = library_told
        """Capture has told of a library that plaintext comes from, or was waited for in vain."""
        self.gone_ns: int | None = None


class ProcessTable:
    """Takes what capture reports about processes; fills `process` and `tls` of transactions."""

    def __init__(
        self, *, processes: int = PROCESSES, gone_kept_ns: int = GONE_KEPT_NS, grace_ns: int = FIRST_SEEN_GRACE_NS
    ) -> None:
        self._limit = processes
        self._gone_kept_ns = gone_kept_ns
        self._grace_ns = grace_ns
        self._lives: OrderedDict[int, list[_Life]] = OrderedDict()
        # Ends in order of time. Where processes come and go faster than this holds, the oldest are left to eviction.
        self._gone: deque[tuple[int, int]] = deque(maxlen=processes * LIVES)
        self._users: dict[int, str] = {}
        self.evicted = 0
        """Pids forgotten because there were too many, the least recently used first. A counter."""

    def __len__(self) -> int:
        """Pids known."""
        return len(self._lives)

    def put(self, event: ProcessEvent) -> None:
        """Takes a record. Lives of one pid may come in any order; the end of a life that is not known says nothing."""
        if isinstance(event, ProcessGone):
            self._end(event)
        else:
            self._begin(event)

    def attach(self, transaction: Transaction) -> bool:
        """Fills `process`, and `tls` where the bytes came from a TLS library.

        Returns:
            False: the process, or which library it uses, is not known (yet), nothing was filled. True also for
            packets, which have no process.
        """
        if transaction.pid == 0:
            return True
        life = self._life_at(transaction.pid, transaction.start_ns)
        if life is None or (transaction.encrypted and not life.library_told):
            return False
        self._fill(transaction, life)
        return True

    def attach_known(self, transaction: Transaction) -> bool:
        """The same for a transaction that has waited long enough, with or without the library. No later one of the
        process waits for it.

        Returns:
            False: the process is not known, nothing was filled.
        """
        life = self._life_at(transaction.pid, transaction.start_ns)
        if life is None:
            return False
        life.library_told = True
        self._fill(transaction, life)
        return True

    def _fill(self, transaction: Transaction, life: _Life) -> None:
        self._lives.move_to_end(transaction.pid)
        transaction.process = life.process
        if transaction.encrypted:
            transaction.tls = life.tls

    def latest(self, pid: int) -> Process | None:
        """The process that has this pid now, or had it last."""
        lives = self._lives.get(pid)
        return lives[-1].process if lives else None

    def _begin(self, seen: ProcessSeen) -> None:
        self._forget_gone(seen.time_ns)
        life = _Life(seen.time_ns, self._process(seen), _tls(seen.libraries), bool(seen.libraries))
        lives = self._lives.setdefault(seen.pid, [])
        self._lives.move_to_end(seen.pid)
        known = next((index for index, other in enumerate(lives) if other.time_ns == seen.time_ns), None)
        if known is not None:
            life.gone_ns = lives[known].gone_ns
            life.library_told |= lives[known].library_told
            lives[known] = life
            return
        lives.append(life)
        lives.sort(key=_begun)
        del lives[:-LIVES]
        while len(self._lives) > self._limit:
            self._lives.popitem(last=False)
            self.evicted += 1

    def _end(self, gone: ProcessGone) -> None:
        self._forget_gone(gone.time_ns)
        for life in self._lives.get(gone.pid, ()):
            if life.time_ns <= gone.time_ns and life.gone_ns is None:
                life.gone_ns = gone.time_ns
                self._gone.append((gone.time_ns, gone.pid))

    def _forget_gone(self, now_ns: int) -> None:
        """`now_ns`: event clock of the newest record."""
        while self._gone and self._gone[0][0] + self._gone_kept_ns < now_ns:
            gone_ns, pid = self._gone.popleft()
            left = [life for life in self._lives.get(pid, ()) if life.gone_ns is None or life.gone_ns > gone_ns]
            if left:
                self._lives[pid] = left
            else:
                self._lives.pop(pid, None)

    def _life_at(self, pid: int, time_ns: int) -> _Life | None:
        lives = self._lives.get(pid, ())
        for life in reversed(lives):
            if life.time_ns <= time_ns:
                if life.gone_ns is None or time_ns <= life.gone_ns:
                    return life
                break
        for life in lives:
            if time_ns < life.time_ns <= time_ns + self._grace_ns:
                return life
        return None

    def _process(self, seen: ProcessSeen) -> Process:
        belongs = membership(seen.cgroup)
        arguments = [argument.decode("utf-8", "replace") for argument in seen.arguments]
        service = service_name(
            seen.otel_service_name, seen.otel_resource_attributes, belongs.unit, seen.executable, arguments
        )
        return Process(
            pid=seen.pid,
            executable=None if seen.executable is None else redact_word(seen.executable),
            command_line=redact_command_line(seen.arguments) if seen.arguments else None,
            user=None if seen.uid is None else self._user(seen.uid),
            container=belongs.container,
            pod=belongs.pod,
            service=None if service is None else redact_word(service),
            runtime=belongs.runtime,
        )

    def _user(self, uid: int) -> str:
        """The node's name for the user id, the number as text where it has none (as in most containers)."""
        name = self._users.get(uid)
        if name is None:
            try:
                name = pwd.getpwuid(uid).pw_name
            except (KeyError, OverflowError):
                name = str(uid)
            if len(self._users) >= USERS:
                self._users.clear()
            self._users[uid] = name
        return name


def _begun(life: _Life) -> int:
    return life.time_ns


def _tls(libraries: list[TlsLibrary]) -> Tls | None:
    """The library that plaintext came from, as far as it is certain: several versions leave the version open, several
    libraries everything."""
    names = {library.library for library in libraries}
    versions = {library.version for library in libraries}
    if len(names) != 1:
        return None
    return Tls(names.pop(), versions.pop() if len(versions) == 1 else None)
