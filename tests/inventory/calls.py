"""Calls for the inventory's tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from apisensor.inventory.inventory import Inventory
from apisensor.inventory.model import InventoryDelta
from apisensor.transactions.model import Process, Transaction
from tests.export.records import call

MAX_ENDPOINTS = 100_000


def served(path: str, status: int | None = 200, service: str = "shop", **changes: Any) -> Transaction:
    """A call that a service of this node served."""
    process = Process(pid=7, executable="/usr/bin/shop", service=service)
    return call(path=path, status=status, process=process, side="server", **changes)


def leaving(path: str, authority: str | None = "api.example.com", service: str = "cart", **changes: Any) -> Transaction:
    """A call that a process of this node made."""
    process = Process(pid=8, executable="/usr/bin/cart", service=service)
    return call(path=path, authority=authority, process=process, side="client", **changes)


def routes(inventory: Inventory) -> set[str]:
    """ "METHOD route" of all endpoints with news; everything, where it was never flushed before."""
    return routes_of(inventory.flush())


def routes_of(delta: InventoryDelta) -> set[str]:
    return {f"{d.key.method} {d.key.route}" for d in delta.endpoints}


def fed(calls: list[Transaction], max_literals: int = 30) -> Inventory:
    """An inventory that has observed the calls."""
    inventory = Inventory(MAX_ENDPOINTS, max_literals)
    for t in calls:
        inventory.observe(t)
    return inventory


SEGMENTS = ("a1x", "b", "c", "d", "e", "me", "users", "17", "18", "3f9a1c2", "v1", "x:y", "p.html")
"""Few enough that hypothesis makes the same places often; with limits of 2 and 3 they are learnt."""

small_paths = st.lists(st.sampled_from(SEGMENTS), max_size=5).map(lambda parts: "/" + "/".join(parts))
