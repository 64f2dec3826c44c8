"""Calls in JSON: GraphQL over HTTP (its draft of 2025, and Apollo's persisted queries) and JSON-RPC 2.0, single and
batched. MCP is JSON-RPC 2.0 over its streamable HTTP transport (Model Context Protocol, revision 2025-06-18).

An object is what its members say: `jsonrpc` makes a call of JSON-RPC, a `query` that is a GraphQL document (or a
persisted one's hash) an operation of GraphQL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from apisensor.content import graphql
from apisensor.content.bodies import Body, Speaks
from apisensor.content.identifiers import NAME_BYTES, OPERATIONS, identifier
from apisensor.content.model import Spoken
from apisensor.protocols.message import value_of
from apisensor.transactions.model import Exchange, Header

T = TypeVar("T")

_UNSET = msgspec.Raw(b"")
_MCP_FIELDS = frozenset((b"mcp-session-id", b"mcp-protocol-version"))
_MCP_TARGETS = {b"tools/call": "name", b"prompts/get": "name", b"resources/read": "uri", b"resources/subscribe": "uri"}
"""Method: the parameter that says of what."""
_ERROR_DIGITS = 11
"""JSON-RPC's codes are 32-bit integers in practice."""
_PARAMETERS = 64
"""Parameters of a query string in which those of GraphQL are looked for."""


class _Call(msgspec.Struct, gc=False):
    """The members that matter of either protocol; all as they stand, since a peer may put anything there."""

    jsonrpc: msgspec.Raw = _UNSET
    method: msgspec.Raw = _UNSET
    id: msgspec.Raw = _UNSET
    params: msgspec.Raw = _UNSET
    query: msgspec.Raw = _UNSET
    operationName: msgspec.Raw = _UNSET
    extensions: msgspec.Raw = _UNSET


class _Extensions(msgspec.Struct, gc=False):
    persistedQuery: msgspec.Raw = _UNSET
    code: msgspec.Raw = _UNSET


class _Parameters(msgspec.Struct, gc=False):
    name: msgspec.Raw = _UNSET
    uri: msgspec.Raw = _UNSET


class _Answer(msgspec.Struct, gc=False):
    id: msgspec.Raw = _UNSET
    error: msgspec.Raw = _UNSET
    errors: msgspec.Raw = _UNSET


class _Error(msgspec.Struct, gc=False):
    code: msgspec.Raw = _UNSET
    extensions: msgspec.Raw = _UNSET


_call = msgspec.json.Decoder(_Call).decode
_answer = msgspec.json.Decoder(_Answer).decode
_error = msgspec.json.Decoder(_Error).decode
_extensions = msgspec.json.Decoder(_Extensions).decode
_parameters = msgspec.json.Decoder(_Parameters).decode
_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_text = msgspec.json.Decoder(str).decode
_INVALID = (msgspec.MsgspecError, RecursionError, UnicodeError)


def from_json(exchange: Exchange, asked: Body, answered: Body | None) -> list[Spoken]:
    """Operations of a JSON body."""
    if not asked.whole:
        return []
    raw, batched = _objects(asked.text)
    found: list[Spoken] = []
    answers = _Answers(answered, batched)
    mcp = None
    for index, one in enumerate(raw[:OPERATIONS]):
        call = _decoded(_call, one)
        if call is None:
            continue
        if _string(call.jsonrpc, 3) == b"2.0":
            mcp = _speaks_mcp(exchange) if mcp is None else mcp
            found += _json_rpc(call, answers, mcp)
        else:
            found += _graphql(call, answers.errors(index))
    if found and len(raw) > OPERATIONS:
        found[-1].reason = found[-1].reason or "limit"
    return found[:OPERATIONS]


def from_document(_exchange: Exchange, asked: Body, answered: Body | None) -> list[Spoken]:
    """Operations of a body of type application/graphql, which is a document and nothing else."""
    if not asked.whole:
        return [Spoken("graphql", reason="body-cut")]
    return _selected(asked.text, None, _Answers(answered, False).errors(0)) or [Spoken("graphql", reason="not-parsed")]


def from_target(target: bytes, answered: Body | None) -> list[Spoken]:
    """Operations of a GET request: parameters `query`, `operationName` and `extensions` of its query string."""
    parameters: dict[bytes, bytes] = {}
    for parameter in target.partition(b"?")[2].partition(b"#")[0].split(b"&", _PARAMETERS)[:_PARAMETERS]:
        key, _, value = parameter.partition(b"=")
        parameters[key] = unquote_to_bytes(value.replace(b"+", b" "))
    name = parameters.get(b"operationName")
    error = _Answers(answered, False).errors(0)
    if b"query" in parameters:
        return _selected(parameters[b"query"], name, error)
    return _persisted(msgspec.Raw(parameters.get(b"extensions", b"")), name, error)


# GraphQL


def _graphql(call: _Call, error: bytes | None) -> list[Spoken]:
    name = _string(call.operationName, NAME_BYTES)
    document = _string(call.query, None)
    if not document:
        return _persisted(call.extensions, name, error)
    found = _selected(document, name, error)
    if not found and name:  # nothing but GraphQL has both members
        return [Spoken("graphql", name=identifier(name), error=error, reason="not-parsed")]
    return found


