"""`inspect`: one pass over an exchange.

Field lines repeat: of fifteen, ten say the same in every request of a client. A line that was found clean is
remembered (the line, not what is behind it: lines that hold something are never kept) and not looked at again. The
rest, with target and authority, is joined and scanned once; only where that scan finds something, each is searched
by itself.
"""

from __future__ import annotations

from apisensor.content import bodies, credentials, fields
from apisensor.content.credentials import Credential
from apisensor.content.model import KINDS, PLACES, FieldMarks, Insight, Spans
from apisensor.content.names import API_KEY_FIELDS, Rule, field_rule, kind_of_key
from apisensor.content.shapes import HEAD, Zone
from apisensor.transactions.model import Exchange, Header, Sensitive

CLEAN_KEPT = 4096
"""Field lines remembered as clean. A node's clients and servers repeat a few hundred."""
LONGEST_CLEAN_KEPT = 256
"""Longer lines are looked at each time: 4096 x 256 bytes bounds the memory to about 1.5 MB."""

METHODS = frozenset((b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE"))
SCHEMES = frozenset((b"http", b"https"))
"""Anything else in their place is searched like other text."""

_PLACE_RANK = {place: rank for rank, place in enumerate(PLACES)}
_KIND_RANK = {kind: rank for rank, kind in enumerate(KINDS)}
_AUTH_PLACES = ("authorization", "api key field", "api key parameter", "session cookie", "proxy-authorization")
_AUTH_RANK = {place: rank for rank, place in enumerate(_AUTH_PLACES)}
_API_KEY_PARAMETERS = ("api_key", "token")
_EMPTY: FieldMarks = {}
_NOTHING: Spans = []

Counts = dict[tuple[str, str], int]
"""(place, kind) -> count."""


class Inspector:
    """Holds the memory of clean field lines; otherwise without state. One per worker."""

    def __init__(self) -> None:
        self._clean: dict[Header, None] = {}

    def inspect(self, exchange: Exchange) -> Insight:
        """What the exchange's bytes say about identity and sensitive data."""
        request, response = exchange.request, exchange.response
        found: list[tuple[int, Credential]] = []
        counts: Counts = {}
        method = _NOTHING
        if request.method is not None and request.method not in METHODS:
            method = HEAD.find(request.method, Zone.FIELD)
        scheme = _NOTHING
        if request.scheme is not None and request.scheme not in SCHEMES:
            scheme = HEAD.find(request.scheme, Zone.FIELD)
        authority = _NOTHING if request.authority is None else _authority(request.authority)
        target = _NOTHING
        if request.target is not None:
            target = HEAD.find(request.target, Zone.TARGET)
            if target:
                _count_target(request.target, target, counts)
                _parameters(request.target, found)
        request_headers = self._section(request.headers, "request.header", counts, found)
        request_trailers = self._section(request.trailers, "request.header", counts, None)
        response_headers = response_trailers = _EMPTY
        if response is not None:
            response_headers = self._section(response.headers, "response.header", counts, None)
            response_trailers = self._section(response.trailers, "response.header", counts, None)
            _add(counts, "response.body", bodies.count(response.body, response.headers))
        _add(counts, "request.body", bodies.count(request.body, request.headers))
        for _, _, kind in authority:
            _count(counts, "request.header", kind)
        credential = min(found, key=_rank)[1] if found else None
        return Insight(
            auth_scheme=None if credential is None else credential.scheme,
            identity=None if credential is None else credential.identity,
            sensitive=_listed(counts) if counts else [],
            method=method,
            scheme=scheme,
            authority=authority,
            target=target,
            request_headers=request_headers,
            response_headers=response_headers,
            request_trailers=request_trailers,
            response_trailers=response_trailers,
        )

    def _section(
        self,
        headers: list[Header] | None,
        place: str,
        counts: Counts,
        found: list[tuple[int, Credential]] | None,
    ) -> FieldMarks:
        """Marks of one section; credentials of a request's header section are added to `found`."""
        if not headers:
            return _EMPTY
        clean = self._clean
        pending = [index for index, header in enumerate(headers) if header not in clean]
        if not pending:
            return _EMPTY
        marks: FieldMarks = {}
        by_shape: list[int] = []
        for index in pending:
            name, value = headers[index]
            if name is None or value is None:
                self._incomplete(index, name, value, marks)
                continue
            rule = field_rule(name)[0]
            if rule is Rule.TEXT:
                by_shape.append(index)
                continue
            spans = fields.value_spans(name, value)
            if spans:
                marks[index] = (_NOTHING, spans)
            if found is not None:
                _credentials(rule, name, value, found)
        if by_shape:
            self._by_shape(headers, by_shape, marks)
        for _, spans in marks.values():
            for _, _, kind in spans:
                _count(counts, place, kind)
        return marks

    def _by_shape(self, headers: list[Header], indices: list[int], marks: FieldMarks) -> None:
        joined = b"\n".join([part for index in indices for part in headers[index] if part is not None])
        if b"%" not in joined and not HEAD.may_match(joined):
            for index in indices:
                self._remember(headers[index])
            return
        for index in indices:
            name, value = headers[index]
            assert name is not None
            assert value is not None
            in_name, in_value = fields.name_spans(name), fields.value_spans(name, value)
            if in_name or in_value:
                marks[index] = (in_name, in_value)
            else:
                self._remember(headers[index])

    @staticmethod
    def _incomplete(index: int, name: bytes | None, value: bytes | None, marks: FieldMarks) -> None:
        in_name = _NOTHING if name is None else fields.name_spans(name)
        in_value = _NOTHING if value is None else fields.value_spans(name, value)
        if in_name or in_value:
            marks[index] = (in_name, in_value)

    def _remember(self, header: Header) -> None:
        name, value = header
        if name is None or value is None or len(name) + len(value) > LONGEST_CLEAN_KEPT:
            return
        if len(self._clean) >= CLEAN_KEPT:
            self._clean.clear()
        self._clean[header] = None


inspect = Inspector().inspect
"""The pipeline's step, for a process that has one pipeline."""


def _credentials(rule: Rule, name: bytes, value: bytes, found: list[tuple[int, Credential]]) -> None:
    if not value.strip():
        return
    lower = name.lower()
    if rule is Rule.AUTHORIZATION:
        place = "proxy-authorization" if lower == b"proxy-authorization" else "authorization"
        found.append((_AUTH_RANK[place], credentials.authorization(value)))
    elif rule is Rule.SECRET:
        if lower in API_KEY_FIELDS:
            found.append((_AUTH_RANK["api key field"], credentials.api_key(value)))
    elif rule is Rule.COOKIE:
        for pair in value.split(b";"):
            cookie, equals, content = pair.partition(b"=")
            if equals and content.strip() and credentials.session_cookie(cookie.strip()):
                found.append((_AUTH_RANK["session cookie"], credentials.session(content)))
                return


def _parameters(target: bytes, found: list[tuple[int, Credential]]) -> None:
    """A key or token in the query. Only parameters that are there under their own name, not those of nested URLs."""
    query_at = target.find(b"?") + 1
    if not query_at:
        return
    parameters = [part.partition(b"=") for part in target[query_at:].partition(b"#")[0].split(b"&")]
    for name, _, value in parameters:
        lower = name.lower()
        if not value:
            continue
        if lower == b"x-amz-credential":
            key = value.replace(b"%2F", b"/").replace(b"%2f", b"/").partition(b"/")[0]
            found.append((_AUTH_RANK["api key parameter"], Credential("aws4-hmac-sha256", key, "secret")))
            return
    for name, _, value in parameters:
        kind = kind_of_key(name) if value else None
        if kind in _API_KEY_PARAMETERS:
            credential = credentials.api_key(value)
            scheme = "bearer" if name.lower() == b"access_token" else "api_key"  # RFC 6750 section 2.3
            found.append((_AUTH_RANK["api key parameter"], credential._replace(scheme=scheme)))
            return


def _authority(authority: bytes) -> Spans:
    """User information (RFC 3986 section 3.2.1) and whatever else has a shape."""
    at = authority.rfind(b"@")
    if at > 0:
        return [(0, at, "password")]
    return HEAD.find(authority, Zone.FIELD)


def _count_target(target: bytes, spans: Spans, counts: Counts) -> None:
    query = target.find(b"?")
    for start, _, kind in spans:
        _count(counts, "request.query" if 0 <= query < start else "request.path", kind)


def _add(counts: Counts, place: str, kinds: dict[str, int]) -> None:
    for kind, count in kinds.items():
        counts[place, kind] = counts.get((place, kind), 0) + count


def _count(counts: Counts, place: str, kind: str) -> None:
    if kind:
        counts[place, kind] = counts.get((place, kind), 0) + 1


def _rank(credential: tuple[int, Credential]) -> int:
    return credential[0]


def _listed(counts: Counts) -> list[Sensitive]:
    order = sorted(counts, key=lambda key: (_PLACE_RANK[key[0]], _KIND_RANK[key[1]]))
    return [Sensitive(kind, place, counts[place, kind]) for place, kind in order]
