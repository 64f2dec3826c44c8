"""Transactions for the tests of what shows them."""

from __future__ import annotations

from typing import Any

from apisensor.events.model import Address
from apisensor.transactions.lines import written
from apisensor.transactions.model import Auth, Process, Sensitive, Tls, Transaction


def transaction(**changes: Any) -> Transaction:
    """A complete client view; any field may be changed."""
    fields: dict[str, Any] = {
        "id": "00000000000000aa",
        "protocol": "http/1.1",
        "side": "client",
        "method": "GET",
        "scheme": "https",
        "authority": "api.example.com",
        "path": "/users/12?limit=5",
        "request_headers": [("host", "api.example.com"), (None, "x")],
        "response_headers": [("content-type", "application/json")],
        "request_trailers": [],
        "response_trailers": [],
        "status": 200,
        "grpc_status": None,
        "request_body_size": 0,
        "response_body_size": 1234,
        "client": Address("192.0.2.1", 40000),
        "server": Address("192.0.2.7", 443),
        "auth": Auth("bearer", "ab" * 16),
        "sensitive": [Sensitive("email", "request.query", 1)],
        "binding": "set_fd",
        "pid": 4242,
        "start_ns": 1_000_000_000,
        "duration_ns": 12_345_678,
        "ttfb_ns": 10_000_000,
        "trace_id": "1" * 32,
        "span_id": "00000000000000aa",
        "parent_span_id": None,
        "anomalies": [],
        "incomplete_reason": None,
        "stream_id": None,
        "conn_id": "1f",
        "flow_id": "2f",
        "encrypted": True,
        "tls": Tls("openssl", "3.0.11"),
        "process": Process(pid=4242, executable="/usr/bin/curl", service="checkout", container="c0ffee" * 10),
        "wall_offset_ns": 1_700_000_000_000_000_000,
    }
    made = {**fields, **changes}
    for message in ("request", "response"):
        headers = made.pop(f"{message}_headers")
        made[f"{message}_lines"] = None if headers is None else written(headers)
    return Transaction(**made)