def _selected(document: bytes, name: bytes | None, error: bytes | None) -> list[Spoken]:
    """The operation that runs: the one that is named, or the only one (section 6.1); all, where that is unclear."""
    selections = graphql.selections(document)
    if name:
        selections = [one for one in selections if one.name == name]
    return [
        Spoken(
            "graphql",
            one.kind.decode(),
            one.name,
            fields=one.fields,
            error=error,
            reason="limit" if one.cut else None,
        )
        for one in selections
    ]


def _persisted(extensions: msgspec.Raw, name: bytes | None, error: bytes | None) -> list[Spoken]:
    """A document that is named by its hash: nobody but the server knows its kind and fields."""
    members = _decoded(_extensions, extensions)
    if members is None or bytes(members.persistedQuery)[:1] != b"{":
        return []
    return [Spoken("graphql", "persisted", identifier(name), error=error)]


# JSON-RPC


def _json_rpc(call: _Call, answers: _Answers, mcp: bool) -> list[Spoken]:
    method = _string(call.method, NAME_BYTES)
    if not bytes(call.method):
        return [Spoken("mcp", "response")] if mcp else []  # a client of MCP answers its server by POST
    notification = not bytes(call.id)
    found = Spoken("mcp" if mcp else "json-rpc", "notification" if notification else "call", identifier(method))
    if not notification:
        found.error = answers.error(bytes(call.id))
    if mcp and method in _MCP_TARGETS:
        parameters = _decoded(_parameters, call.params)
        if parameters is not None:
            name = _MCP_TARGETS[method]
            value = _string(getattr(parameters, name), None)
            # Of a URI its scheme alone: the rest may name a person's file.
            found.target = identifier(value.partition(b":")[0] if value is not None and name == "uri" else value)
    return [found]


def _speaks_mcp(exchange: Exchange) -> bool:
    """Both ends of the transport send fields of its own. Not so with the first request, nor where client or server know
    no sessions and no versions; but each request accepts both kinds of answer, as none of another protocol does."""
    request, response = exchange.request, exchange.response
    if _has_field(request.headers) or (response is not None and _has_field(response.headers)):
        return True
    accepted = (value_of(request.headers, b"accept") or b"").lower()
    return b"application/json" in accepted and b"text/event-stream" in accepted


def _has_field(headers: list[Header] | None) -> bool:
    return any(name is not None and name.lower() in _MCP_FIELDS for name, _ in headers or ())


# Answers


class _Answers:
    """What the response says of errors; read when asked."""

    def __init__(self, body: Body | None, batched: bool) -> None:
        self._body = body
        self._batched = batched
        self._read: list[_Answer] | None = None

    def errors(self, index: int) -> bytes | None:
        """GraphQL: the code of the first error of answer `index`, "error" where it has none."""
        answers = self._answers()
        if index >= len(answers) or (len(answers) > 1 and not self._batched):
            return None
        listed = bytes(answers[index].errors)
        errors = _decoded(_list, listed) if listed[:1] == b"[" else None
        if not errors:
            return None
        first = _decoded(_error, errors[0])
        extensions = None if first is None else _decoded(_extensions, first.extensions)
        return (None if extensions is None else identifier(_string(extensions.code, NAME_BYTES))) or b"error"

    def error(self, id_: bytes) -> bytes | None:
        """JSON-RPC: the code of the answer with this id."""
        for answer in self._answers():
            if bytes(answer.id) == id_ and bytes(answer.error)[:1] == b"{":
                error = _decoded(_error, answer.error)
                code = b"" if error is None else bytes(error.code)
                return code if len(code) <= _ERROR_DIGITS and code.removeprefix(b"-").isdigit() else b"error"
        return None

    def _answers(self) -> list[_Answer]:
        if self._read is None:
            self._read = self._decode()
        return self._read

    def _decode(self) -> list[_Answer]:
        body = self._body
        if body is None or b'"error' not in body.text:
            return []
        if body.speaks == Speaks.EVENTS:  # MCP: one answer in each event; the last one may be cut
            lines = body.text.replace(b"\r", b"\n").split(b"\n")
            data = (line.removeprefix(b"data:") for line in lines if line.startswith(b"data:") and b'"error' in line)
            raw = [msgspec.Raw(line) for _, line in zip(range(OPERATIONS), data, strict=False)]
        elif body.whole:
            raw, _ = _objects(body.text)
        else:
            return []
        return [answer for answer in (_decoded(_answer, one) for one in raw[:OPERATIONS]) if answer is not None]


def _objects(text: bytes) -> tuple[list[msgspec.Raw], bool]:
    """The objects of a body, and whether they came as a list."""
    if text.lstrip()[:1] != b"[":
        return [msgspec.Raw(text)], False
    return _decoded(_list, text) or [], True


def _decoded(decode: Callable[[bytes | msgspec.Raw], T], raw: bytes | msgspec.Raw) -> T | None:
    try:
        return decode(raw)
    except _INVALID:
        return None


def _string(raw: msgspec.Raw, longest: int | None) -> bytes | None:
    """The text of a JSON string; None where it is none, or longer than `longest` bytes as written."""
    written = bytes(raw)
    if written[:1] != b'"' or (longest is not None and len(written) > longest + 2):
        return None
    text = _decoded(_text, written)
    return None if text is None else text.encode("utf-8", "replace")
