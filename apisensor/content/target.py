"""What a request target says: places of its sensitive spans, and a credential in its query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from apisensor.content import credentials
from apisensor.content.credentials import Credential
from apisensor.content.model import Spans
from apisensor.content.names import kind_of_key

_CREDENTIAL_KINDS: Final = ("api_key", "token")


def count_target(target: bytes, spans: Spans, count: Callable[[str, str], None]) -> None:
    """Calls `count(place, kind)` for each span."""
    query = target.find(b"?")
    for start, _, kind in spans:
        count("request.query" if 0 <= query < start else "request.path", kind)


def parameter_credential(target: bytes) -> Credential | None:
    """The key or token in the query: of parameters under their own names, not of URLs nested in others."""
    query_at = target.find(b"?") + 1
    if not query_at:
        return None
    first = None
    for parameter in target[query_at:].partition(b"#")[0].split(b"&"):
        name, _, value = parameter.partition(b"=")
        if not value:
            continue
        if name.lower() == b"x-amz-credential":  # a presigned URL: KEY/date/region/service/aws4_request
            key = value.replace(b"%2F", b"/").replace(b"%2f", b"/").partition(b"/")[0]
            return Credential("aws4-hmac-sha256", key, "secret")
        if first is None and kind_of_key(name) in _CREDENTIAL_KINDS:
            scheme = "bearer" if name.lower() == b"access_token" else "api_key"  # RFC 6750 section 2.3
            first = credentials.api_key(value)._replace(scheme=scheme)
    return first
