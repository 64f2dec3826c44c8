"""Transactions whose process, or its TLS library, is not known yet. Records and transactions reach core by different
ways."""

from __future__ import annotations

from apisensor.enrich.model import ProcessEvent, ProcessSeen
from apisensor.enrich.processes import ProcessTable
from apisensor.transactions.model import Process, Transaction

WAIT_NS = 1_000_000_000
"""How long a transaction waits: reading /proc of a new process takes capture milliseconds, a second on a busy node."""
WAITING = 10_000
"""Transactions that wait: ten times what a node of 1,000 requests/s could have in a second of silence."""


class Waiting:
    """Holds transactions until their process and its library are known, a bounded time and a bounded number.

    What leaves without its process has `Process(pid)` and nothing else; `unattributed` counts it.
    """

    def __init__(self, table: ProcessTable, *, wait_ns: int = WAIT_NS, limit: int = WAITING) -> None:
        self._table = table
        self._wait_ns = wait_ns
        self._limit = limit
        # In order of arrival, which is the order of deadlines: time only goes on.
        self._held: dict[int, tuple[int, Transaction]] = {}
        self._by_pid: dict[int, list[int]] = {}
        self._next = 0
        self.unattributed = 0
        """Transactions that left without their process. A counter."""
        self.overflowed = 0
        """Of these, the ones that left before their time because too many waited. A counter."""

    def __len__(self) -> int:
        """Transactions that wait."""
        return len(self._held)

    def offer(self, transaction: Transaction, now_ns: int) -> list[Transaction]:
        """Takes a transaction; returns what is ready to go on: perhaps this one, and others whose time is up.

        Args:
            transaction: from a worker, without process.
            now_ns: event clock now; the wait is measured with it.
        """
        ready = self.expired(now_ns)
        if self._table.attach(transaction):
            ready.append(transaction)
            return ready
        if len(self._held) >= self._limit:
            self.overflowed += 1
            ready.append(self._give_up(next(iter(self._held))))
        self._held[self._next] = (now_ns + self._wait_ns, transaction)
        self._by_pid.setdefault(transaction.pid, []).append(self._next)
        self._next += 1
        return ready

    def put(self, event: ProcessEvent) -> list[Transaction]:
        """Gives a record to the table; returns the transactions that waited for it."""
        self._table.put(event)
        if not isinstance(event, ProcessSeen) or event.pid not in self._by_pid:
            return []
        ready: list[Transaction] = []
        still: list[int] = []
        for number in self._by_pid.pop(event.pid):
            if self._table.attach(self._held[number][1]):
                ready.append(self._held.pop(number)[1])
            else:
                still.append(number)
        if still:
            self._by_pid[event.pid] = still
        return ready

    def expired(self, now_ns: int) -> list[Transaction]:
        """What has waited long enough. To be called now and then while nothing is offered."""
        ready: list[Transaction] = []
        while self._held:
            number = next(iter(self._held))
            if self._held[number][0] > now_ns:
                break
            ready.append(self._give_up(number))
        return ready

    def drain(self) -> list[Transaction]:
        """Everything that waits, at the end."""
        return [self._give_up(number) for number in list(self._held)]

    def _give_up(self, number: int) -> Transaction:
        _, transaction = self._held.pop(number)
        numbers = self._by_pid[transaction.pid]
        numbers.remove(number)
        if not numbers:
            del self._by_pid[transaction.pid]
        if not self._table.attach_known(transaction):
            transaction.process = Process(transaction.pid)
            self.unattributed += 1
        return transaction
