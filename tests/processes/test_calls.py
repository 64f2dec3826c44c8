"""What core does with calls once they are attributed: batches are counted as single calls are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest

from apisensor.detect.model import Finding
from apisensor.events.model import Address
from apisensor.inventory.model import InventoryDelta
from apisensor.processes.calls import Calls
from apisensor.sections import Settings
from apisensor.store.service import StoreService
from apisensor.transactions.model import Auth, Transaction
from bench.stages import Rows
from tests.inventory.calls import leaving, served

SECOND = 1_000_000_000
NODE = Address("127.0.0.1", 41_000)


class Kept(Rows):
    """A store that knows nothing from before and keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str | None, bool, str | None]] = []
        self.deltas: list[InventoryDelta] = []
        self.findings_told: list[Finding] = []
        self.broken: str | None = None
        """Id of a transaction that it fails at."""

    def finding(self, finding: object) -> None:
        assert isinstance(finding, Finding)
        self.findings_told.append(finding)

    def inventory(self, delta: object) -> None:
        assert isinstance(delta, InventoryDelta)
        self.deltas.append(delta)

    def put(self, t: Transaction, endpoint: str | None, counted: bool) -> None:
        if t.id == self.broken:
            raise RuntimeError("the test says so")
        self.rows.append((t.id, endpoint, counted, t.route))


def made(rows: Kept) -> Calls:
    return Calls(Settings(), store=cast(StoreService, rows), on_finding=lambda _finding: None)


def traffic() -> list[Transaction]:
    """Ordinary calls, a scan, logins that fail, calls within the node seen from both ends, some that leave it."""
    calls: list[Transaction] = []

    def one(kind: Callable[..., Transaction], path: str, **changes: Any) -> None:
        number = len(calls)
        calls.append(kind(path, id=f"{number:016x}", start_ns=number * 1_000_000, **changes))

    for n in range(60):
        one(served, f"/orders/{n}?page={n % 3}", method="PUT" if n % 7 == 0 else "GET")
        one(served, f"/x{n}z.php", status=404)
        one(served, "/login", status=401, auth=Auth("basic", "a" * 32), client=Address("203.0.113.7", n + 1))
        one(served, f"/users/{n}", client=NODE, conn_id=f"{n:x}00000001", stream_id=n)
        one(leaving, f"/users/{n}", client=NODE, conn_id=f"00000000{n:08x}", stream_id=n)
        one(leaving, f"/mails/{n}", authority="mail.example.com")
    return calls


@pytest.mark.parametrize("batch", [1, 7, 360])
def test_a_batch_is_counted_as_single_calls_are(batch: int) -> None:
    def fed(batch: int) -> tuple[Kept, dict[str, int]]:
        rows = Kept()
        calls, transactions = made(rows), traffic()
        for start in range(0, len(transactions), batch):
            some = transactions[start : start + batch]
            calls.route(some)
            calls.offer(some, some[0].start_ns)
        calls.close()
        return rows, calls.counters()

    alone, counters = fed(1)
    rows, same_counters = fed(batch)
    assert same_counters == counters
    assert sorted(row[0] for row in rows.rows) == [f"{n:016x}" for n in range(360)]
    assert dict(row[:2] for row in rows.rows) == dict(row[:2] for row in alone.rows)
    assert [finding.rule for finding in rows.findings_told] == [finding.rule for finding in alone.findings_told]
    assert "auth-failures-identity" in {finding.rule for finding in rows.findings_told}
    (delta,), (expected,) = rows.deltas, alone.deltas
    counted = {row.key: msgspec.to_builtins(row.profile) for row in delta.endpoints}
    assert counted == {row.key: msgspec.to_builtins(row.profile) for row in expected.endpoints}
    assert {key.route for key in counted} == {"/orders/{id}", "/login", "/users/{id}", "/mails/{id}"}


def test_calls_of_a_batch_have_the_route_that_its_first_one_shows() -> None:
    calls = made(Kept())
    batch = [served("/orders/1", 404), served("/orders/2"), served("/orders/3", 404)]
    calls.route(batch)
    assert [t.route for t in batch] == [None, "/orders/{id}", "/orders/{id}"]


def test_what_goes_wrong_with_one_call_costs_that_call() -> None:
    rows = Kept()
    calls = made(rows)
    batch = [served(f"/orders/{n}", id=f"{n:016x}") for n in range(3)]
    rows.broken = batch[1].id
    calls.route(batch)
    calls.offer(batch, 0)
    calls.close()
    assert [row[0] for row in rows.rows] == [batch[0].id, batch[2].id]
    assert calls.counters()["core.lost.not_counted"] == 1


def test_what_is_new_is_told_once_a_second() -> None:
    rows = Kept()
    calls = made(rows)
    for second in range(3):
        batch = [served(f"/orders/{n}", id=f"{n:016x}", client=None) for n in range(5)]
        calls.route(batch)
        calls.offer(batch, second * SECOND)
        for part in range(5):
            calls.tick(second * SECOND + part * SECOND // 5, second * SECOND)
    told = [[row.profile.count for row in delta.endpoints] for delta in rows.deltas]
    assert told == [[5], [5], [5]]
