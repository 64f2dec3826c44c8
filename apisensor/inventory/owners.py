"""Whose endpoint a call belongs to.

| view | owner |
|---|---|
| server | service.name of the process; without one "address:port" of the server |
| network (packets) | "address:port" of the server |
| client | the authority as "host:port", bounded per process; else "address:port" of the server |

"unknown" where not even an address is known.
"""

from __future__ import annotations

import string
from collections.abc import Container
from functools import lru_cache

from apisensor.events.model import Address
from apisensor.transactions.model import Process, Transaction

UNKNOWN = "unknown"

DESTINATIONS_PER_PROCESS = 256
"""Owners that the calls of one process may make by the authorities they name. A process that names more (a crawler, a
sender of webhooks, an application that passes on what its users say) gets "address:port" for the further ones."""
PROCESSES = 1024
"""Processes whose destinations are counted; the one first seen is forgotten first."""
ADDRESSES = 4096
"""Addresses that services of this node are known to serve on; the first is forgotten first."""
LONGEST_HOST = 253
"""RFC 1035 section 2.3.4, without the root."""
AUTHORITIES = 4096
"""Authorities whose normal form is remembered."""

_HOST = frozenset(string.ascii_lowercase + string.digits + "-._")
_IPV6 = frozenset(string.hexdigits.lower() + ":.")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


def server_owner(t: Transaction) -> str:
    """Owner of a call that was served: views of the server, and packets."""
    if t.process is not None and t.process.service:
        return t.process.service
    return address_of(t.server)


def address_of(server: Address | None) -> str:
    """ "address:port", IPv6 in brackets; "unix:NAME" of a unix socket."""
    return UNKNOWN if server is None else server.text


@lru_cache(AUTHORITIES)
def destination(authority: str | None, scheme: str) -> str | None:
    """The authority as "host:port": small letters, no user, the scheme's port where it names none.

    None: it is no host."""
    host, colon, port = (authority or "").rpartition("@")[2].lower().rpartition(":")
    if not colon or port.endswith("]"):
        host, port = f"{host}{colon}{port}", _DEFAULT_PORTS.get(scheme, "")
    if not (port.isascii() and port.isdigit() and len(port) <= 5):
        return None
    host = host.removesuffix(".")
    inner = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else ""
    known = _IPV6.issuperset(inner) if inner else _HOST.issuperset(host)
    return f"{host}:{int(port)}" if host and known and len(host) <= LONGEST_HOST else None


class Destinations:
    """How many owners each process has made."""

    def __init__(self) -> None:
        self._made: dict[str, int] = {}

    def owner(self, t: Transaction, known: Container[str]) -> tuple[str, bool]:
        """Owner of a call that leaves the node; `known` are the owners that there are already.

        Returns:
            The owner, and whether it is the address because the process has named too many.
        """
        named = destination(t.authority, t.scheme)
        if named is None:
            return address_of(t.server), False
        if named in known or self._made.get(_process(t), 0) < DESTINATIONS_PER_PROCESS:
            return named, False
        return address_of(t.server), True

    def made(self, t: Transaction) -> None:
        """A process's call has made an owner."""
        name = _process(t)
        if name not in self._made and len(self._made) >= PROCESSES:
            del self._made[next(iter(self._made))]
        self._made[name] = self._made.get(name, 0) + 1


def _process(t: Transaction) -> str:
    if t.process is not None and t.process.service:
        return t.process.service
    return str(t.pid)


class Served:
    """Which service of the node answers on which address, so that a client's view finds the server's templates."""

    def __init__(self) -> None:
        self._owners: dict[tuple[str, str], str] = {}
        self._ends: dict[tuple[Process | None, Address], tuple[str, tuple[str, str]]] = {}
        """Process and server of calls: owner, and key in _owners. These few are told again with each call."""

    def owner_of(self, t: Transaction) -> str:
        """Owner of a call that was served; a server's view tells who answers on its address."""
        server = t.server
        if server is None:
            return server_owner(t)
        end = (t.process, server)
        known = self._ends.get(end)
        if known is None:
            if len(self._ends) >= ADDRESSES:
                self._ends.clear()
            known = self._ends[end] = (server_owner(t), (_place(t, server), server.text))
        name, key = known
        if t.side == "server" and self._owners.get(key) != name:
            if key not in self._owners and len(self._owners) >= ADDRESSES:
                del self._owners[next(iter(self._owners))]
            self._owners[key] = name
        return name

    def by(self, t: Transaction) -> str | None:
        """The service that a client's view called; None: it is not known to be on this node."""
        if t.server is None:
            return None
        return self._owners.get((_place(t, t.server), t.server.text))


def _place(t: Transaction, server: Address) -> str:
    """Each pod, or container outside of one, has its own loopback addresses and its own paths."""
    if t.process is None or not (server.port is None or server.address.startswith("127.") or server.address == "::1"):
        return ""
    return t.process.pod or t.process.container or ""
