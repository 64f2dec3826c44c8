"""Exchanges for tests of content, redact and enrich."""

from __future__ import annotations

from typing import Any

from apisensor.events.model import Address, Binding
from apisensor.transactions.model import Exchange, Header, Request, Response


def exchange(
    headers: list[Header] | None = None,
    response_headers: list[Header] | None = None,
    *,
    target: bytes = b"/",
    body: bytes = b"",
    response_body: bytes = b"",
    request: dict[str, Any] | None = None,
    response: dict[str, Any] | None = None,
    **fields: Any,
) -> Exchange:
    """A complete GET with status 200; whatever matters to a test is replaced."""
    whole: dict[str, Any] = {
        "flow": 0xABC,
        "connection": 0xDEF,
        "pid": 4711,
        "protocol": "http/1.1",
        "side": "server",
        "tls": True,
        "local": Address("10.0.0.1", 443),
        "remote": Address("10.0.0.2", 50000),
        "binding": Binding.SET_FD,
        "request": Request(
            **{
                "start_ns": 1_000,
                "end_ns": 2_000,
                "method": b"GET",
                "authority": b"api.example.com",
                "target": target,
                "headers": headers if headers is not None else [],
                "body_size": len(body),
                "body": body,
                **(request or {}),
            }
        ),
        "response": Response(
            **{
                "start_ns": 3_000,
                "end_ns": 5_000,
                "status": 200,
                "headers": response_headers if response_headers is not None else [],
                "body_size": len(response_body),
                "body": response_body,
                **(response or {}),
            }
        ),
    }
    return Exchange(**{**whole, **fields})


JSON: Header = (b"Content-Type", b"application/json")
FORM: Header = (b"Content-Type", b"application/x-www-form-urlencoded")
