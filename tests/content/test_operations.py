"""What calls ask for, by the types of their bodies: every protocol inside HTTP but the counted ones."""

from __future__ import annotations

import codecs
import gzip
import json
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.identifiers import FIELDS, OPERATIONS
from apisensor.content.inspector import Inspector
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Exchange, Header, Operation, Transaction
from tests.content.exchanges import FORM, JSON, exchange

XML: Header = (b"Content-Type", b"text/xml; charset=utf-8")
EVENTS: Header = (b"content-type", b"text/event-stream")
MCP: Header = (b"Mcp-Session-Id", b"1868a90c")


def transaction(raw: Exchange) -> Transaction:
    return Redactor(bytes(32), IdSource(b"seed")).transaction(raw, Inspector().inspect(raw))


def spoken(raw: Exchange) -> list[Operation]:
    return transaction(raw).operations


def posted(body: Any, answer: Any = None, *headers: Header, kind: Header = JSON) -> list[Operation]:
    """Operations of a POST with these JSON values."""
    return spoken(
        exchange(
            [kind, *headers],
            [JSON],
            body=json.dumps(body).encode(),
            response_body=b"" if answer is None else json.dumps(answer).encode(),
        )
    )


def graphql(kind: str, name: str | None, *fields: str, **more: Any) -> Operation:
    return Operation("graphql", kind, name, fields=list(fields), **more)


# GraphQL


def test_graphql_in_json() -> None:
    body = {"query": "query Q($i: ID!) { user(id: $i) { name } }", "operationName": "Q", "variables": {"i": "4711"}}
    assert posted(body, {"data": {"user": None}}) == [graphql("query", "Q", "user")]
    assert posted({"query": "{ a b }"}) == [graphql("query", None, "a", "b")]


def test_the_named_operation_of_several_runs() -> None:
    document = "query A { a } mutation B { b }"
    assert posted({"query": document, "operationName": "B"}) == [graphql("mutation", "B", "b")]
    assert posted({"query": document}) == [graphql("query", "A", "a"), graphql("mutation", "B", "b")]
    assert posted({"query": document, "operationName": "C"}) == [Operation("graphql", name="C", reason="not-parsed")]


def test_graphql_errors_come_with_status_200() -> None:
    query = {"query": "mutation { login }"}
    refused = {"errors": [{"message": "no", "extensions": {"code": "UNAUTHENTICATED"}}], "data": None}
    assert posted(query, refused) == [graphql("mutation", None, "login", error="UNAUTHENTICATED")]
    assert posted(query, {"errors": [{"message": "Joe's password is wrong"}]}) == [
        graphql("mutation", None, "login", error="error")
    ]
    answers: list[Any] = [
        {"errors": []},
        {"data": {"errors": [1]}},
        {"errors": {"a": 1}},
        {"errors": None},
        [1],
        "errors",
    ]
    for answer in answers:
        assert posted(query, answer) == [graphql("mutation", None, "login")]


def test_batched_graphql() -> None:
    found = posted(
        [{"query": "{ a }"}, {"query": "mutation M { b }"}],
        [{"data": {}}, {"errors": [{"extensions": {"code": "FORBIDDEN"}}]}],
    )
    assert found == [graphql("query", None, "a"), graphql("mutation", "M", "b", error="FORBIDDEN")]


def test_persisted_query() -> None:
    body = {"operationName": "Feed", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "ab" * 32}}}
    missing = {"errors": [{"message": "PersistedQueryNotFound", "extensions": {"code": "PERSISTED_QUERY_NOT_FOUND"}}]}
    assert posted(body, missing) == [graphql("persisted", "Feed", error="PERSISTED_QUERY_NOT_FOUND")]
    target = "/graphql?" + urlencode({"operationName": "Feed", "extensions": json.dumps(body["extensions"])})
    assert spoken(exchange(target=target.encode())) == [graphql("persisted", "Feed")]


def test_graphql_in_the_query_string() -> None:
    target = "/graphql?" + urlencode({"query": 'query Q { user(name: "x") { id } }', "operationName": "Q"})
    errors = b'{"errors": [{"message": "x"}]}'
    assert spoken(exchange(target=target.encode())) == [graphql("query", "Q", "user")]
    raw = exchange([], [JSON], target=target.encode(), response_body=errors)
    assert spoken(raw) == [graphql("query", "Q", "user", error="error")]
    assert spoken(exchange(target=b"/search?query=red+shoes")) == []
    assert spoken(exchange(target=b"/search?query=%7B+brace+%7D&extensions=%7B%7D")) == [
        graphql("query", None, "brace")
    ]


