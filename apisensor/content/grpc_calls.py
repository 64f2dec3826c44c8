"""gRPC as an operation: method, kind by what passed, status, field numbers of the first request."""

from __future__ import annotations

from apisensor.content.grpc_messages import Messages
from apisensor.content.identifiers import identifier
from apisensor.content.model import Spoken
from apisensor.protocols.counted import Passed
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange, Header

_KINDS = {
    (False, False): "unary",
    (True, False): "client_streaming",
    (False, True): "server_streaming",
    (True, True): "bidirectional_streaming",
}
"""Whether requests and responses are several: the kind. A stream of one message cannot be told from a single one."""

_STATUS = dict(
    enumerate(
        (
            b"OK", b"CANCELLED", b"UNKNOWN", b"INVALID_ARGUMENT", b"DEADLINE_EXCEEDED", b"NOT_FOUND", b"ALREADY_EXISTS",
            b"PERMISSION_DENIED", b"RESOURCE_EXHAUSTED", b"FAILED_PRECONDITION", b"ABORTED", b"OUT_OF_RANGE",
            b"UNIMPLEMENTED", b"INTERNAL", b"UNAVAILABLE", b"DATA_LOSS", b"UNAUTHENTICATED",
        )
    )
)  # fmt: skip
_STATUS_DIGITS = 3


def messages_of(body: bytes, headers: list[Header] | None) -> Messages:
    """What the captured beginning of a body of a gRPC type holds."""
    found = Messages()
    text_form = b"grpc-web-text" in (value_of(headers, b"content-type") or b"").lower()
    found.read(body, value_of(headers, b"grpc-encoding"), text_form=text_form)
    return found


def from_grpc(exchange: Exchange, protocol: str, asked: Messages | None) -> Spoken:
    """The call of an exchange whose bodies hold messages of gRPC."""
    request, response = exchange.request, exchange.response
    return Spoken(
        protocol,
        _kind(request.messages, None if response is None else response.messages),
        identifier((request.target or b"").removeprefix(b"/")),
        fields=[b"%d" % number for number in asked.numbers] if asked is not None else [],
        reason="limit" if asked is not None and asked.cut else None,
        error=None if response is None else _error(response.trailers, response.headers),
    )


def _kind(asked: Passed | None, answered: Passed | None) -> str | None:
    """None where a count is not known, or where nothing was answered, as after an error."""
    if asked is None or asked.count is None or answered is None or not answered.count:
        return None
    return _KINDS[asked.count > 1, answered.count > 1]


def _error(*sections: list[Header] | None) -> bytes | None:
    """The name of grpc-status, in the trailers or in the header section of a response without content."""
    for section in sections:
        value = value_of(section, b"grpc-status")
        if value is not None and value.isdigit() and len(value) <= _STATUS_DIGITS:
            code = int(value)
            return None if not code else _STATUS.get(code, value)
    return None
