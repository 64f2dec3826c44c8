"""The endpoints of one owner: a tree of templates, and beside it the routes that are paths as they are."""

from __future__ import annotations

from apisensor.inventory import tree
from apisensor.inventory.endpoint import Endpoint, endpoint_id
from apisensor.inventory.model import EndpointKey, Side
from apisensor.inventory.routes import is_rpc, segments, template_segments
from apisensor.inventory.tree import Node

Place = str | tuple[str, ...]
"""Where an endpoint belongs: the segments of its template, or the text that is its route as it is."""


class Owner:
    """A service, or a destination."""

    __slots__ = ("_root", "_rpc", "endpoints", "name", "side", "walled")

    def __init__(self, side: Side, name: str) -> None:
        self.side: Side = side
        self.name = name
        self.endpoints = 0
        self.walled = 0
        """Those in places of which nothing but a wall's answers was seen."""
        self._root = Node()
        self._rpc: dict[str, Node] = {}

    def find(self, path: str) -> Node | None:
        """The node of a bare path that has a template."""
        node = self._rpc.get(path)
        if node is None:
            place = segments(path)
            node = None if place is None else tree.find(self._root, place)
        return node if node is not None and node.endpoints else None

    def place_of(self, path: str, protocol: str, method: str | None, template: bool = False) -> Place | None:
        """Where a bare path (or a template) belongs; None: it is no path."""
        if path in self._rpc or is_rpc(protocol, method, path):
            return path
        return template_segments(path) if template else segments(path)

    def add(self, place: Place, method: str, confirmed: bool, max_literals: int) -> tuple[Endpoint, list[Node]]:
        """The endpoint in a place, made where there is none.

        Returns:
            The endpoint, and the nodes whose endpoints are to be renamed, because a place was learnt.
        """
        moved: list[Node] = []
        if isinstance(place, str):
            node = self._rpc.get(place) or self._add_rpc(place)
        else:
            node = tree.find(self._root, place) or Node()
        if confirmed and not node.confirmed:
            self.walled -= len(node.endpoints or ())
        if isinstance(place, str):
            node.confirmed = node.confirmed or confirmed
        else:
            node, moved = tree.insert(self._root, place, confirmed, max_literals)
        if node.endpoints is None:
            node.endpoints = {}
        endpoint = node.endpoints.get(method)
        if endpoint is None:
            assert node.route is not None
            key = EndpointKey(self.side, self.name, method, node.route)
            endpoint = node.endpoints[method] = Endpoint(endpoint_id(key), key)
            self.endpoints += 1
            self.walled += not node.confirmed
        if moved:
            self._count()
        return endpoint, moved

    def standing(self, route: str) -> tuple[bool, bool]:
        """Whether nothing but a wall's answers was seen of a route, and whether it is a path as it is."""
        rpc = self._rpc.get(route)
        node = rpc or tree.find(self._root, template_segments(route))
        return node is not None and not node.confirmed, rpc is not None

    def _add_rpc(self, route: str) -> Node:
        """A route that is a path as it is. What came to it without saying that it is gRPC moves there."""
        node = self._rpc[route] = Node()
        node.route = route
        found = tree.find(self._root, segments(route) or ())
        if found is not None and found.route == route and found.endpoints:
            node.endpoints, node.confirmed = found.endpoints, found.confirmed
            found.endpoints = None
        return node

    def _count(self) -> None:
        nodes = [*tree.nodes(self._root), *self._rpc.values()]
        self.endpoints = sum(len(node.endpoints or ()) for node in nodes)
        self.walled = sum(len(node.endpoints or ()) for node in nodes if not node.confirmed)
