"""`inspect`: one pass over an exchange.

Field lines repeat. A line that was found clean is remembered (`lines`; lines that hold something are never kept) and
not looked at again. The rest is joined and scanned once; only where that scan finds something, each is searched by
itself.
"""

from __future__ import annotations

from typing import Final

from apisensor.content import bodies, credentials, fields
from apisensor.content.bodies import NAMED_BODY, NOTHING, TEXT_BODY, Body, BodyForm, Speaks
from apisensor.content.described import Descriptions
from apisensor.content.findings import Findings, Source
from apisensor.content.grpc_calls import MessageReader
from apisensor.content.grpc_messages import Messages
from apisensor.content.lines import Lines
from apisensor.content.model import FieldMarks, Insight, Spans
from apisensor.content.names import API_KEY_FIELDS, Rule, field_rule
from apisensor.content.operations import asks_by_target, operations
from apisensor.content.shapes import HEAD, Zone
from apisensor.content.target import count_target, parameter_credential
from apisensor.transactions.model import Exchange, Header

METHODS: Final = frozenset((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"))
SCHEMES: Final = frozenset((b"http", b"https"))
"""Anything else in their place is searched like other text."""

_NOTHING: Final[Spans] = []
_NO_MARKS: Final[FieldMarks] = {}
_Line = tuple[int, Header, str, FieldMarks]
"""A field line that is to be searched: its index, the line, its place, where its marks belong."""
_CLEAN: Final = BodyForm(None)
"""Of a line that holds nothing and says nothing of a body."""


class Inspector:
    """Holds the memory of clean field lines; otherwise without state. One per worker."""

    def __init__(self, described: Descriptions | None = None) -> None:
        """`described`: what descriptor sets say of gRPC's messages."""
        self._messages = MessageReader(described)
        self._clean = Lines[BodyForm]()

    def inspect(self, exchange: Exchange) -> Insight:
        """What the exchange's bytes say about identity, trace and sensitive data."""
        request, response = exchange.request, exchange.response
        findings = Findings()
        method = scheme = authority = target = _NOTHING
        if request.method is not None and request.method not in METHODS:
            method = HEAD.find(request.method, Zone.FIELD)
        if request.scheme is not None and request.scheme not in SCHEMES:
            scheme = HEAD.find(request.scheme, Zone.FIELD)
        # An authority is remembered like the name of a field line whose value is unknown: a text that was found clean.
        if request.authority is not None and (request.authority, None) not in self._clean:
            authority = self._authority(request.authority, findings)
        pending: list[_Line] = []
        request_headers, request_body = self._section(request.headers, "request.header", findings, pending, True)
        request_trailers = response_headers = response_trailers = _NO_MARKS
        if request.trailers:
            request_trailers, _ = self._section(request.trailers, "request.header", findings, pending, False)
        user = asked = answered = None
        asked_in: Messages | None = None
        wanted = request.target
        by_target = wanted is not None and b"=" in wanted and asks_by_target(wanted)
        if request.body and request.headers is not None and request_body.scan is not None:
            text, anomaly = request.body, None
            whole = len(text) == request.body_size and exchange.incomplete_reason in _REQUEST_WHOLE
            speaks = request_body.speaks
            if request_body.codings:
                text, whole, anomaly = request_body.content(text, whole)
            if speaks is not _JSON and request_body.may_be_json(text):
                request_body, speaks = bodies.JSON_BODY, _JSON
            if speaks is _GRPC:
                asked_in = self._messages.of_request(text, request)
                whole = whole and asked_in.named and asked_in.whole
                text, anomaly = b"\n".join(asked_in.texts), anomaly or asked_in.anomaly
                request_body = NAMED_BODY if asked_in.named else request_body
            said = request_body.look(text, whole, anomaly, True)
            if said is not NOTHING:
                user = said.user
                findings.body("request.body", said)
            if speaks is not None and (said.calls or speaks is not _JSON):
                asked = Body(speaks, text, whole)
        if response is not None:
            response_headers, body = self._section(response.headers, "response.header", findings, pending, False)
            if response.trailers:
                response_trailers, _ = self._section(response.trailers, "response.header", findings, pending, False)
            if response.body and response.headers is not None and body.scan is not None:
                text, anomaly = response.body, None
                whole = len(text) == response.body_size and exchange.incomplete_reason in _RESPONSE_WHOLE
                speaks = body.speaks
                if body.codings:
                    text, whole, anomaly = body.content(text, whole)
                if speaks is _GRPC:
                    messages = self._messages.of_response(text, response, request)
                    text, whole, anomaly = b"\n".join(messages.texts), False, anomaly or messages.anomaly
                    body = NAMED_BODY if messages.named else body
                said = body.look(text, whole, anomaly, False)
                if said is not NOTHING:
                    findings.body("response.body", said)
                if speaks is not None and (asked is not None or by_target or speaks is not _JSON):
                    answered = Body(speaks, text, whole)
        if pending or request.target is not None:
            target = self._by_shape(request.target or b"", pending, findings)
        credential = findings.credential()
        spoken = None
        if asked is not None or answered is not None or by_target or request.messages is not None:
            spoken = operations(exchange, asked, answered, asked_in)
        return Insight(  # in the order of its fields: by name it takes six times as long
            None if credential is None else credential.scheme,
            None if credential is None else credential.identity,
            user,
            findings.anomalies,
            findings.traceparent,
            findings.tracestate,
            findings.sensitive() if findings.counts else [],
            spoken,
            method,
            scheme,
            authority,
            target,
            request_headers,
            response_headers,
            request_trailers,
            response_trailers,
        )

    def _authority(self, authority: bytes, findings: Findings) -> Spans:
        at = authority.rfind(b"@")
        # User information (RFC 3986 section 3.2.1), or whatever else has a shape.
        spans = [(0, at, "password")] if at > 0 else HEAD.find(authority, Zone.FIELD)
        if not spans:
            self._clean.remember((authority, None), _CLEAN)
        for _, _, kind in spans:
            findings.count("request.header", kind)
        return spans

    def _section(
        self, headers: list[Header] | None, place: str, findings: Findings, pending: list[_Line], of_request: bool
    ) -> tuple[FieldMarks, BodyForm]:
        """Marks of one section, and what it says about the body.

        Lines that only their shape can give away are added to `pending`; their marks come later, into the same
        dictionary. `of_request`: the section may carry credentials and a trace.
        """
        if not headers:
            return _NO_MARKS, TEXT_BODY
        body = TEXT_BODY
        marks: FieldMarks = {}
        clean = _CLEAN
        for index, known in enumerate(map(self._clean.get, headers)):
            if known is clean:
                continue
            header = headers[index]
            if known is not None:
                body = body.joined(known)
                continue
            name, value = header
            if name is None or value is None:
                _search(index, header, place, marks, findings)
                continue
            rule, kind = field_rule(name)
            if rule is _TEXT:
                pending.append((index, header, place, marks))
                continue
            if rule is _NUMBER and fields.is_number(value):
                continue
            if rule is _AUTHORIZATION:
                credential, start = credentials.authorization(value)
                spans = fields.authorization_spans(value, credential, start)
                if spans and of_request:
                    findings.credentials.append((_PROXY if name[:5].lower() == b"proxy" else _CALLER, credential))
            else:
                spans = fields.BY_RULE[rule](value, kind)
                if of_request and rule in _OF_REQUEST:
                    _request_field(rule, name, value, spans, findings)
            if rule is _SECRET:
                _mark(index, fields.name_spans(name), spans, place, marks, findings)
            elif spans:
                _mark(index, _NOTHING, spans, place, marks, findings)
            elif rule in _OF_BODY:
                says = bodies.said_by(rule, value)
                body = body.joined(says)
                self._clean.remember(header, clean if says is None else says)
        return marks, body

    def _by_shape(self, target: bytes, pending: list[_Line], findings: Findings) -> Spans:
        """One scan over the target and all pending lines; the target's spans."""
        remember = self._clean.remember
        texts = [target]
        for _, header, _, _ in pending:
            texts += header  # type: ignore[arg-type]  # both are known of a pending line
        joined = b"\n".join(texts)
        hit = HEAD.may_match(joined)
        if not hit and b"%" not in joined:
            for _, header, _, _ in pending:
                remember(header, _CLEAN)
            return _NOTHING
        for index, header, place, marks in pending:
            name, value = header
            assert name is not None
            assert value is not None
            if not (hit or b"%" in value or b"%" in name) or not _search(index, header, place, marks, findings):
                remember(header, _CLEAN)
        spans = HEAD.find(target, Zone.TARGET) if hit or b"%" in target else _NOTHING
        if spans:
            count_target(target, spans, findings.count)
            credential = parameter_credential(target)
            if credential is not None:
                findings.credentials.append((Source.PARAMETER, credential))
        return spans


_RESPONSE_WHOLE: Final = frozenset((None, "hpack_unknown", "unbound"))
_REQUEST_WHOLE: Final = _RESPONSE_WHOLE | {"response_not_seen", "response_not_finished"}
"""Reasons for which an exchange is incomplete while the content of this message is not: else it may end anywhere."""

# Members of enumerations are slow to look up.
_JSON: Final = Speaks.JSON
_GRPC: Final = Speaks.GRPC
_CALLER: Final = Source.AUTHORIZATION
_PROXY: Final = Source.PROXY_AUTHORIZATION
_OF_REQUEST: Final = frozenset((Rule.SECRET, Rule.COOKIE, Rule.TRACEPARENT, Rule.TRACESTATE))
_OF_BODY: Final = frozenset((Rule.CONTENT_TYPE, Rule.CONTENT_ENCODING))
_TEXT: Final = Rule.TEXT
_SECRET: Final = Rule.SECRET
_AUTHORIZATION: Final = Rule.AUTHORIZATION
_NUMBER: Final = Rule.NUMBER


def _request_field(rule: Rule, name: bytes, value: bytes, spans: Spans, findings: Findings) -> None:
    """Credentials and trace context that a field of a request carries."""
    if rule is Rule.TRACEPARENT:
        findings.traceparent += (value,)
    elif rule is Rule.TRACESTATE:
        if not spans:
            findings.tracestate += (value,)
    elif rule is Rule.COOKIE:
        credential = credentials.session_of(value)
        if credential is not None:
            findings.credentials.append((Source.SESSION_COOKIE, credential))
    elif spans and name.lower() in API_KEY_FIELDS:
        findings.credentials.append((Source.API_KEY_FIELD, credentials.api_key(value)))


def _search(index: int, header: Header, place: str, marks: FieldMarks, findings: Findings) -> bool:
    """Searches one line, of which a part may be unknown; whether anything is to be hidden."""
    name, value = header
    in_name = _NOTHING if name is None else fields.name_spans(name)
    in_value = _NOTHING if value is None else fields.value_spans(name, value)
    return _mark(index, in_name, in_value, place, marks, findings)


def _mark(index: int, in_name: Spans, in_value: Spans, place: str, marks: FieldMarks, findings: Findings) -> bool:
    if not in_name and not in_value:
        return False
    marks[index] = (in_name, in_value)
    for spans in (in_name, in_value):
        for _, _, kind in spans:
            findings.count(place, kind)
    return True
