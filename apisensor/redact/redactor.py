"""`Redactor`: an exchange and what `content` found in it -> the transaction that may leave the worker."""

from __future__ import annotations

from typing import Final

from apisensor.content.model import Insight, Operations
from apisensor.events.model import Binding
from apisensor.redact.identity import IdentityHash
from apisensor.redact.ids import IdSource
from apisensor.redact.text import TextForm
from apisensor.redact.trace_context import traceparent, tracestate
from apisensor.transactions.model import Auth, Exchange, Messages, Operation, Response, Transaction

INVALID_UTF8: Final = "invalid-utf8"
"""Anomaly: a text was not UTF-8 and has U+FFFD in place of what was not."""

_BINDINGS: Final = tuple(binding.name.lower() for binding in Binding)
_GRPC_STATUS_DIGITS: Final = 10
"""A longer number is no status (gRPC defines 0 to 16; applications have been seen with others)."""


class Redactor:
    """Makes transactions. One per worker; remembers texts of clean field lines and nothing else."""

    def __init__(self, key: bytes, ids: IdSource, *, reveal: bool = False) -> None:
        """
        Args:
            key: keys the identities' hashes; what shares a key can join them.
            ids: span and trace ids.
            reveal: leave values as they are (`replay --reveal`). Identities are hashes even so.
        """
        self._identity = IdentityHash(key)
        self._ids = ids
        self._text = TextForm(reveal=reveal)

    def transaction(self, exchange: Exchange, insight: Insight) -> Transaction:
        """The transaction of an exchange, redacted. `insight` is what `content.inspect` said of the same exchange."""
        text = self._text
        text.invalid = False
        request, response = exchange.request, exchange.response
        span_id = self._ids.span_id()
        parent = traceparent(insight.traceparent) if insight.traceparent else None
        if exchange.side == "server":
            client, server = exchange.remote, exchange.local
        else:  # of packets, too, local is the end that sent the request
            client, server = exchange.local, exchange.remote
        method = text.name(request.method, insight.method)
        scheme = text.name(request.scheme, insight.scheme) or ("https" if exchange.tls else "http")
        authority = text.plain(request.authority, insight.authority)
        path = text.plain(request.target, insight.target)
        request_lines = text.lines(request.headers, insight.request_headers)
        request_trailers = text.trailers(request.trailers, insight.request_trailers) if request.trailers else []
        start_ns, asked = request.start_ns, request.messages
        if response is None:
            response_lines, response_trailers, answered = None, [], None
            status = grpc_status = response_body_size = duration_ns = ttfb_ns = None
        else:
            response_lines = text.lines(response.headers, insight.response_headers)
            response_trailers = text.trailers(response.trailers, insight.response_trailers) if response.trailers else []
            answered = response.messages
            status = response.status
            if response.trailers or answered is not None or exchange.protocol == "grpc":
                grpc_status = _grpc_status(exchange.protocol, response)
            else:
                grpc_status = None
            response_body_size = response.body_size
            duration_ns = _elapsed(start_ns, response.end_ns)
            ttfb_ns = _elapsed(start_ns, response.start_ns)
        anomalies = exchange.anomalies
        if text.invalid or insight.anomalies:
            anomalies = [*anomalies, *insight.anomalies, *([INVALID_UTF8] if text.invalid else [])]
        if parent is None:
            trace_id, parent_span_id, trace_flags, trace_state = self._ids.trace_id(), None, 1, ""
        else:
            trace_id, parent_span_id, trace_flags = parent
            trace_state = tracestate(insight.tracestate) if insight.tracestate else ""
        return Transaction(  # in the order of its fields: by name it takes a dozen times as long
            span_id,
            exchange.protocol,
            exchange.side,
            method,
            scheme,
            authority,
            path,
            request_lines,
            response_lines,
            request_trailers,
            response_trailers,
            status,
            grpc_status,
            request.body_size,
            response_body_size,
            client,
            server,
            None if insight.auth_scheme is None else self._auth(insight),
            insight.sensitive,
            None if exchange.binding is None else _BINDINGS[exchange.binding],
            exchange.pid,
            start_ns,
            duration_ns,
            ttfb_ns,
            trace_id,
            span_id,
            parent_span_id,
            anomalies,
            exchange.incomplete_reason,
            exchange.stream_id,
            None if exchange.connection is None else f"{exchange.connection:x}",
            f"{exchange.flow:x}",
            exchange.tls,
            None,  # tls
            None,  # process
            None,  # route
            trace_flags,
            trace_state,
            None if insight.login_user is None else self._identity.of(insight.login_user),
            0,  # wall_offset_ns
            [] if insight.operations is None else self._operations(insight.operations),
            None if asked is None and answered is None else Messages(asked, answered),
        )

    def _operations(self, said: Operations) -> list[Operation]:
        def shown(name: bytes | None) -> str | None:
            return self._text.plain(name, [] if name is None else said.marks.get(name, []))

        return [
            Operation(
                one.protocol,
                one.kind,
                shown(one.name),
                shown(one.target),
                [shown(field) or "" for field in one.fields],
                shown(one.error),
                one.reason,
            )
            for one in said.spoken
        ]

    def _auth(self, insight: Insight) -> Auth:
        assert insight.auth_scheme is not None
        return Auth(insight.auth_scheme, None if insight.identity is None else self._identity.of(insight.identity))


def _elapsed(start_ns: int, end_ns: int) -> int | None:
    """None where the clock went backwards (packets captured out of order): there is no true answer."""
    return end_ns - start_ns if end_ns >= start_ns else None


def _grpc_status(protocol: str, response: Response) -> int | None:
    """grpc-status of the trailers, or of the header section where the response is trailers-only."""
    web = response.messages is not None and response.messages.protocol == "grpc-web"
    for section in (response.trailers, response.headers if web or protocol == "grpc" else None):
        for name, value in section or ():
            if name is not None and value is not None and name.lower() == b"grpc-status":
                return int(value) if value.isdigit() and len(value) <= _GRPC_STATUS_DIGITS else None
    return None
