"""The two views of a call between processes of the node: found to be one call, so that it counts once.

Both views are of one TCP connection and, in HTTP/2, of one stream; of HTTP/1.1's calls on one connection the order
decides. Either may be first, as they come from different rings.

Two ends are of one connection where each sends from the sequence number that the other receives from, 64 bits in all:
conn_id (bpf/socket.h). Where an address is translated on the way (a Kubernetes service, a published port of a
container) only that is the same, and each view keeps the addresses that its socket has. Else, where it does not fit (a
firewall that answers handshakes itself and shifts sequence numbers, a call made against the direction of its
connection, a recording of packets), two ends are of one connection where they name the same two addresses; so are those
of unix sockets, whose ends without a name are told apart by a number.

    view       its twin may still come                                   waits
    server     its client's address is one of this node, or unix         TWIN_NS
    server     else                                                      not, but is known to its twin for TWIN_NS
    client     its server has been seen to serve on this node            SLOW_NS: servers may finish later
    client     else                                                      TWIN_NS: the first call of a server

A server's view counts, with or without a twin; a client's view counts where no server's view came.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from copy import copy
from typing import Any, TypeVar

from apisensor.enrich.model import View
from apisensor.events.model import Address
from apisensor.transactions.model import Transaction

TWIN_NS = 500_000_000
"""Two workers read their rings every 10 ms; a busy one may be some hundred behind."""
SLOW_NS = 10_000_000_000
HELD = 20_000
"""Views that wait: what a node of 2,000 calls a second within itself has in SLOW_NS if none of them had a twin."""
ADDRESSES = 4096
"""Own addresses, and own servers, remembered; the one not seen for longest is forgotten."""

_SEQUENCE = 0xFFFFFFFF
_Connection = int | tuple[Address, Address]
"""The sequence numbers that the server sends from and that it receives from, 32 bits each; or the ends' addresses, the
client's first."""
_Place = tuple[_Connection, int | None, str | None, str | None]
"""Connection, stream, method, path."""
_Item = TypeVar("_Item")


class _Held:
    """A view that waits; or `gone`, a server's view that went on alone and whose twin may still come."""

    __slots__ = ("gone", "places", "transaction", "until_ns")

    def __init__(self, places: tuple[_Place, ...], transaction: Transaction, until_ns: int, gone: bool) -> None:
        self.places = places
        """Under which it waits among the views of its side."""
        self.transaction: Transaction | None = transaction
        """None: its twin has come, and only its place in line is left (to search for it there would cost more)."""
        self.until_ns = until_ns
        self.gone = gone


