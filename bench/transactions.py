"""Transactions for the benches of core's parts, made without a worker."""

from __future__ import annotations

from typing import Any

from apisensor.events.model import Address
from apisensor.transactions.lines import NONE
from apisensor.transactions.model import Transaction

SERVER = Address("10.1.0.1", 443)


def transaction(number: int, **fields: Any) -> Transaction:
    """The call with this number, a millisecond after the one before: a GET that was served, but for the `fields`."""
    made: dict[str, Any] = {
        "id": f"{number:016x}",
        "protocol": "http/1.1",
        "side": "server",
        "method": "GET",
        "scheme": "https",
        "authority": "api.example.com",
        "path": "/",
        "request_lines": NONE,
        "response_lines": NONE,
        "request_trailers": [],
        "response_trailers": [],
        "status": 200,
        "grpc_status": None,
        "request_body_size": 0,
        "response_body_size": 0,
        "client": None,
        "server": SERVER,
        "auth": None,
        "sensitive": [],
        "binding": "set_fd",
        "pid": 4711,
        "start_ns": number * 1_000_000,
        "duration_ns": 500_000,
        "ttfb_ns": 400_000,
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "parent_span_id": None,
        "anomalies": [],
        "incomplete_reason": None,
        "stream_id": None,
        "conn_id": "2a",
        "flow_id": "2b",
        "encrypted": True,
    }
    return Transaction(**{**made, **fields})
