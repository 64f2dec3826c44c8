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
    return Call(
        time_ns=t.start_ns + (t.duration_ns or 0) + t.wall_offset_ns,
        transaction=t.id,
        trace_id=t.trace_id,
        side=t.side,
        endpoint=endpoint,
        service=owner,
        method=t.method or "",
        route=t.route,
        path=None if t.path is None else t.path.partition("?")[0],
        status=t.status,
        grpc_status=t.grpc_status,
        client=None if client is None else client.address or None,
        server=None if server is None else server.text,
        scheme=None if auth is None else auth.scheme,
        identity=None if auth is None else auth.identity,
        login_identity=t.login_identity,
        request_bytes=t.request_body_size,
        response_bytes=t.response_body_size,
        encrypted=t.encrypted,
        loopback=client is not None
        and server is not None
        and (
            client.port is None
            or client.address == server.address
            or (_loopback(client.address) and _loopback(server.address))
        ),
        sensitive=t.sensitive,
        anomalies=t.anomalies,
    )


@lru_cache(maxsize=4096)
def _loopback(address: str) -> bool:
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback
