"""The public JSON form of a transaction (docs/transaction.md)."""

from __future__ import annotations

import functools
import time
from typing import Any

import msgspec
from msgspec import Raw

from apisensor.transactions.grpc_message import grpc_message
from apisensor.transactions.model import SCHEMA, Transaction

SECONDS_KEPT = 64
"""Seconds whose text is remembered: thousands of transactions begin in one."""

_encode = msgspec.json.Encoder().encode


def rfc3339(unix_ns: int) -> str:
    """Unix time in ns as RFC 3339, UTC, nine fractional digits."""
    seconds, nanoseconds = divmod(unix_ns, 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds:09d}Z"


@functools.lru_cache(SECONDS_KEPT)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _milliseconds(ns: int | None) -> float | None:
    return None if ns is None else ns / 1_000_000


def public(t: Transaction) -> dict[str, Any]:
    """The transaction as the documented object; keys in their documented order, values ready for JSON."""
    return {
        "kind": "transaction",
        "schema": SCHEMA,
        "id": t.id,
        "protocol": t.protocol,
        "side": t.side,
        "method": t.method,
        "scheme": t.scheme,
        "authority": t.authority,
        "path": t.path,
        "route": t.route,
        "request_headers": None if t.request_lines is None else Raw(t.request_lines),
        "response_headers": None if t.response_lines is None else Raw(t.response_lines),
        "request_trailers": t.request_trailers,
        "response_trailers": t.response_trailers,
        "status": t.status,
        "grpc_status": t.grpc_status,
        "grpc_message": grpc_message(t),
        "request_body_size": t.request_body_size,
        "response_body_size": t.response_body_size,
        "client": None if t.client is None else {"address": t.client.address, "port": t.client.port},
        "server": None if t.server is None else {"address": t.server.address, "port": t.server.port},
        "auth": t.auth,
        "login_identity": t.login_identity,
        "sensitive": t.sensitive,
        "operations": t.operations,
        "messages": t.messages,
        "binding": t.binding,
        "process": t.process,
        "tls": t.tls,
        "start_time": rfc3339(t.start_ns + t.wall_offset_ns),
        "duration_ms": _milliseconds(t.duration_ns),
        "ttfb_ms": _milliseconds(t.ttfb_ns),
        "trace_id": t.trace_id,
        "span_id": t.span_id,
        "parent_span_id": t.parent_span_id,
        "anomalies": t.anomalies,
        "complete": t.incomplete_reason is None,
        "incomplete_reason": t.incomplete_reason,
        "stream_id": t.stream_id,
        "conn_id": t.conn_id,
    }


def json_line(t: Transaction) -> bytes:
    """One line of JSON, newline included."""
    return _encode(public(t)) + b"\n"
