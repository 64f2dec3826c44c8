from __future__ import annotations

import json

import pytest

from apisensor.content.inspector import Inspector
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.grpc_message import grpc_message
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Exchange, Header, Transaction
from tests.content.exchanges import exchange

GRPC: Header = (b"content-type", b"application/grpc")


def transaction(raw: Exchange) -> Transaction:
    return Redactor(bytes(32), IdSource(b"seed")).transaction(raw, Inspector().inspect(raw))


def refused(message: bytes | None, *, trailers_only: bool, status: bytes = b"7") -> Transaction:
    fields: list[Header] = [(b"grpc-status", status)]
    if message is not None:
        fields.append((b"Grpc-Message", message))
    head = [GRPC, *(fields if trailers_only else [])]
    response = {"trailers": [] if trailers_only else fields}
    return transaction(exchange([GRPC], head, protocol="grpc", response=response))


@pytest.mark.parametrize("trailers_only", [True, False])
@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"no", "no"),
        (b"no%20such%20user%3A%20%E9%9F%B3%25", "no such user: \N{CJK UNIFIED IDEOGRAPH-97F3}%"),
        (b"for joe%40example.com", "for j***@example.com"),
        (b"joe%2540example.com", "j***@example.com"),
        (b"token%3Dabc%64efgh", "token=[redacted]"),
        (b"%", "%"),
        (b"%ff", "\N{REPLACEMENT CHARACTER}"),
        (b"", None),
        (None, None),
    ],
)
def test_decoded_and_redacted(sent: bytes | None, told: str | None, trailers_only: bool) -> None:
    t = refused(sent, trailers_only=trailers_only)
    assert grpc_message(t) == told
    assert json.loads(json_line(t))["grpc_message"] == told


def test_only_beside_a_status() -> None:
    assert grpc_message(transaction(exchange(response_headers=[(b"grpc-message", b"x")]))) is None
    assert grpc_message(transaction(exchange(response=None))) is None
    assert grpc_message(refused(b"x", trailers_only=False, status=b"none")) is None
    assert grpc_message(refused(b"fine", trailers_only=False, status=b"0")) == "fine"
