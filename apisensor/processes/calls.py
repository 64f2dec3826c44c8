"""What becomes of a transaction beyond being shown: its route, the inventory, findings, the store.

route ──> (shown, exported) ──> views ──counted──> inventory ──> detection ──> findings
                                   └─────────────────────────────────────────────┴──> store
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from apisensor.detect.call import call_of
from apisensor.detect.detection import Detection
from apisensor.detect.model import Call, Finding
from apisensor.enrich.model import View
from apisensor.enrich.views import Views
from apisensor.inventory.inventory import Inventory
from apisensor.sections import Settings
from apisensor.store.service import StoreService
from apisensor.transactions.model import Transaction

_END_NS = 1 << 63
"""Later than any time."""
FLUSH_NS = 1_000_000_000
"""How often what is new in the inventory goes to the store: once for an endpoint, however many calls it had."""


class Calls:
    """Not shared between threads. Time is the event clock, ns."""

    def __init__(
        self, settings: Settings, *, store: StoreService | None, on_finding: Callable[[Finding], None]
    ) -> None:
        """`on_finding` is given each finding when it is new, and again when it grows."""
        limits = settings.inventory
        self._store, self._on_finding = store, on_finding
        self._views = Views()
        self._inventory = Inventory(
            max_endpoints=limits.max_endpoints,
            max_literals=limits.max_literals,
            known=store.endpoints() if store is not None else (),
            aliases=store.aliases() if store is not None else (),
            walled=store.walled() if store is not None else (),
            rpc=store.rpc() if store is not None else (),
        )
        self._detection = Detection(settings.detect)
        if store is not None:
            self._detection.restore(store.findings())
            store.start()
        self._next_flush_ns = 0
        self._failed = 0

    def route(self, transactions: Iterable[Transaction]) -> None:
        """Gives transactions their route template, where one is known."""
        self._inventory.learn(transactions)

    def offer(self, transactions: Iterable[Transaction], now_ns: int) -> None:
        """Takes transactions that are finished: attributed, and shown."""
        offer = self._views.offer
        self._take([view for t in transactions for view in offer(t, now_ns)])

    def tick(self, now_ns: int, unix_ns: int) -> None:
        """To be called several times a second; `unix_ns`: Unix time now."""
        self._take(self._views.expired(now_ns))
        self._found(self._detection.due(unix_ns))
        if now_ns >= self._next_flush_ns:
            self._next_flush_ns = now_ns + FLUSH_NS
            self._flush()

    def close(self) -> None:
        """Counts what waits, and tells what was not told yet, at the end."""
        self._take(self._views.drain())
        self._found(self._detection.due(_END_NS))
        self._flush()

    def counters(self) -> dict[str, int]:
        """For the status and the metrics."""
        return {
            "core.lost.not_counted": self._failed,
            "core.views_waiting": len(self._views),
            "core.views_joined": self._views.joined,
            "core.views_overflowed": self._views.overflowed,
            **self._inventory.counters(),
            **self._detection.counters(),
        }

    def _take(self, views: Iterable[View]) -> None:
        """Counts them, or keeps them beside what counts; then shows the calls to the detectors."""
        calls: list[Call] = []
        for view in views:
            try:
                if view.counted:
                    calls.append(self._count(view))
                else:
                    self._keep(view)
            except Exception:  # noqa: BLE001
                # An error in the inventory or in detection costs this call its place there, not the sensor.
                self._failed += 1
        for call in calls:
            try:
                self._found(self._detection.observe(call))
            except Exception:  # noqa: BLE001
                self._failed += 1

    def _keep(self, view: View) -> None:
        """Stores the view that does not count, beside the one that does."""
        if self._store is not None and view.twin is not None:
            self._store.put(view.transaction, self._inventory.place(view.twin), False)

    def _count(self, view: View) -> Call:
        t = view.transaction
        caller = view.twin.process.service if view.twin is not None and view.twin.process is not None else None
        endpoint = self._inventory.observe(t, caller)
        if t.route is None and endpoint is not None:
            self._inventory.route(t)  # of a call that leaves the node, which has just shown that there is one
        if self._store is not None:
            self._store.put(t, endpoint, True)
        return call_of(t, endpoint, self._inventory.owner(t))

    def _found(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if self._store is not None:
                self._store.finding(finding)
            self._on_finding(finding)

    def _flush(self) -> None:
        delta = self._inventory.flush()
        if self._store is not None:
            self._store.inventory(delta)
