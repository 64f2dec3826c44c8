"""Transactions in, endpoints out: which there are, and what is new of each since it was last asked.

    observe: owner -> its tree of templates -> node of the path -> endpoint of the method -> counted in its profile
                                   `-> nothing like it: minted where the answer says that it exists, else unmatched

Known paths are found in one dictionary (`_paths`); the tree is asked only for those that are not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from apisensor.inventory import profile
from apisensor.inventory.endpoint import Endpoint
from apisensor.inventory.evidence import Evidence, evidence, method_of
from apisensor.inventory.gathered import Gathered
from apisensor.inventory.model import OTHER, Alias, EndpointDelta, EndpointKey, InventoryDelta, Side, Unmatched
from apisensor.inventory.owner import Owner, Place
from apisensor.inventory.owners import Destinations, Served
from apisensor.inventory.routes import alike, bare
from apisensor.inventory.tree import Node
from apisensor.transactions.model import Transaction

PATHS_KEPT = 16_384
"""Paths whose template is remembered, of all owners, those that differ in integers being one; then it begins anew.
4 MB."""
LONGEST_PATH_KEPT = 256
"""Longer paths go through the tree each time."""
ENDPOINTS_PER_OWNER = 5_000
"""One owner's share. Kubernetes has 1,100, GitHub 1,000; a server that answers anything with 200 stops here."""
WALLED_PER_OWNER = 100
"""Endpoints of one owner of which nothing but a wall's answers was seen (401 and its like)."""
UNMATCHED_OWNERS = 1_000
"""Owners with calls that match nothing, between two flushes; further ones are counted under OTHER."""


