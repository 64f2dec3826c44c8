"""Keeps a writer working: gathers what one commit takes, and decides what an error means. Used by the store's thread.

| error | what happens |
|---|---|
| disk full, I/O error | the commit's transactions are lost and counted; inventory and findings wait; tried again |
| another process has the database locked | everything waits, the queue fills |
| not a database, garbage pages | set aside, a new one begun, the commit repeated |
| cannot be opened | as disk full; opened again |
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec
import zstandard

from apisensor.detect.model import Finding
from apisensor.inventory.model import InventoryDelta
from apisensor.sections import Store
from apisensor.store.commands import Command, Done, Failed, SetState
from apisensor.store.condition import Condition, clock
from apisensor.store.errors import Cause, StoreError
from apisensor.store.opening import set_aside, unavailable
from apisensor.store.pending import Pending
from apisensor.store.purge import Steps
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer

T = TypeVar("T")

COMMIT_BYTES = 2 * 1024 * 1024
"""Of transactions in one commit, as the queue counts them: some 700: what a commit costs beside its rows is little for
each of them. It takes some ten milliseconds, and the smallest store has room for one."""
INVENTORY_S = 2.0
"""Deltas of the same endpoint are merged for so long: each write costs some 0.1 ms."""
RETRY_S = 2.0
"""Between attempts while the disk is full or the database cannot be opened."""
LOOK_S = 10.0
"""Between looks whether the file is still where it was."""
RETENTION_STEPS = 40
"""After one round: 20,000 transactions, far more than a round brings."""
INDEX_STEPS = 4
"""Segments indexed after one round, each some 25 ms: a round brings one at most, an older database all of them."""
PURGE_S = 0.1
"""A purge gives way to other work after so long."""
MAX_FINDINGS = 2_000
"""Findings that wait while nothing can be written, some 4 KiB each."""
Reply = Callable[[Done | Failed], None]


class Keeper:
    def __init__(self, path: str, settings: Store, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._settings = settings
        self._now_ns = now_ns
        self._writer: Writer | None = None
        self._items: list[Stored] = []
        self._bytes = 0
        self._pending = Pending()
        self._findings: dict[str, Finding] = {}
        self._purges: list[tuple[Steps, Reply]] = []
        self._condition = Condition()
        self.lose, self._say = self._condition.lose, self._condition.say
        self._lost_findings = 0
        self._stored = self._deleted = self._commits = self._set_aside = 0
        self._retry_at = self._inventory_at = self._look_at = 0.0
        try:
            self._writer = self._open()
        except StoreError as error:
            self.failed(error)

    # What the service asks.

    @property
    def ready(self) -> bool:
        """False: what is in hand waits, and so must the queue."""
        return self._condition.failing != "busy" or self._bytes < COMMIT_BYTES

    @property
    def busy(self) -> bool:
        return bool(self._purges)

    def counters(self) -> dict[str, int]:
        return {
            "store.stored": self._stored,
            "store.deleted": self._deleted,
            "store.commits": self._commits,
            "store.set_aside": self._set_aside,
            "store.lost.inventory": self._pending.lost_calls,
            "store.lost.control": self._lost_findings + self._pending.lost_aliases,
            **{f"store.lost.{cause}": count for cause, count in self._condition.lost.items()},
        }

    def settled(self) -> int:
        """Transactions stored, or counted as lost."""
        return self._stored + sum(self._condition.lost.values())

    def notes(self) -> list[str]:
        said = self._condition.notes()
        if self._writer is not None and self._writer.retention.full_of_inventory:
            said.append("store.max_bytes leaves no room beside the inventory: no transaction is kept for long")
        return said

    def read(self, ask: Callable[[Writer], T], otherwise: T) -> T:
        """What the database knows; `otherwise` where it cannot be read."""
        if self._writer is None:
            return otherwise
        try:
            return ask(self._writer)
        except (sqlite3.Error, msgspec.MsgspecError, zstandard.ZstdError) as error:
            self.failed(error)
            return otherwise

    # What comes.

    def put(self, item: Stored, size: int) -> None:
        self._items.append(item)
        self._bytes += size
        if self._bytes >= COMMIT_BYTES:
            self.flush()

    def inventory(self, delta: InventoryDelta) -> None:
        self._pending.add(delta, self._now_ns() // 1_000_000_000)

    def finding(self, finding: Finding) -> None:
        if finding.id not in self._findings and len(self._findings) >= MAX_FINDINGS:
            self._lost_findings += 1
            return
        self._findings[finding.id] = finding

    def execute(self, command: Command, reply: Reply) -> None:
        """Everything that came before the command is written before it."""
        self.flush(all_of_it=True)
        if self._writer is None or self._condition.failing is not None:
            answer(reply, Failed("the store cannot be written now: " + "; ".join(self.notes())))
            return
        try:
            if isinstance(command, SetState):
                answer(reply, self._writer.set_state(command, self._now_ns()))
            else:
                self._purges.append((self._writer.purge(command), reply))
        except StoreError as error:
            answer(reply, Failed(str(error)))
        except sqlite3.Error as error:
            self.failed(error)
            answer(reply, Failed(f"the store could not do it: {error}"))

    # What is done.

    def flush(self, all_of_it: bool = False) -> None:
        """One commit, if there is something for it. all_of_it: the inventory's deltas do not wait for more."""
        now = time.monotonic()
        due = all_of_it or now >= self._inventory_at
        failing = self._condition.failing
        if failing is not None and now < self._retry_at and not all_of_it:
            self._give_up_items(failing)
            return
        if failing is None and not (self._items or self._findings or (due and self._pending)):
            return
        try:
            if self._writer is None:
                self._writer = self._open()
            self._write(self._writer, due)
        except (sqlite3.Error, StoreError, msgspec.MsgspecError, zstandard.ZstdError, OSError) as error:
            self.failed(error)
            return
        if due:
            self._inventory_at = now + INVENTORY_S

    def _write(self, writer: Writer, due: bool) -> None:
        failed = writer.write(self._items, self._pending if due else None, self._findings.values())
        self._commits += 1
        self._stored += len(self._items) - failed
        self.lose("encode_error", failed)
        self._items, self._bytes, self._findings = [], 0, {}
        if due:
            self._pending = self._pending.emptied()
        self._condition.works(self._now_ns())

    def tend(self) -> None:
        """Retention, merged endpoints, indexes, purges: a bounded part of each."""
        writer = self._writer
        if writer is None or self._condition.failing is not None:
            return
        deleted = writer.retention.deleted
        for _ in range(RETENTION_STEPS):
            if not writer.retention.step(self._now_ns()):
                break
        self._deleted += writer.retention.deleted - deleted
        writer.move_transactions()
        for _ in range(INDEX_STEPS):
            if not writer.index():
                break
        self._purge()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            if not writer.in_place():
                self._shut()
                self._writer = self._open()
                self._say(f"the store's file was removed or replaced at {clock(self._now_ns())}; a new one is written")

    def _purge(self) -> None:
        end = time.monotonic() + PURGE_S
        while self._purges and time.monotonic() < end:
            steps, reply = self._purges[0]
            try:
                next(steps)
            except StopIteration as stop:
                self._purges.pop(0)
                answer(reply, stop.value)
            except (sqlite3.Error, StoreError) as error:
                self._purges.pop(0)
                answer(reply, Failed(f"the purge stopped: {error}"))
                if isinstance(error, sqlite3.Error):
                    raise

    def close(self) -> None:
        self.lose("shutdown", len(self._items))
        self._items, self._bytes = [], 0
        self._shut()

    # What went wrong.

    def failed(self, error: Exception) -> None:
        """An error of the database, decided on."""
        cause = self._cause(error)
        if cause == "damaged":
            try:
                self._begin_anew(error)
                return
            except (OSError, sqlite3.Error, StoreError) as again:
                error, cause = again, self._cause(again)
        self._condition.fails(cause, str(error), self._now_ns())
        self._retry_at = time.monotonic() + RETRY_S
        self._give_up_items(cause)
        if cause not in ("busy", "disk_full"):
            self._shut()

    def _cause(self, error: Exception) -> Cause:
        if isinstance(error, sqlite3.Error | OSError):
            error = unavailable(self._path, error)
        if isinstance(error, StoreError):
            return error.cause or "io_error"
        # A profile or a frame that cannot be read: pages of garbage.
        return "damaged"

    def surprised(self, error: Exception) -> None:
        """A mistake of ours: what was in hand is given up, so that it cannot happen again with the same."""
        self._give_up_items("internal")
        self._lost_findings += len(self._findings)
        self._findings = {}
        self._pending = self._pending.emptied(lost=True)
        self._say(f"the store gave up a commit at {clock(self._now_ns())}: {type(error).__name__}: {error}")

    def _begin_anew(self, error: Exception) -> None:
        """Sets the database aside and repeats the commit in a new one."""
        self._shut()
        aside = set_aside(self._path, self._now_ns() // 1_000_000_000)
        self._set_aside += 1
        text = f"a damaged database was set aside as {aside} at {clock(self._now_ns())}, a new one begun ({error})"
        self._say(text)
        self._writer = self._open()
        self._writer.note(text, self._now_ns())
        if self._items or self._findings or self._pending:
            self._write(self._writer, True)

    def _open(self) -> Writer:
        return Writer(self._path, self._settings)

    def _shut(self) -> None:
        for steps, reply in self._purges:
            steps.close()
            answer(reply, Failed("the purge stopped with the store; what was not deleted yet is still there"))
        self._purges = []
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _give_up_items(self, cause: str) -> None:
        """But for a lock: that passes, and `ready` stops what would come on top."""
        if cause == "busy":
            return
        self.lose(cause, len(self._items))
        self._items, self._bytes = [], 0


def answer(reply: Reply, result: Done | Failed) -> None:
    """Whoever asked may be gone: that is no reason to lose a commit."""
    with contextlib.suppress(Exception):
        reply(result)
