"""What an answer says of the existence of an endpoint."""

from __future__ import annotations

import enum

from apisensor.inventory.model import OTHER
from apisensor.transactions.model import Transaction


class Evidence(enum.IntEnum):
    """Rising."""

    NONE = 0
    """There may be nothing there."""
    WALL = 1
    """What stands before the API may say this to everybody: it mints few endpoints (bounded) and teaches nothing."""
    ANSWERED = 2
    """Something that knows the path answered."""


METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""RFC 9110 section 9 and RFC 5789, as the exporter knows them (a test compares); all others are OTHER."""

NOTHING = frozenset({404, 405, 410, 501})
"""Not found, or not with this method."""
WALL = frozenset({301, 302, 303, 307, 308, 400, 401, 403, 407, 413, 414, 421, 429, 431, 451, 502, 503, 504, 511})
"""Redirects (to a login, to https), refusals, limits, malformed requests, gateways without a server: said without
knowing the path."""
WALL_METHODS = frozenset({"OPTIONS", "TRACE", "CONNECT"})
"""CORS preflights and their like are answered for any path."""

GRPC_NOTHING = 12
"""UNIMPLEMENTED: no such method."""
GRPC_WALL = frozenset({7, 8, 14, 16})
"""PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAVAILABLE, UNAUTHENTICATED: interceptors and proxies say these."""


def method_of(t: Transaction) -> str:
    """Method of the endpoint's key."""
    return t.method if t.method in METHODS else OTHER


def evidence(t: Transaction) -> Evidence:
    """What the call says. A response that was not seen says nothing."""
    status = t.status
    if status is None or status in NOTHING or t.grpc_status == GRPC_NOTHING:
        return Evidence.NONE
    if status in WALL or t.method in WALL_METHODS or t.grpc_status in GRPC_WALL:
        return Evidence.WALL
    if t.protocol == "grpc" and t.grpc_status is None:  # the end of the answer was not seen
        return Evidence.WALL
    return Evidence.ANSWERED
