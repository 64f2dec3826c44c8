"""A transaction as detectors may see it."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address

from apisensor.detect.model import Call
from apisensor.transactions.model import Transaction


def call_of(t: Transaction, endpoint: str | None, owner: str) -> Call:
    """The call of a transaction that is counted.

    Args:
        t: with its wall offset, its route where one is learnt.
        endpoint: id in the inventory.
        owner: of its endpoint, as the inventory names it.
    """
    client, server = t.client, t.server
    auth = t.auth
    return Call(  # by position, which takes half the time
        t.start_ns + (t.duration_ns or 0) + t.wall_offset_ns,
        t.id,
        t.trace_id,
        t.side,
        endpoint,
        owner,
        t.method or "",
        t.route,
        None if t.path is None else t.path.partition("?")[0],
        t.status,
        t.grpc_status,
        None if client is None else client.address or None,
        None if server is None else server.text,
        None if auth is None else auth.scheme,
        None if auth is None else auth.identity,
        t.login_identity,
        t.request_body_size,
        t.response_body_size,
        t.encrypted,
        client is not None
        and server is not None
        and (
            client.port is None
            or client.address == server.address
            or (_loopback(client.address) and _loopback(server.address))
        ),
        t.sensitive,
        t.anomalies,
    )


@lru_cache(maxsize=4096)
def _loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
