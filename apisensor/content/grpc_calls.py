"""gRPC as an operation: method, kind by what passed, status, fields of the first request."""

from __future__ import annotations

from apisensor.content.described import Descriptions
from apisensor.content.grpc_messages import Messages
from apisensor.content.identifiers import identifier
from apisensor.content.model import Spoken
from apisensor.content.named_messages import NamedMessages
from apisensor.protocols.counted import Passed
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange, Header, Request, Response

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
_PROTOBUF = (b"", b"proto")
"""What follows + in a type whose messages are protobuf's; others are JSON, or the application's own."""


class MessageReader:
    """Reads the messages in bodies of a gRPC type: with names where the method is described, else by numbers."""

    def __init__(self, described: Descriptions | None) -> None:
        self._described = described

    def of_request(self, body: bytes, request: Request) -> Messages:
        """What the captured beginning of a request's body holds."""
        return self._read(body, request.headers, request.target, 0)

    def of_response(self, body: bytes, response: Response, request: Request) -> Messages:
        """The same of the response to a request."""
        return self._read(body, response.headers, request.target, 1)

    def _read(self, body: bytes, headers: list[Header] | None, target: bytes | None, way: int) -> Messages:
        kind = (value_of(headers, b"content-type") or b"").lower().partition(b";")[0].rstrip()
        found = Messages()
        if self._described is not None and kind.partition(b"+")[2] in _PROTOBUF:
            method = self._described.method(target)
            if method is not None:
                found = NamedMessages(self._described, method[way])
        found.read(body, value_of(headers, b"grpc-encoding"), text_form=kind.startswith(b"application/grpc-web-text"))
        return found


def from_grpc(exchange: Exchange, protocol: str, asked: Messages | None) -> Spoken:
    """The call of an exchange whose bodies hold messages of gRPC."""
    request, response = exchange.request, exchange.response
    return Spoken(
        protocol,
        _kind(request.messages, None if response is None else response.messages),
        identifier((request.target or b"").removeprefix(b"/")),
        fields=asked.fields if asked is not None else [],
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
