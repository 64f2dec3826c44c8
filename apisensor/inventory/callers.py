"""Who called an endpoint: the heaviest and the latest callers are kept, the calls of the rest are counted.

A caller is known by the best that is known: its identity, else the service it is, else its address. What else is said
of it is that of its latest call.
"""

from __future__ import annotations

from apisensor.inventory.model import OTHER, Caller
from apisensor.transactions.model import Transaction

MAX_CALLERS = 100
"""Callers kept of an endpoint, OTHER not counted: a person reads no more, and the store writes them with each merge."""
LATEST = 40
"""Of these, how many are kept for being the latest; the others for having called most."""
UNPRUNED = 2 * MAX_CALLERS
"""Callers between two prunings of a profile that only grows: pruning costs a sort."""
UNKNOWN = "unknown"
"""Key of the calls of which nothing is known."""


def note(callers: dict[str, Caller], t: Transaction, service: str | None, wall_ns: int) -> None:
    """Counts the caller of one call; `service` is the calling process's, where it is known."""
    identity = scheme = None
    if t.auth is not None:
        identity, scheme = t.auth.identity, t.auth.scheme
    if service is None and t.side == "client" and t.process is not None:
        service = t.process.service
    address = None if t.client is None else t.client.address or None
    key = identity or service or address or UNKNOWN
    caller = callers.get(key)
    if caller is None:
        callers[key] = Caller(identity, service, address, scheme, 1, wall_ns, wall_ns)
        if len(callers) > UNPRUNED:
            prune(callers)
        return
    caller.count += 1
    caller.first_ns = min(caller.first_ns, wall_ns)
    latest = wall_ns > caller.last_ns
    if latest or (wall_ns == caller.last_ns and _said(service, address, scheme) > _said_of(caller)):
        caller.last_ns = wall_ns
        caller.service, caller.address, caller.scheme = service, address, scheme


def take(into: dict[str, Caller], more: dict[str, Caller]) -> None:
    """Adds `more`, which is left as it is; `into` may exceed the bound then."""
    for key, caller in more.items():
        known = into.get(key)
        into[key] = _copy(caller) if known is None else _sum(known, caller)


def prune(callers: dict[str, Caller]) -> None:
    """Brings them within MAX_CALLERS; the calls of those that go are counted under OTHER."""
    keys = [key for key in callers if key != OTHER]
    if len(keys) <= MAX_CALLERS:
        return
    keys.sort(key=lambda key: (callers[key].last_ns, callers[key].count, key), reverse=True)
    rest = sorted(keys[LATEST:], key=lambda key: (callers[key].count, callers[key].last_ns, key), reverse=True)
    gone = [callers.pop(key) for key in rest[MAX_CALLERS - LATEST :]]
    if OTHER in callers:
        gone.append(callers.pop(OTHER))
    callers[OTHER] = Caller(
        identity=None,
        service=None,
        address=None,
        scheme=None,
        count=sum(caller.count for caller in gone),
        first_ns=min(caller.first_ns for caller in gone),
        last_ns=max(caller.last_ns for caller in gone),
    )


def _copy(c: Caller) -> Caller:
    return Caller(c.identity, c.service, c.address, c.scheme, c.count, c.first_ns, c.last_ns)


def _sum(a: Caller, b: Caller) -> Caller:
    latest = max(a, b, key=lambda c: (c.last_ns, _said_of(c)))
    return Caller(
        identity=a.identity,
        service=latest.service,
        address=latest.address,
        scheme=latest.scheme,
        count=a.count + b.count,
        first_ns=min(a.first_ns, b.first_ns),
        last_ns=max(a.last_ns, b.last_ns),
    )


def _said(service: str | None, address: str | None, scheme: str | None) -> tuple[str, str, str]:
    """Decides between calls of the same nanosecond, so that their order does not."""
    return service or "", address or "", scheme or ""


def _said_of(c: Caller) -> tuple[str, str, str]:
    return _said(c.service, c.address, c.scheme)
