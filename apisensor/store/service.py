"""The store as core has it: a thread around the writer. What core calls never blocks and never raises.

    put, inventory, finding, execute  ->  two bounded queues  ->  thread: group commits, retention, commands

A commit that fails costs the transactions in it, which are counted by cause; what the inventory counted and the latest
form of each finding are kept and written when it works again. A damaged database is set aside and a new one begun.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable

import msgspec
import zstandard

from apisensor.detect.model import Finding
from apisensor.inventory.model import Alias, EndpointKey, InventoryDelta
from apisensor.sections import Store
from apisensor.store import findings as finding_code
from apisensor.store.commands import Command, Done, Failed
from apisensor.store.errors import StoreError
from apisensor.store.keeper import Keeper
from apisensor.store.queue import ByteQueue
from apisensor.store.transactions import Stored
from apisensor.transactions.model import Transaction

GROUP_S = 0.5
"""One commit for what came within it: seen soon, and few writes."""
TRANSACTION_BYTES = 2_000
"""Memory of a transaction in the queue besides the text of its fields."""
ENDPOINT_BYTES = 4_000
"""Of one endpoint's delta in memory, about."""
COMMAND_BYTES = 4_000

Reply = Callable[[Done | Failed], None]

_Control = InventoryDelta | bytes | tuple[Command, Reply]
"""bytes: an encoded Finding."""


def size_of(t: Transaction) -> int:
    """Bytes of memory, roughly; never below the text that a peer sent."""
    size = TRANSACTION_BYTES + len(t.path or "")
    return size + len(t.request_lines or b"") + len(t.response_lines or b"")


class StoreService:
    """Core's thread calls all methods; `start` after what is known was read."""

    def __init__(self, path: str, settings: Store, now_ns: Callable[[], int] = time.time_ns) -> None:
        """Opens the database; where that fails, `notes` says so and it is tried again while the sensor runs."""
        self._now_ns = now_ns
        self._wake = threading.Event()
        # Transactions may fill their queue; what the inventory and the detectors say has room of its own.
        self._transactions = ByteQueue[Stored](settings.queue_bytes * 3 // 4, self._wake.set)
        self._control = ByteQueue[_Control](settings.queue_bytes // 4, self._wake.set)
        self._keeper = Keeper(path, settings, now_ns)
        self._closing = False
        self._given_up = False
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def endpoints(self) -> list[tuple[str, EndpointKey]]:
        """What the inventory knew. Before `start`."""
        return self._keeper.read(lambda writer: writer.endpoints(), [])

    def walled(self) -> frozenset[str]:
        """Ids of endpoints whose latest delta said so. Before `start`."""
        return self._keeper.read(lambda writer: writer.told("walled"), frozenset())

    def rpc(self) -> frozenset[str]:
        """Ids of endpoints whose delta said so. Before `start`."""
        return self._keeper.read(lambda writer: writer.told("rpc"), frozenset())

    def aliases(self) -> list[Alias]:
        """Before `start`."""
        return self._keeper.read(lambda writer: writer.aliases(), [])

    def findings(self) -> list[Finding]:
        """Those that are not closed. Before `start`."""
        return self._keeper.read(lambda writer: writer.findings(), [])

    def start(self) -> None:
        """Begins to write; in the process that puts, after any fork."""
        self._thread.start()

    def put(self, t: Transaction, endpoint: str | None, counted: bool) -> None:
        """Stores a transaction, which nobody may change any more. counted: not the client's view of a call inside
        the node that has a server's view too."""
        self._transactions.put(Stored(t, endpoint, counted), size_of(t))

    def inventory(self, delta: InventoryDelta) -> None:
        """Adds to the inventory; the delta belongs to the store from here on."""
        size = ENDPOINT_BYTES * (len(delta.endpoints) + len(delta.unmatched)) + 200 * len(delta.aliases)
        self._control.put(delta, size)

    def finding(self, f: Finding) -> None:
        """A new finding, or what an old one has become."""
        encoded = finding_code.encode(f)
        self._control.put(encoded, len(encoded))

    def execute(self, command: Command, reply: Reply) -> None:
        """Triage or a purge; reply is called once, from the store's thread."""
        if self._closing or not self._control.put((command, reply), COMMAND_BYTES):
            reply(Failed("the store has too much to do, or is closing; try again"))
        self._wake.set()

    def counters(self) -> dict[str, int]:
        """Since the start. All names begin with "store."; "store.lost.<cause>" are transactions that were not
        stored, but for "store.lost.inventory", which are calls, and "store.lost.control", deltas and findings."""
        found = self._keeper.counters()
        found["store.lost.queue_full"] = self._transactions.refused
        found["store.lost.control"] += self._control.refused
        found["store.queued"] = len(self._transactions)
        found["store.queued_bytes"] = self._transactions.bytes + self._control.bytes
        return found

    def settled(self) -> int:
        """Transactions put that are stored, or counted as not stored."""
        return self._keeper.settled() + self._transactions.refused

    def notes(self) -> list[str]:
        """Sentences for people: what is wrong with the store, and what happened to it since the start."""
        return self._keeper.notes()

    def close(self, within_s: float) -> None:
        """Writes what is queued; what is not written within the time is counted as lost (shutdown)."""
        self._closing = True
        self._wake.set()
        if self._thread.ident is None:
            self._keeper.close()
        else:
            self._thread.join(within_s)
        self._given_up = True
        self._keeper.lose("shutdown", len(self._transactions))

    def _run(self) -> None:
        while not self._given_up:
            closing = self._closing
            if not closing:
                # A purge goes on between the rounds.
                self._wake.wait(0 if self._keeper.busy else GROUP_S)
            self._wake.clear()
            self._round(closing)
            if closing:
                break
        self._keeper.close()

    def _round(self, closing: bool) -> None:
        try:
            self._take_control()
            self._take_transactions()
            self._keeper.flush(all_of_it=closing)
            self._keeper.tend()
        except (sqlite3.Error, StoreError, msgspec.MsgspecError, zstandard.ZstdError, OSError) as error:
            self._keeper.failed(error)
        except Exception as error:  # noqa: BLE001  (a mistake here must cost rows, never the node's sensor; it is said)
            self._keeper.surprised(error)

    def _take_control(self) -> None:
        while (taken := self._control.take()) is not None:
            item = taken[1]
            if isinstance(item, InventoryDelta):
                self._keeper.inventory(item)
            elif isinstance(item, bytes):
                self._keeper.finding(finding_code.decode(item))
            else:
                self._keeper.execute(*item)

    def _take_transactions(self) -> None:
        # Only what waited when the round began: what comes meanwhile must not keep commands waiting.
        for _ in range(len(self._transactions)):
            if self._given_up or not self._keeper.ready or (taken := self._transactions.take()) is None:
                return
            self._keeper.put(taken[1], taken[0])