def test_a_document_as_the_body() -> None:
    kind: Header = (b"content-type", b"application/graphql")
    assert spoken(exchange([kind], body=b"{ a }")) == [graphql("query", None, "a")]
    assert spoken(exchange([kind], body=b"{ a")) == [Operation("graphql", reason="not-parsed")]
    cut = exchange([kind], body=b"{ a }", request={"body_size": 100})
    assert spoken(cut) == [Operation("graphql", reason="body-cut")]


@pytest.mark.parametrize(
    "body", [{"query": "red shoes"}, {"query": {"match": 1}}, {"query": None}, {"a": '"query"'}, ["query"], "query", {}]
)
def test_json_that_is_no_graphql(body: Any) -> None:
    assert posted(body) == []


def test_nothing_is_guessed_from_a_cut_body() -> None:
    body = b'{"query": "{ a }"}'
    assert spoken(exchange([JSON], body=body, request={"body_size": len(body) + 1})) == []


def test_coded_bodies_are_read() -> None:
    coded: Header = (b"Content-Encoding", b"gzip")
    raw = exchange([JSON, coded], [JSON, coded], body=gzip.compress(b'{"query": "{ a }"}'),
                   response_body=gzip.compress(b'{"errors": [{}]}'))  # fmt: skip
    assert spoken(raw) == [graphql("query", None, "a", error="error")]


# JSON-RPC and MCP


def test_json_rpc() -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "eth_getBalance", "params": ["0xabc", "latest"]}
    assert posted(call, {"jsonrpc": "2.0", "id": 7, "result": 1}) == [Operation("json-rpc", "call", "eth_getBalance")]
    assert posted(call, {"jsonrpc": "2.0", "id": 7, "error": {"code": -32601, "message": "x"}}) == [
        Operation("json-rpc", "call", "eth_getBalance", error="-32601")
    ]
    assert posted(call, {"jsonrpc": "2.0", "id": 8, "error": {"code": 1}}) == [
        Operation("json-rpc", "call", "eth_getBalance")
    ]
    del call["id"]
    assert posted(call) == [Operation("json-rpc", "notification", "eth_getBalance")]


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"Content-Type", b"text/plain;charset=UTF-8")],
        [FORM],  # what `curl --data` and urllib say of anything
        [(b"Content-Type", b"application/vnd.api+json")],
        [FORM, (b"Content-Encoding", b"gzip")],
    ],
)
def test_json_that_its_sender_calls_something_else(headers: list[Header]) -> None:
    body = b'[{"jsonrpc": "2.0", "id": 1, "method": "login", "params": {"password": "hunter2!"}}]'
    coded = gzip.compress(body) if len(headers) == 2 else body
    raw = exchange(headers, [JSON], body=coded, response_body=b'[{"jsonrpc": "2.0", "id": 1, "error": {"code": -1}}]')
    found = transaction(raw)
    assert found.operations == [Operation("json-rpc", "call", "login", error="-1")]
    assert [(one.kind, one.place) for one in found.sensitive] == [("password", "request.body")]
    graphql_body = b'{"query": "mutation M { a }"}'
    coded = gzip.compress(graphql_body) if len(headers) == 2 else graphql_body
    assert spoken(exchange(headers, [JSON], body=coded)) == [graphql("mutation", "M", "a")]


def test_json_rpc_batch() -> None:
    batch = [
        {"jsonrpc": "2.0", "method": "a", "id": "1"},
        {"jsonrpc": "2.0", "method": "b"},
        {"jsonrpc": "2.0", "method": "c", "id": None},
        {"foo": "bar"},
    ]
    answers = [{"jsonrpc": "2.0", "id": None, "error": {"code": 5}}, {"id": "1", "error": {"code": "odd"}}]
    assert posted(batch, answers) == [
        Operation("json-rpc", "call", "a", error="error"),
        Operation("json-rpc", "notification", "b"),
        Operation("json-rpc", "call", "c", error="5"),
    ]
    long = posted([{"jsonrpc": "2.0", "method": "a"}] * (OPERATIONS + 1))
    assert len(long) == OPERATIONS
    assert [one.reason for one in long] == [None] * (OPERATIONS - 1) + ["limit"]


