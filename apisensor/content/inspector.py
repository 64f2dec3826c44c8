"""`inspect`: one pass over an exchange.

Field lines repeat: of fifteen, ten say the same in every request of a client. A line that was found clean is
remembered (the line, not what is behind it: lines that hold something are never kept) and not looked at again. The
rest is joined and scanned once; only where that scan finds something, each is searched by itself.
"""

from __future__ import annotations

from apisensor.content import bodies, credentials, fields
from apisensor.content.bodies import TEXT_BODY, BodyForm
from apisensor.content.findings import Findings, Source
from apisensor.content.model import FieldMarks, Insight, Spans
from apisensor.content.names import API_KEY_FIELDS, Rule, field_rule
from apisensor.content.shapes import HEAD, Zone
from apisensor.content.target import count_target, parameter_credential
from apisensor.transactions.model import Exchange, Header

CLEAN_KEPT = 4096
"""Field lines remembered as clean. A node's clients and servers repeat a few hundred."""
LONGEST_CLEAN_KEPT = 256
"""Longer lines are looked at each time: 4096 x 256 bytes bounds the memory to about 1.5 MB."""

METHODS = frozenset((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"))
SCHEMES = frozenset((b"http", b"https"))
"""Anything else in their place is searched like other text."""

_NOTHING: Spans = []
_NO_MARKS: FieldMarks = {}
_PENDING = BodyForm(None)
"""A line that is not known to be clean."""


class Inspector:
    """Holds the memory of clean field lines; otherwise without state. One per worker."""

    def __init__(self) -> None:
        self._clean: dict[Header, BodyForm | None] = {}

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
        if request.target is not None:
            target = HEAD.find(request.target, Zone.TARGET)
            if target:
                count_target(request.target, target, findings.count)
                credential = parameter_credential(request.target)
                if credential is not None:
                    findings.credentials.append((Source.PARAMETER, credential))
        request_headers, request_body = self._section(request.headers, "request.header", findings, True)
        request_trailers, _ = self._section(request.trailers, "request.header", findings, False)
        response_headers = response_trailers = _NO_MARKS
        if request.body and request.headers is not None:
            _count_body(request.body, request_body, "request.body", findings)
        if response is not None:
            response_headers, response_body = self._section(response.headers, "response.header", findings, False)
            response_trailers, _ = self._section(response.trailers, "response.header", findings, False)
            if response.body and response.headers is not None:
                _count_body(response.body, response_body, "response.body", findings)
        credential = findings.credential()
        return Insight(
            auth_scheme=None if credential is None else credential.scheme,
            identity=None if credential is None else credential.identity,
            traceparent=findings.traceparent,
            tracestate=findings.tracestate,
            sensitive=findings.sensitive() if findings.counts else [],
            method=method,
            scheme=scheme,
            authority=authority,
            target=target,
            request_headers=request_headers,
            response_headers=response_headers,
            request_trailers=request_trailers,
            response_trailers=response_trailers,
        )

    def _authority(self, authority: bytes, findings: Findings) -> Spans:
        at = authority.rfind(b"@")
        # User information (RFC 3986 section 3.2.1), or whatever else has a shape.
        spans = [(0, at, "password")] if at > 0 else HEAD.find(authority, Zone.FIELD)
        if not spans:
            self._remember((authority, None), None)
        for _, _, kind in spans:
            findings.count("request.header", kind)
        return spans

    def _section(
        self, headers: list[Header] | None, place: str, findings: Findings, of_request: bool
    ) -> tuple[FieldMarks, BodyForm]:
        """Marks of one section, and what it says about the body. `of_request`: it may carry credentials and a trace."""
        if not headers:
            return _NO_MARKS, TEXT_BODY
        lookup = self._clean.get
        body = TEXT_BODY
        pending: list[int] = []
        for index, header in enumerate(headers):
            known = lookup(header, _PENDING)
            if known is _PENDING:
                pending.append(index)
            elif known is not None:
                body = body.joined(known)
        if not pending:
            return _NO_MARKS, body
        marks: FieldMarks = {}
        by_shape: list[int] = []
        for index in pending:
            name, value = headers[index]
            if name is None or value is None:
                _incomplete(index, name, value, marks)
                continue
            rule, kind = field_rule(name)
            if rule is Rule.TEXT:
                by_shape.append(index)
                continue
            if rule is Rule.AUTHORIZATION:
                credential = credentials.authorization(value)
                spans = fields.credential_spans(value, credential)
                if spans and of_request:
                    rank = Source.PROXY_AUTHORIZATION if name[:5].lower() == b"proxy" else Source.AUTHORIZATION
                    findings.credentials.append((rank, credential))
            else:
                spans = fields.BY_RULE[rule](value, kind)
                if of_request and rule in _OF_REQUEST:
                    _request_field(rule, name, value, spans, findings)
            if spans:
                marks[index] = (_NOTHING, spans)
            elif rule is Rule.CONTENT_TYPE or rule is Rule.CONTENT_ENCODING:
                body = body.joined(self._remember(headers[index], bodies.said_by(rule, value)))
        if by_shape:
            self._by_shape(headers, by_shape, marks)
        for _, spans in marks.values():
            for _, _, kind in spans:
                findings.count(place, kind)
        return marks, body

    def _by_shape(self, headers: list[Header], indices: list[int], marks: FieldMarks) -> None:
        joined = b"\n".join([part for index in indices for part in headers[index] if part is not None])
        if b"%" not in joined and not HEAD.may_match(joined):
            for index in indices:
                self._remember(headers[index], None)
            return
        for index in indices:
            if not _incomplete(index, *headers[index], marks):
                self._remember(headers[index], None)

    def _remember(self, header: Header, says: BodyForm | None) -> BodyForm | None:
        name, value = header
        if len(name or b"") + len(value or b"") <= LONGEST_CLEAN_KEPT:
            if len(self._clean) >= CLEAN_KEPT:
                self._clean.clear()
            self._clean[header] = says
        return says


inspect = Inspector().inspect
"""The pipeline's step, for a process that has one pipeline."""

_OF_REQUEST = frozenset((Rule.SECRET, Rule.COOKIE, Rule.TRACEPARENT, Rule.TRACESTATE))


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


def _incomplete(index: int, name: bytes | None, value: bytes | None, marks: FieldMarks) -> bool:
    """Searches one line, of which a part may be unknown; whether anything is to be hidden."""
    in_name = _NOTHING if name is None else fields.name_spans(name)
    in_value = _NOTHING if value is None else fields.value_spans(name, value)
    if not in_name and not in_value:
        return False
    marks[index] = (in_name, in_value)
    return True


def _count_body(body: bytes, form: BodyForm, place: str, findings: Findings) -> None:
    for kind, number in form.count(body).items():
        findings.count(place, kind, number)