class Inventory:
    """All endpoints of the node."""

    def __init__(
        self,
        max_endpoints: int,
        max_literals: int,
        known: Iterable[tuple[str, EndpointKey]] = (),
        aliases: Iterable[Alias] = (),
        walled: Collection[str] = frozenset(),
        rpc: Collection[str] = frozenset(),
    ) -> None:
        """
        Args:
            max_endpoints: Endpoints kept; what the store has is taken even beyond.
            max_literals: Words in one place of a path that are too many for words.
            known: Endpoints in the store, in any order.
            aliases: Of the store; what they replaced is passed over.
            walled: Ids of known endpoints whose latest delta said `walled`.
            rpc: Ids of known endpoints whose delta said `rpc`.
        """
        self._max_endpoints = max_endpoints
        self._max_literals = max_literals
        self._owners: dict[Side, dict[str, Owner]] = {"server": {}, "client": {}}
        self._destinations = Destinations()
        self._served = Served()
        self._paths: dict[tuple[Owner, str], Node] = {}
        self._learnt: dict[int, tuple[Transaction, Endpoint]] = {}
        """id() of calls of the latest batch: themselves, and their endpoints, which are not looked for again when they
        are counted. Nothing of it is left once a route has changed."""
        self._changed: list[Endpoint] = []
        """Endpoints with news; some may have become part of others since, and have none."""
        self._aliases: dict[str, str] = {}
        self._unmatched: dict[tuple[Side, str], Unmatched] = {}
        self._endpoints = self._merged = self._refused = 0
        self._unmatched_calls = self._destinations_refused = 0
        replaced = {alias.old for alias in aliases}
        for id, key in known:
            if id not in replaced:
                self._restore(id, key, id in walled, id in rpc)

    def route(self, t: Transaction) -> None:
        """Sets the route where its template is known. Both views of a call inside the node get the same."""
        self._set_route(t, self._routing_owner(t))

    def learn(self, calls: Iterable[Transaction]) -> None:
        """As `route`, of a batch of calls. Of those that will be counted the endpoint is made before, where the answer
        says that there is one: so the call itself, and those that come before it is counted, have their route."""
        self._learnt.clear()
        for t in calls:
            if t.side == "client":  # the server's view may count
                self.route(t)
                continue
            name = self._served.owner_of(t)
            endpoint = self._endpoint(t, "server", name)
            if endpoint is None:
                self._set_route(t, self._owners["server"].get(name))
            else:
                t.route = endpoint.key.route
                self._learnt[id(t)] = (t, endpoint)

    def _set_route(self, t: Transaction, owner: Owner | None) -> None:
        node = None if owner is None or t.path is None else self._node(owner, bare(t.path))
        if node is not None and node.endpoints is not None:
            t.route = node.route

    def observe(self, t: Transaction, caller_service: str | None = None) -> str | None:
        """Counts a call, once: of two views of a call inside the node the server's is to be given.

        Returns:
            Id of its endpoint; None where it belongs to none.
        """
        learnt = self._learnt.get(id(t))
        if learnt is not None and learnt[0] is t:
            endpoint = learnt[1]
        else:
            side, name, refused = self._owner_of(t)
            self._destinations_refused += refused
            found = self._endpoint(t, side, name)
            if found is None:
                self._count_unmatched(side, name, t)
                return None
            endpoint = found
        self._news(endpoint).add(t, caller_service)
        return endpoint.id

    def _endpoint(self, t: Transaction, side: Side, name: str) -> Endpoint | None:
        """The endpoint of a call, made where its answer says that it exists."""
        if t.path is None or t.method is None:
            return None
        owner, path, method = self._owners[side].get(name), bare(t.path), method_of(t)
        node = None if owner is None else self._node(owner, path)
        endpoint = None if node is None or node.endpoints is None else node.endpoints.get(method)
        if node is None or endpoint is None or not node.confirmed:
            says = evidence(t)
            if says > Evidence.NONE and (endpoint is None or says is Evidence.ANSWERED):
                endpoint = self._mint(t, owner or Owner(side, name), path, method, says) or endpoint
        return endpoint

    def owner(self, t: Transaction) -> str:
        """Owner of a call, as it is now."""
        learnt = self._learnt.get(id(t))
        return learnt[1].key.owner if learnt is not None and learnt[0] is t else self._owner_of(t)[1]

    def place(self, t: Transaction) -> str | None:
        """The id of a call's endpoint, as it is now; counts nothing."""
        side, name, _ = self._owner_of(t)
        owner = self._owners[side].get(name)
        node = None if owner is None or t.path is None else self._node(owner, bare(t.path))
        endpoint = None if node is None or node.endpoints is None else node.endpoints.get(method_of(t))
        return None if endpoint is None else endpoint.id

    def flush(self) -> InventoryDelta:
        """What is new since the last flush, for the store to write."""
        endpoints = []
        for endpoint in self._changed:
            news, key = endpoint.news, endpoint.key
            if news is not None:
                walled, rpc = self._owners[key.side][key.owner].standing(key.route)
                endpoints.append(EndpointDelta(endpoint.id, key, news.profile(), walled=walled, rpc=rpc))
                endpoint.news = None
        aliases = [Alias(old, self._resolved(new)) for old, new in self._aliases.items()]
        delta = InventoryDelta(endpoints, aliases, list(self._unmatched.values()))
        self._changed, self._aliases, self._unmatched = [], {}, {}
        self._learnt.clear()  # who calls seldom keeps no transactions by it
        return delta

    def counters(self) -> dict[str, int]:
        """What there is and what was given up, since the start."""
        return {
            "inventory.endpoints": self._endpoints,
            "inventory.merged": self._merged,
            "inventory.refused": self._refused,
            "inventory.unmatched": self._unmatched_calls,
            "inventory.destinations_refused": self._destinations_refused,
        }

    def _owner_of(self, t: Transaction) -> tuple[Side, str, bool]:
        """Side, name, and whether the name is an address because the process has named too many hosts."""
        if t.side == "client":
            return "client", *self._destinations.owner(t, self._owners["client"])
        return "server", self._served.owner_of(t), False

    def _routing_owner(self, t: Transaction) -> Owner | None:
        if t.side == "client" and (name := self._served.by(t)) is not None:
            return self._owners["server"].get(name)
        side, name, _ = self._owner_of(t)
        return self._owners[side].get(name)

    def _node(self, owner: Owner, path: str) -> Node | None:
        if len(path) > LONGEST_PATH_KEPT:
            return owner.find(path)
        known = (owner, alike(path))
        node = self._paths.get(known)
        if node is None or not node.endpoints:  # they may have moved to a route that is gRPC's
            node = owner.find(path)
            if node is not None:
                if len(self._paths) >= PATHS_KEPT:
                    self._paths.clear()
                self._paths[known] = node
        return node

    def _news(self, endpoint: Endpoint) -> Gathered:
        """What is new of it since the last flush."""
        news = endpoint.news
        if news is None:
            news = endpoint.news = Gathered()
            self._changed.append(endpoint)
        return news

    def _count_unmatched(self, side: Side, name: str, t: Transaction) -> None:
        self._unmatched_calls += 1
        key = (side, name)
        if key not in self._unmatched and len(self._unmatched) >= UNMATCHED_OWNERS:
            key = (side, OTHER)
        unmatched = self._unmatched.get(key)
        if unmatched is None:
            unmatched = self._unmatched[key] = Unmatched(*key, count=0, statuses={})
        unmatched.count += 1
        status = profile.NO_RESPONSE if t.status is None else str(t.status)
        profile.bump(unmatched.statuses, status, profile.LIMITS["statuses"])

    def _mint(self, t: Transaction, owner: Owner, path: str, method: str, says: Evidence) -> Endpoint | None:
        """Adds an endpoint, or the evidence that one exists. None where there is no room, or the path is none."""
        confirmed = says is Evidence.ANSWERED
        node = self._node(owner, path)
        if node is None or not node.endpoints or method not in node.endpoints:
            walled = not confirmed and not (node is not None and node.confirmed)
            if (
                self._endpoints >= self._max_endpoints
                or owner.endpoints >= ENDPOINTS_PER_OWNER
                or (walled and owner.walled >= WALLED_PER_OWNER)
            ):
                self._refused += 1
                return None
        place = owner.place_of(path, t.protocol, t.method)
        if place is None:
            return None
        if self._register(owner) and owner.side == "client":
            self._destinations.made(t)
        return self._place(owner, place, method, confirmed)

    def _register(self, owner: Owner) -> bool:
        """Makes the owner known. False: it was."""
        owners = self._owners[owner.side]
        return owners.setdefault(owner.name, owner) is owner and owner.endpoints == 0

    def _place(self, owner: Owner, place: Place, method: str, confirmed: bool) -> Endpoint:
        before = owner.endpoints
        endpoint, moved = owner.add(place, method, confirmed, self._max_literals)
        self._endpoints += owner.endpoints - before
        if moved:
            self._paths.clear()
            self._learnt.clear()
            for node in moved:
                self._rename(owner, node)
        return endpoint

    def _rename(self, owner: Owner, node: Node) -> None:
        """Gives the endpoints of a node the keys that its route makes."""
        assert node.route is not None
        for method, endpoint in (node.endpoints or {}).items():
            for part in endpoint.former:
                if part.news is not None:
                    self._news(endpoint).merge(part.news)
                    part.news = None
            self._news(endpoint)  # the store writes the row that the aliases lead to
            for old in endpoint.rename(EndpointKey(owner.side, owner.name, method, node.route)):
                self._alias(old, endpoint.id)

    def _alias(self, old: str, new: str) -> None:
        self._aliases[old] = new
        self._merged += 1

    def _resolved(self, id: str) -> str:
        """The id at the end of what was replaced since the last flush."""
        while id in self._aliases:
            id = self._aliases[id]
        return id

    def _restore(self, id: str, key: EndpointKey, walled: bool, rpc: bool) -> None:
        """Takes an endpoint of the store as it is, or as it is to be with the limit of today."""
        owner = self._owners[key.side].get(key.owner) or Owner(key.side, key.owner)
        self._register(owner)
        place = key.route if rpc else owner.place_of(key.route, "", key.method, template=True)
        assert place is not None
        endpoint = self._place(owner, place, key.method, not walled)
        if endpoint.id != id:
            self._news(endpoint)
            self._alias(id, endpoint.id)