def test_mcp() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_weather", "arguments": {"q": 1}}}
    assert posted(call, None, MCP) == [Operation("mcp", "call", "tools/call", "get_weather")]
    assert posted(call) == [Operation("json-rpc", "call", "tools/call")]
    # Servers without sessions, and clients of the revision before versions were sent: what is left is in Accept.
    for accepted in (b"application/json, text/event-stream", b"Text/Event-Stream,application/json;q=0.5"):
        assert posted(call, None, (b"Accept", accepted)) == [Operation("mcp", "call", "tools/call", "get_weather")]
    for accepted in (b"application/json", b"text/event-stream", b"*/*"):
        assert posted(call, None, (b"Accept", accepted)) == [Operation("json-rpc", "call", "tools/call")]
    read = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "file:///home/joe/taxes.pdf"}}
    assert posted(read, None, MCP) == [Operation("mcp", "call", "resources/read", "file")]
    assert posted({"jsonrpc": "2.0", "method": "notifications/initialized"}, None, MCP) == [
        Operation("mcp", "notification", "notifications/initialized")
    ]
    assert posted({"jsonrpc": "2.0", "id": 1, "result": {}}, None, MCP) == [Operation("mcp", "response")]
    first = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
    raw = exchange([JSON], [JSON, MCP], body=json.dumps(first).encode())
    assert spoken(raw) == [Operation("mcp", "call", "initialize")]


def test_mcp_answers_in_events() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}}
    events = b'event: message\r\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"x"}}\r\n\r\n'
    raw = exchange([JSON, MCP], [EVENTS], body=json.dumps(call).encode(), response_body=events)
    assert spoken(raw) == [Operation("mcp", "call", "tools/call", "t", error="-32602"), Operation("sse", "stream")]


# SOAP

ENVELOPE = """<?xml version="1.0"?><!-- <Body><no/></Body> -->
<s:Envelope xmlns:s="%s"><s:Header><t:Token xmlns:t="urn:t">x</t:Token></s:Header>
<s:Body><m:GetPrice xmlns:m="urn:m"><m:Item>Apples</m:Item></m:GetPrice></s:Body></s:Envelope>"""
SOAP11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12 = "http://www.w3.org/2003/05/soap-envelope"


def test_soap() -> None:
    said: Header = (b"SOAPAction", b'"http://example.org/GetPrice"')
    body = (ENVELOPE % SOAP11).encode()
    expected = Operation("soap", "1.1", "http://example.org/GetPrice", fields=["GetPrice"])
    assert spoken(exchange([XML, said], body=body)) == [expected]
    kind: Header = (b"Content-Type", b'application/soap+xml; charset=utf-8; action="urn:GetPrice"')
    body = (ENVELOPE % SOAP12).encode()
    assert spoken(exchange([kind], body=body)) == [Operation("soap", "1.2", "urn:GetPrice", fields=["GetPrice"])]


def test_every_cut_of_an_envelope_says_less_and_nothing_else() -> None:
    body = (ENVELOPE % SOAP11).encode()
    known = {
        (): [],
        ("cut",): [Operation("soap", "1.1", reason="body-cut")],
        ("seen",): [Operation("soap", "1.1", fields=["GetPrice"])],
    }
    found = [spoken(exchange([XML], body=body[:end], request={"body_size": len(body)})) for end in range(1, len(body))]
    assert [list(known.values()).index(one) for one in found] == sorted(
        list(known.values()).index(one) for one in found
    )
    assert found[-1] == known["seen",]


@pytest.mark.parametrize(
    ("version", "fault"),
    [
        (SOAP11, "<faultcode>s:Client</faultcode><faultstring>no</faultstring>"),
        (SOAP12, "<s:Code><s:Value>s:Client</s:Value><s:Subcode><s:Value>m:X</s:Value></s:Subcode></s:Code>"),
    ],
)
def test_soap_fault(version: str, fault: str) -> None:
    answer = f'<s:Envelope xmlns:s="{version}"><s:Body><s:Fault>{fault}</s:Fault></s:Body></s:Envelope>'
    raw = exchange([XML], [XML], body=(ENVELOPE % version).encode(), response_body=answer.encode())
    assert [one.error for one in spoken(raw)] == ["Client"]


@pytest.mark.parametrize(
    "body",
    [
        "<Envelope/>",
        "<a>Envelope</a>",
        "Envelope",
        f'<Envelope xmlns="{SOAP11}x"><Body><a/></Body></Envelope>',
        '<?xml version="1.0" encoding="none"?><Envelope/>',
        f'<Envelope xmlns="{SOAP11}"'.encode("utf-16").decode("latin-1"),
        '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><Envelope>&b;</Envelope>',
    ],
)
def test_xml_that_is_no_soap(body: str) -> None:
    assert spoken(exchange([XML], body=body.encode())) == []


def test_no_codec_is_looked_for() -> None:
    """A worker can open no file, and so import none."""
    asked: list[str] = []

    def search(name: str) -> None:
        asked.append(name)

    codecs.register(search)
    body = f'<?xml version="1.0" encoding="iso2022_jp_3"?><Envelope xmlns="{SOAP11}"><Body><x/></Body></Envelope>'
    try:
        assert spoken(exchange([XML], body=body.encode())) == [Operation("soap", "1.1", fields=["x"])]
    finally:
        codecs.unregister(search)
    assert asked == []