class Views:
    """Joins views. Time is the event clock, ns."""

    def __init__(self, *, held: int = HELD) -> None:
        self._limit = held
        # By side. Lists of one, mostly; a deque takes 760 bytes.
        self._waiting: dict[str, dict[_Place, list[_Held]]] = {"client": {}, "server": {}}
        # Two lines, each in the order of its deadlines.
        self._soon: deque[_Held] = deque()
        self._late: deque[_Held] = deque()
        self._own_addresses: OrderedDict[str, None] = OrderedDict()
        self._own_servers: OrderedDict[Address, None] = OrderedDict()
        self._latest_server: Address | None = None
        """The last of them."""
        self.joined = 0
        """Calls of which both views were seen. A counter."""
        self.overflowed = 0
        """Views that went on before their time because too many waited. A counter."""

    def __len__(self) -> int:
        """Places in line."""
        return len(self._soon) + len(self._late)

    def offer(self, transaction: Transaction, now_ns: int) -> list[View]:
        """Takes a view; returns those whose turn it is: perhaps this one, its twin, and others whose time is up."""
        soon, late = self._soon, self._late
        due = (soon and soon[0].until_ns <= now_ns) or (late and late[0].until_ns <= now_ns)
        ready = self.expired(now_ns) if due else []
        t, side, client, server = transaction, transaction.side, transaction.client, transaction.server
        if client is None or server is None or side == "network":
            ready.append(View(t, True, None))
            return ready
        if side == "server":
            if server != self._latest_server:
                self._latest_server = server
                _remember(self._own_servers, server)
        else:
            _remember(self._own_addresses, client.address)
        wait_ns = self._wait(side, client, server)
        twins = self._waiting["client" if side == "server" else "server"]
        # A twin with the same addresses would make it wait.
        places = _places(t, client, server, by_address=wait_ns > 0 or bool(twins))
        if twins and (found := self._take(twins, places)) is not None:
            twin, gone = found
            self.joined += 1
            mine, theirs = (t, twin) if side == "server" else (twin, t)
            if not gone:
                ready.append(View(mine, True, theirs))
            ready.append(View(theirs, False, mine))
            return ready
        if wait_ns:
            held = _Held(places, t, now_ns + wait_ns, False)
        else:
            ready.append(View(t, True, None))
            held = _Held(places[:1], t, now_ns + TWIN_NS, True)
        self._hold(held, side, late if wait_ns == SLOW_NS else soon)
        while len(soon) + len(late) > self._limit:
            self.overflowed += self._pass_on(late or soon, ready)
        return ready

    def expired(self, now_ns: int) -> list[View]:
        """What has waited long enough. To be called now and then while nothing is offered."""
        ready: list[View] = []
        for line in (self._soon, self._late):
            while line and line[0].until_ns <= now_ns:
                self._pass_on(line, ready)
        return ready

    def drain(self) -> list[View]:
        """Everything that waits, at the end."""
        ready: list[View] = []
        for line in (self._soon, self._late):
            while line:
                self._pass_on(line, ready)
        return ready

    def _wait(self, side: str, client: Address, server: Address) -> int:
        if side == "client":
            return SLOW_NS if server in self._own_servers else TWIN_NS
        return (
            TWIN_NS
            if client.port is None or client.address in self._own_addresses or is_loopback(client.address)
            else 0
        )

    def _hold(self, held: _Held, side: str, line: deque[_Held]) -> None:
        line.append(held)
        waiting = self._waiting[side]
        for place in held.places:
            same = waiting.get(place)
            if same is None:
                waiting[place] = [held]
            else:
                same.append(held)

    def _take(self, waiting: dict[_Place, list[_Held]], places: Iterable[_Place]) -> tuple[Transaction, bool] | None:
        """The view that has waited longest in the first of these, and whether it has gone on; it waits no more."""
        for place in places:
            if place in waiting:
                held = waiting[place][0]
                return self._forget(held), held.gone
        return None

    def _forget(self, held: _Held) -> Transaction:
        transaction = held.transaction
        assert transaction is not None
        waiting = self._waiting[transaction.side]
        for place in held.places:
            same = waiting[place]
            if len(same) == 1:
                del waiting[place]
            else:
                same.remove(held)
        held.transaction = None
        return transaction

    def _pass_on(self, line: deque[_Held], ready: list[View]) -> bool:
        """Takes the first out of line; whether it had to go on alone. A server's view stays known a while."""
        held = line.popleft()
        if held.transaction is None:
            return False
        if held.gone:
            self._forget(held)
            return False
        ready.append(View(held.transaction, True, None))
        if line is self._soon and held.transaction.side == "server":
            held.gone = True
            held.transaction = _outline(held.transaction)
            held.until_ns += SLOW_NS
            self._late.append(held)
        else:
            self._forget(held)
        return True


_NOTHING: list[Any] = []


def _outline(t: Transaction) -> Transaction:
    """What a twin that comes late is told of a view that went on alone: which call it is. Most of a transaction is its
    header fields, and a node that serves calls through its own proxy has 10,000 such views at 1,000 calls a second."""
    outline = copy(t)
    outline.request_lines = outline.response_lines = outline.auth = outline.conn_id = None
    outline.request_trailers = outline.response_trailers = outline.sensitive = _NOTHING
    outline.trace_id = outline.span_id = outline.flow_id = outline.protocol = outline.scheme = ""
    outline.authority = outline.binding = outline.duration_ns = outline.ttfb_ns = outline.response_body_size = None
    outline.start_ns = outline.request_body_size = 0
    return outline


def _places(t: Transaction, client: Address, server: Address, by_address: bool) -> tuple[_Place, ...]:
    """Where both views of this call wait, each among those of its side: by sequence numbers, and by addresses if asked
    for, or where numbers are not known."""
    stream, method, path = t.stream_id, t.method, t.path
    if t.conn_id is None or client.port is None:
        return (((client, server), stream, method, path),)
    number = int(t.conn_id, 16)  # what this end sends from, and what it receives from
    if t.side == "client":  # whose end has counted its SYN
        number = (number & _SEQUENCE) << 32 | ((number >> 32) + 1 & _SEQUENCE)
    place = (number, stream, method, path)
    return (place, ((client, server), stream, method, path)) if by_address else (place,)


def is_loopback(address: str) -> bool:
    """Of 127.0.0.0/8 or ::1, as the kernel's addresses are written here."""
    return address.startswith("127.") or address in ("::1", "::ffff:127.0.0.1")


def _remember(known: OrderedDict[_Item, None], item: _Item) -> None:
    if item in known:
        known.move_to_end(item)
        return
    known[item] = None
    if len(known) > ADDRESSES:
        known.popitem(last=False)
