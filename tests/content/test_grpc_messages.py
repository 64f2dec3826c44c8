"""Messages of gRPC without their description: text is found wherever a message holds it."""

from __future__ import annotations

import base64
import gzip
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from apisensor.content.codings import UNKNOWN
from apisensor.content.grpc_messages import VISITED, Messages
from apisensor.content.inspector import Inspector
from apisensor.protocols.counted import Passed
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.model import Exchange, Header, Operation, Sensitive, Transaction
from tests.content.exchanges import exchange

GRPC: Header = (b"content-type", b"application/grpc+proto")
ADDRESS = "joe@example.com"


def spans(*values: str) -> bytes:
    """A message with text three levels down, among numbers and octets."""
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for value in values:
        span = scope.spans.add(name=value, trace_id=bytes(range(16)), start_time_unix_nano=2**60, kind=2)
        span.attributes.add(key="a").value.string_value = value + "!"
        span.attributes.add(key="b").value.double_value = 1.5
    return message.SerializeToString()


def framed(*messages: bytes, flag: int = 0) -> bytes:
    return b"".join(bytes([flag]) + len(message).to_bytes(4, "big") + message for message in messages)


def read(body: bytes, encoding: bytes | None = None, *, text_form: bool = False) -> Messages:
    found = Messages()
    found.read(body, encoding, text_form=text_form)
    return found


def test_text_of_a_real_message() -> None:
    found = read(framed(spans(ADDRESS, "Zürich" * 50)))
    assert {ADDRESS.encode(), ADDRESS.encode() + b"!", ("Zürich" * 50).encode()} <= set(found.texts)
    assert found.fields == [b"1"]
    assert not found.cut


@pytest.mark.parametrize(
    ("encoding", "compress"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"GZIP", gzip.compress)]
)
def test_compressed(encoding: bytes, compress: Any) -> None:
    found = read(framed(compress(spans(ADDRESS)), flag=1) + framed(spans("two")), encoding)
    assert {ADDRESS.encode(), b"two"} <= set(found.texts)
    assert found.anomaly is None


def test_an_unknown_compression_is_said() -> None:
    found = read(framed(b"\xff\xfe", flag=1) + framed(spans("two")), b"snappy")
    assert b"two" in found.texts
    assert found.anomaly == UNKNOWN


def test_text_form() -> None:
    assert ADDRESS.encode() in read(base64.b64encode(framed(spans(ADDRESS))), text_form=True).texts
    assert read(b"!!!!", text_form=True).texts == []


def test_a_cut_message_is_read_as_far_as_it_goes() -> None:
    body = framed(spans("first", ADDRESS))
    seen = [ADDRESS.encode() in read(body[:end]).texts for end in range(len(body))]
    assert seen == sorted(seen)
    assert seen[-1]


TEXT = st.text(min_size=1, max_size=30)


@settings(max_examples=200)
@given(st.lists(TEXT.filter(lambda text: text.isprintable()), min_size=1, max_size=5))
def test_no_text_is_missed(values: list[str]) -> None:
    joined = b"\n".join(read(framed(spans(*values))).texts)
    assert all(value.encode() in joined for value in values)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_octets_that_are_no_message_are_searched_as_they_are(data: bytes, raw: bytes) -> None:
    read(raw, b"gzip")
    joined = b"\n".join(read(framed(b"\x07" + data)).texts)  # 7 is no wire type
    assert data in joined


def test_bounds() -> None:
    assert read(framed(b"\x08\x01" * VISITED + b"\x08\x01")).cut
    deep = b"\x08\x01"
    for _ in range(200):
        size = len(deep)
        deep = b"\x0a" + (bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])) + deep
    assert not read(framed(deep)).cut
    assert read(framed(*([b""] * 13_000))).texts == []


def spoken(raw: Exchange) -> Transaction:
    return Redactor(bytes(32), IdSource(b"seed")).transaction(raw, Inspector().inspect(raw))


def call(asked: int | None, answered: int | None, status: bytes = b"0", **more: Any) -> Exchange:
    """A call with so many messages."""
    return exchange(
        [GRPC],
        [GRPC],
        protocol="grpc",
        target=b"/shop.v1.Orders/List",
        request={"messages": Passed("grpc", asked)},
        response={"messages": Passed("grpc", answered), "trailers": [(b"grpc-status", status)]},
        **more,
    )


@pytest.mark.parametrize(
    ("asked", "answered", "kind"),
    [
        (1, 1, "unary"), (3, 1, "client_streaming"), (1, 2, "server_streaming"), (2, 2, "bidirectional_streaming"),
        (1, 0, None), (None, 1, None), (1, None, None),
    ],
)  # fmt: skip
def test_kinds(asked: int | None, answered: int | None, kind: str | None) -> None:
    assert spoken(call(asked, answered)).operations == [Operation("grpc", kind, "shop.v1.Orders/List")]


def test_a_call_with_its_fields_and_status() -> None:
    body = framed(b"\x0a\x0f" + ADDRESS.encode() + b"\x10\x07")
    found = spoken(call(1, 0, b"16", body=body))
    assert found.operations == [
        Operation("grpc", None, "shop.v1.Orders/List", fields=["1", "2"], error="UNAUTHENTICATED")
    ]
    assert found.sensitive == [Sensitive("email", "request.body", 1)]
    assert spoken(call(1, 0, b"77")).operations[0].error == "77"
    assert spoken(call(1, 0, b"no")).operations[0].error is None
    many = spoken(call(1, 1, body=framed(b"\x08\x01" * 5000)))
    assert many.operations[0].reason == "limit"