def test_an_entity_is_not_expanded() -> None:
    body = f'<!DOCTYPE a [<!ENTITY a "b">]><Envelope xmlns="{SOAP11}"><Body><x>&a;</x></Body></Envelope>'
    assert spoken(exchange([XML], body=body.encode())) == []


# Forms


def test_form_names() -> None:
    body = b"user=joe&password=hunter2&user=ann&tags%5B%5D=x&empty=&novalue&" + b"a" * 200 + b"=1"
    assert spoken(exchange([FORM], body=body)) == [Operation("form", fields=["user", "password", "tags[]", "empty"])]
    more = "&".join(f"f{number}=1" for number in range(FIELDS + 1)).encode()
    (found,) = spoken(exchange([FORM], body=more))
    assert (len(found.fields), found.reason) == (FIELDS, "limit")
    cut = exchange([FORM], body=b"a=1&b=2", request={"body_size": 90})
    assert spoken(cut) == [Operation("form", fields=["a", "b"], reason="body-cut")]


@pytest.mark.parametrize(
    "body", [b'{"password": "hunter2=x"}', b"hunter2", b"<a b='c'/>", b"two words=x", b"=x", b"&&"]
)
def test_what_is_no_name_is_not_shown(body: bytes) -> None:
    assert spoken(exchange([FORM], body=body)) == []


def test_multipart_names() -> None:
    kind: Header = (b"Content-Type", b'multipart/form-data; boundary="b-1"')
    body = (
        b'--b-1\r\nContent-Disposition: form-data; name="user"\r\n\r\njoe\r\n'
        b'--b-1\r\nContent-Type: text/plain\r\ncontent-disposition: form-data; name="file"; filename="n.txt"\r\n\r\n'
        b'\r\nContent-Disposition: form-data; name="inside"\r\n\r\nx\r\n--b-1--\r\n'
    )
    assert spoken(exchange([kind], body=body)) == [Operation("multipart", fields=["user", "file"])]
    for end in range(len(body)):
        found = spoken(exchange([kind], body=body[:end], request={"body_size": len(body)})) if end else []
        assert [one.fields for one in found] in ([], [["user"]], [["user", "file"]])
        assert all(one.reason == "body-cut" for one in found)
    assert spoken(exchange([(b"content-type", b"multipart/form-data")], body=body)) == [
        Operation("multipart", reason="not-parsed")
    ]


# All


SECRET = "sk_live_4eC39HqLyjWDarjtT1zdp7dc"


@pytest.mark.parametrize(
    "raw",
    [
        exchange([JSON], body=b'{"query": "query %s { a }"}' % SECRET.encode()),
        exchange([JSON], body=b'{"query": "{ %s }"}' % SECRET.encode()),
        exchange([JSON], body=b'{"jsonrpc": "2.0", "method": "%s"}' % SECRET.encode()),
        exchange([FORM], body=b"%s=1" % SECRET.encode()),
        exchange([XML, (b"SOAPAction", SECRET.encode())], body=(ENVELOPE % SOAP11).encode()),
        exchange([XML], body=(ENVELOPE.replace("GetPrice", SECRET) % SOAP11).encode()),
    ],
)
def test_a_secret_in_place_of_a_name_is_redacted(raw: Exchange) -> None:
    found = transaction(raw)
    assert found.operations
    assert SECRET.encode() not in msgspec.msgpack.encode(found) + json_line(found)


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["query", "jsonrpc", "method", "id", "errors", "error", "extensions"]), inner),
    ),
)


@settings(max_examples=300)
@given(VALUE, VALUE)
def test_any_json_is_read_without_failing(body: Any, answer: Any) -> None:
    posted([{"jsonrpc": "2.0", "query": "{ a }", "x": body}, body], answer)


KINDS: list[Header] = [
    JSON, FORM, XML, (b"Content-Type", b"application/graphql"), (b"Content-Type", b"multipart/form-data; boundary=b")
]  # fmt: skip


@settings(max_examples=300)
@given(st.sampled_from(KINDS), st.binary(max_size=200), st.sampled_from([b"", b'"query"', b"Envelope", b"\r\n--b\r\n"]))
def test_any_body_is_read_without_failing(kind: Header, body: bytes, mark: bytes) -> None:
    for operation in spoken(exchange([kind], [kind], body=body + mark + body, response_body=body)):
        assert len(operation.fields) <= FIELDS


@pytest.mark.parametrize(
    "body",
    [
        b'{"query":' + b"[" * 60_000,
        b'[{"jsonrpc"' + b",{}" * 20_000 + b"]",
        b'{"jsonrpc":"2.0","params":' + b'{"a":' * 10_000,
    ],
)
def test_hostile_json_ends(body: bytes) -> None:
    assert spoken(exchange([JSON], body=body)) == []
