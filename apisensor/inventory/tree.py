"""The templates of one owner as a tree of segments, and the places in it that turn out to be parameters.

A place is the set of children of one node. Of its words (no parameter, no well-known word) those count that an answered
call passed through; beyond `max_literals` the place is learnt: words and parameters become one child, {value}, and what
hung below them becomes one subtree.

The result follows from the set of paths alone, not from their order: a place once learnt stays learnt, merging only
adds to what a place has seen, and a place whose parent is learnt later has seen at least what any part of it had seen.
So whatever the order, the same places exceed the limit in the end (top down: the root by its own words, then each child
by the union of what came through it). Nothing is kept beside the tree itself, which the store's endpoints rebuild.
"""

from __future__ import annotations

from collections.abc import Iterator

from apisensor.inventory.endpoint import Endpoint
from apisensor.inventory.routes import LEARNT, is_parameter, is_word

Segments = tuple[str, ...]


class Node:
    """A prefix of templates; a template where it has endpoints."""

    __slots__ = ("answered", "children", "confirmed", "endpoints", "literals", "route")

    def __init__(self) -> None:
        self.children: dict[str, Node] | None = None
        self.endpoints: dict[str, Endpoint] | None = None
        """By method."""
        self.route: str | None = None
        """Its template; None where it is no more than a prefix."""
        self.confirmed = False
        """A call to this very template was answered: it exists. Else it may be what a wall says to everybody."""
        self.answered = False
        """So was one to it or to something below."""
        self.literals = 0
        """Children that count towards learning; 0 once the place is learnt."""


def find(root: Node, segments: Segments) -> Node | None:
    """The node of these segments, through learnt places; None: nothing like it was inserted."""
    node = root
    for segment in segments:
        children = node.children
        if children is None:
            return None
        child = children.get(segment)
        if child is None:
            if is_word(segment):
                return None
            child = children.get(LEARNT)
            if child is None:
                return None
        node = child
    return node


def insert(root: Node, segments: Segments, confirmed: bool, max_literals: int) -> tuple[Node, list[Node]]:
    """Adds a template, or evidence that it exists.

    Returns:
        Its node, and the nodes whose route has changed because a place was learnt: their endpoints are to be renamed.
    """
    node, learnt = root, None
    for depth, segment in enumerate(segments):
        node.answered = node.answered or confirmed
        if _enter(node, segment, confirmed, max_literals) and learnt is None:
            learnt = (node, segments[:depth])
        assert node.children is not None
        node = node.children.get(segment) or node.children[LEARNT]
    node.answered = node.answered or confirmed
    node.confirmed = node.confirmed or confirmed
    if learnt is not None:
        above, prefix = learnt
        moved = list(_reroute(above, _through(root, prefix)))
    else:
        moved = []
    if node.route is None:
        node.route = "/" + "/".join(_through(root, segments))
    return node, moved


def _through(root: Node, segments: Segments) -> Segments:
    """The segments as the tree has them: LEARNT in learnt places."""
    names, node = [], root
    for segment in segments:
        assert node.children is not None
        name = segment if segment in node.children else LEARNT
        names.append(name)
        node = node.children[name]
    return tuple(names)


def _enter(node: Node, segment: str, confirmed: bool, max_literals: int) -> bool:
    """Sees to it that the node has a child for the segment. True: the place was learnt by this."""
    children = node.children
    if children is None:
        children = node.children = {}
    if LEARNT in children and segment not in children and not is_word(segment):
        return False
    child = children.get(segment)
    if child is None:
        child = children[segment] = Node()
        if segment == LEARNT:  # of an endpoint that was learnt before a restart
            return _learn(node, max_literals)
    if confirmed and not child.answered and _counts(segment):
        node.literals += 1
        child.answered = True
        if node.literals > max_literals:
            return _learn(node, max_literals)
    return False


def _counts(segment: str) -> bool:
    return not is_parameter(segment) and not is_word(segment)


def _learn(node: Node, max_literals: int) -> bool:
    """Makes one child of all that are values. False: there was nothing but that child."""
    children = node.children
    assert children is not None
    values = [name for name in children if name != LEARNT and not is_word(name)]
    target = children.pop(LEARNT, None) or Node()
    for name in values:
        _merge(target, children.pop(name), max_literals)
    children[LEARNT] = target
    node.literals = 0
    return bool(values)


def _merge(into: Node, more: Node, max_literals: int) -> None:
    """Adds a subtree; `more` is not to be used again."""
    into.confirmed = into.confirmed or more.confirmed
    into.answered = into.answered or more.answered
    into.route = into.route or more.route
    for method, endpoint in (more.endpoints or {}).items():
        if into.endpoints is None:
            into.endpoints = {}
        if method in into.endpoints:
            into.endpoints[method].absorb(endpoint)
        else:
            into.endpoints[method] = endpoint
    if more.children is None:
        return
    if into.children is None:
        into.children = {}
    for name, child in more.children.items():
        if name in into.children:
            _merge(into.children[name], child, max_literals)
        else:
            into.children[name] = child
    if LEARNT in into.children:
        _learn(into, max_literals)
        return
    into.literals = sum(child.answered and _counts(name) for name, child in into.children.items())
    if into.literals > max_literals:
        _learn(into, max_literals)


def _reroute(node: Node, names: Segments) -> Iterator[Node]:
    """Writes the routes at and below a node anew; yields the nodes whose endpoints have others now."""
    if node.route is not None:
        route = "/" + "/".join(names)
        node.route = route
        if any(endpoint.key.route != route or endpoint.former for endpoint in (node.endpoints or {}).values()):
            yield node
    for name, child in (node.children or {}).items():
        yield from _reroute(child, (*names, name))


def nodes(root: Node) -> Iterator[Node]:
    """The node and all below it."""
    yield root
    for child in (root.children or {}).values():
        yield from nodes(child)
