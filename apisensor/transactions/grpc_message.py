"""What a server of gRPC says of its status, in words."""

from __future__ import annotations

from urllib.parse import unquote

from apisensor.transactions.lines import NULL, beginning, first, text_of
from apisensor.transactions.model import Transaction

_NAME = "grpc-message"
_BEGINS = beginning(_NAME)


def grpc_message(t: Transaction) -> str | None:
    """`grpc-message` of the trailers, or of the head of a response that has trailers only, decoded (gRPC over HTTP/2,
    "Responses"). None: there is none.

    It is redacted: redaction sees through percent-encoding, so that nothing comes to light here.
    """
    if t.grpc_status is None:
        return None
    for name, value in t.response_trailers:
        if name is not None and value is not None and name.lower() == _NAME:
            return unquote(value) or None
    if t.response_lines is None:
        return None
    value_written = first(t.response_lines, _BEGINS)
    return None if value_written in (None, NULL) else unquote(text_of(value_written)) or None
