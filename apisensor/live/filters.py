"""Which transactions a subscriber, or a replay, wants to see. One filter for both, checked before it is used.

Patterns know `*` alone (any characters, none included): matching is a search for the literal pieces in order, so no
pattern and no traffic can make it slow. Of the kinds given all must hold; of the values of one kind, one is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from apisensor.transactions.model import Transaction

Predicate = Callable[[Transaction], bool]

MAX_VALUES = 64
"""Values of one kind in a filter: it runs for every transaction, in core, on a client's behalf."""
MAX_TEXT = 512
"""Characters of one pattern, for the same reason."""

PROTOCOLS = ("http/1", "http/1.0", "http/1.1", "h2", "grpc", "websocket")

_Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
_Texts = Annotated[list[_Text], Meta(max_length=MAX_VALUES)]


class FilterError(Exception):
    """A filter that says something impossible. Its text is one line."""


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must hold of a transaction; an empty filter lets all pass."""

    method: _Texts = []
    """Methods, in any case."""
    status: _Texts = []
    """"404", "5xx", "400-499", or "none": no response was seen."""
    path: _Texts = []
    """Patterns for the path without its query."""
    host: _Texts = []
    """Patterns for the authority, with or without its port, in any case."""
    service: _Texts = []
    """Patterns for service.name."""
    pid: Annotated[list[Annotated[int, Meta(ge=1, le=4_194_304)]], Meta(max_length=MAX_VALUES)] = []
    side: Annotated[list[Literal["client", "server", "network"]], Meta(max_length=3)] = []
    protocol: _Texts = []
    """"http/1.0", "http/1.1", "h2", "grpc", "websocket"; "http/1" means both of its versions."""
    operation: _Texts = []
    """Patterns for an operation's words, in any case: "graphql mutation *", "mcp call tools/call search", "sse *"."""
    container: _Texts = []
    """Container ids or their beginnings."""
    incomplete: bool = False
    """Only where something is missing."""
    anomalies: _Texts = []
    """Patterns for names of anomalies; "*": any."""


def decode(document: bytes) -> Filter:
    """A filter from JSON.

    Raises:
        FilterError: it is not one.
    """
    try:
        return msgspec.json.decode(document, type=Filter)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FilterError(f"the filter is not valid: {error}") from None


def matches(pattern: str, text: str) -> bool:
    """Whether all of `text` is what `pattern` says; `*` stands for any characters.

    Taking each literal piece at its first occurrence is right because what follows may only shrink by taking it later.
    """
    if "*" not in pattern:
        return pattern == text
    head, *pieces, tail = pattern.split("*")
    if len(text) < len(head) + len(tail) or not text.startswith(head) or not text.endswith(tail):
        return False
    position, end = len(head), len(text) - len(tail)
    for piece in pieces:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def compile_filter(wanted: Filter) -> Predicate:
    """The filter as a predicate.

    Raises:
        FilterError: a status is none of "404", "5xx", "400-499", "none", or a protocol none of PROTOCOLS.
    """
    tests = [make(wanted) for name, make in _TESTS.items() if getattr(wanted, name)]
    if not tests:
        return lambda _: True
    if len(tests) == 1:
        return tests[0]
    return lambda t: all(test(t) for test in tests)


def _status_range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    if len(text) == 3 and text[0] in "12345" and text[1:].lower() == "xx":
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    if low.isascii() and low.isdigit() and len(low) == 3:
        if not dash:
            return int(low), int(low)
        if high.isascii() and high.isdigit() and len(high) == 3 and low <= high:
            return int(low), int(high)
    raise FilterError(f"status {text[:40]!r}: allowed are 404, 5xx, 400-499 and none")


def _by_status(wanted: Filter) -> Predicate:
    unseen = any(text.lower() == "none" for text in wanted.status)
    ranges = [_status_range(text) for text in wanted.status if text.lower() != "none"]
    return lambda t: unseen if t.status is None else any(low <= t.status <= high for low, high in ranges)


def _by_method(wanted: Filter) -> Predicate:
    methods = frozenset(method.upper() for method in wanted.method)
    return lambda t: t.method is not None and t.method.upper() in methods


def _by_path(wanted: Filter) -> Predicate:
    patterns = wanted.path

    def test(t: Transaction) -> bool:
        if t.path is None:
            return False
        path = t.path.partition("?")[0]
        return any(matches(pattern, path) for pattern in patterns)

    return test


def _without_port(authority: str) -> str:
    name, colon, port = authority.rpartition(":")
    return name if colon and port.isdigit() else authority


def _by_host(wanted: Filter) -> Predicate:
    patterns = [pattern.lower() for pattern in wanted.host]

    def test(t: Transaction) -> bool:
        if t.authority is None:
            return False
        authority = t.authority.lower()
        name = _without_port(authority)
        return any(matches(pattern, authority) or matches(pattern, name) for pattern in patterns)

    return test


def _by_service(wanted: Filter) -> Predicate:
    patterns = wanted.service

    def test(t: Transaction) -> bool:
        service = t.process.service if t.process is not None else None
        return service is not None and any(matches(pattern, service) for pattern in patterns)

    return test


def _by_container(wanted: Filter) -> Predicate:
    beginnings = tuple(wanted.container)

    def test(t: Transaction) -> bool:
        container = t.process.container if t.process is not None else None
        return container is not None and container.startswith(beginnings)

    return test


def _by_pid(wanted: Filter) -> Predicate:
    pids = frozenset(wanted.pid)
    return lambda t: t.pid in pids


def _by_side(wanted: Filter) -> Predicate:
    sides = frozenset(wanted.side)
    return lambda t: t.side in sides


def _by_protocol(wanted: Filter) -> Predicate:
    protocols = {protocol.lower() for protocol in wanted.protocol}
    if unknown := protocols - {*PROTOCOLS}:
        raise FilterError(f"protocol {min(unknown)[:40]!r}: allowed are {', '.join(PROTOCOLS)}")
    if "http/1" in protocols:
        protocols |= {"http/1.0", "http/1.1"}
    return lambda t: t.protocol in protocols


def _by_operation(wanted: Filter) -> Predicate:
    patterns = [pattern.lower() for pattern in wanted.operation]

    def test(t: Transaction) -> bool:
        said = [one.words().lower() for one in t.operations]
        return any(matches(pattern, words) for words in said for pattern in patterns)

    return test


def _by_incomplete(_: Filter) -> Predicate:
    return lambda t: t.incomplete_reason is not None


def _by_anomalies(wanted: Filter) -> Predicate:
    patterns = wanted.anomalies
    return lambda t: any(matches(pattern, name) for name in t.anomalies for pattern in patterns)


_TESTS: dict[str, Callable[[Filter], Predicate]] = {
    "pid": _by_pid,
    "side": _by_side,
    "incomplete": _by_incomplete,
    "protocol": _by_protocol,
    "method": _by_method,
    "status": _by_status,
    "container": _by_container,
    "service": _by_service,
    "operation": _by_operation,
    "anomalies": _by_anomalies,
    "host": _by_host,
    "path": _by_path,
}
"""Field of Filter: what makes its test. The cheap ones come first."""
