"""Messages of gRPC whose description is known: protobuf's own classes make them, and say what is in them."""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content.described import DescriptorSet
from apisensor.content.descriptor_sets import descriptions
from apisensor.content.grpc_messages import VISITED
from apisensor.content.inspector import Inspector
from apisensor.content.named_messages import ADDED, NamedMessages
from apisensor.protocols.counted import Passed
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.model import Exchange, Header, Sensitive, Transaction
from tests.content.exchanges import exchange
from tests.content.shop import message, shop
from tests.content.test_grpc_messages import framed

GRPC: Header = (b"content-type", b"application/grpc")
PASSWORD = "correct horse"

Leaves = Counter[tuple[str, str | int]]
"""Names and values of all texts and whole numbers of a message."""


def read(body: bytes, type_: str = "shop.v1.Everything", *, encoding: bytes | None = None) -> NamedMessages:
    described = shop()
    found = NamedMessages(described, described.types[type_])
    found.read(body, encoding, text_form=False)
    return found


def leaves(found: NamedMessages) -> Leaves:
    """What the JSON of the messages says; every document has to be one."""
    told: Leaves = Counter()

    def take(pairs: list[tuple[str, Any]]) -> None:
        for name, value in pairs:
            if isinstance(value, str | int):
                told[name, value] += 1

    for text in found.texts:
        json.loads(text, object_pairs_hook=take)
    return told


SILENT = (FieldDescriptor.TYPE_BOOL, FieldDescriptor.TYPE_ENUM)
FLOATS = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE)


def expected(whole: Any) -> Leaves:
    """The same by protobuf's reflection."""
    told: Leaves = Counter()

    def add(name: str, field: FieldDescriptor, value: Any) -> None:
        if field.type in FLOATS:
            if value.is_integer():
                told[name, int(value)] += 1
        elif field.message_type is not None:
            visit(value)
        elif field.type not in SILENT:
            told[name, value.decode() if isinstance(value, bytes) else value] += 1

    def visit(one: Any) -> None:
        for field, value in one.ListFields():
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                of_entry = field.message_type.fields_by_name["value"]
                for key in value:
                    add(str(key), of_entry, value[key])
            elif field.is_repeated:
                if field.is_packed and field.type in FLOATS:
                    continue
                for item in value:
                    add(field.name, field, item)
            else:
                add(field.name, field, value)

    visit(whole)
    return told


TEXT = st.text(max_size=20)
I32, I64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXT,
    "octets": st.text("abc", min_size=1).map(str.encode),
    "an_int32": I32,
    "an_int64": I64,
    "a_uint32": U32,
    "a_uint64": U64,
    "a_sint32": I32,
    "a_sint64": I64,
    "a_fixed32": U32,
    "a_fixed64": U64,
    "an_sfixed32": I32,
    "an_sfixed64": I64,
    "a_float": st.floats(width=32),
    "a_double": st.floats(),
    "a_bool": st.booleans(),
    "color": st.integers(0, 1),
    "texts": st.lists(TEXT, max_size=3),
    "packed": st.lists(I64, max_size=4),
    "unpacked": st.lists(I32, max_size=4),
    "packed_fixed": st.lists(U32, max_size=4),
    "packed_double": st.lists(st.floats(), max_size=4),
    "labels": st.dictionaries(TEXT, TEXT, max_size=3),
    "by_number": st.dictionaries(I32, st.builds(lambda n, t: message("Order", id=n, note=t), I64, TEXT), max_size=2),
    "orders": st.lists(st.builds(lambda n: message("Order", id=n), I64), max_size=3),
    "left": TEXT,
    "maybe": TEXT,
}
FLAT = st.fixed_dictionaries({}, optional=FIELDS).map(lambda fields: message("Everything", **fields))


def _within(one: Any, other: Any) -> Any:
    one.inner.CopyFrom(other)
    return one


MESSAGES = st.recursive(FLAT, lambda inside: st.builds(_within, FLAT, inside), max_leaves=4)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_everything_that_protobuf_finds_is_found_under_its_name(made: Any) -> None:
    found = read(framed(made.SerializeToString()))
    assert leaves(found) == expected(made)
    assert found.fields == [field.name.encode() for field, _ in made.ListFields()]
    assert found.whole
    assert not found.cut


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.data())
def test_what_was_captured_of_a_message_is_read_as_far_as_it_goes(made: Any, data: st.DataObject) -> None:
    body = framed(made.SerializeToString())
    end = data.draw(st.integers(5, len(body)))
    before = read(body[:end])
    if end < len(body):
        assert not before.whole
        assert before.fields == []
    texts = {(name, value) for name, value in leaves(before) if isinstance(value, int)}
    assert texts <= set(expected(made))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_any_octets_are_a_message_or_searched_by_number(octets: bytes, cut: bool) -> None:
    body = framed(octets)
    read(body[:-1] if cut else body)


def test_what_nothing_describes_keeps_its_number() -> None:
    order = message("Order", id=7, note="seven").SerializeToString()
    body = order + b"\xfa\x01\x08new text" + b"\x82\x02" + bytes([len(order)]) + order
    found = read(framed(body), "shop.v1.Order")
    assert leaves(found) == Counter({("id", 7): 1, ("note", "seven"): 1, ("31", "new text"): 1, ("32", "seven"): 1})
    assert found.fields == [b"id", b"note", b"31", b"32"]


def test_a_message_that_its_description_does_not_fit_is_read_by_numbers() -> None:
    other = b"\x0a\x05hello" + b"\x12\x07\xff\xff\xff\xff\xff\xff\xff"
    found = read(framed(b"\xc2\x01" + bytes([len(other)]) + other))
    assert leaves(found)[("text", "hello")] == 1
    broken = b"\x0a\x05hello" + b"\x07" + b"token"
    assert broken in read(framed(broken)).texts
    inside = read(framed(b"\xc2\x01" + bytes([len(broken)]) + broken))
    assert leaves(inside) == Counter({("inner", broken.decode()): 1})
    assert inside.fields == [b"inner"]


def test_a_map_entry_in_any_order_and_without_its_key() -> None:
    for entry in (b"\x0a\x03pin\x12\x04text", b"\x12\x04text\x0a\x03pin"):
        assert leaves(read(framed(b"\xb2\x01" + bytes([len(entry)]) + entry))) == Counter({("pin", "text"): 1})
    assert leaves(read(framed(b"\xb2\x01\x06\x12\x04text"))) == Counter({("", "text"): 1})
    assert read(framed(b"\xb2\x01\x00")).texts == [b'{"labels":{}}']
    hidden = b"\x12\x01a\x1a\x04more\x12\x01b\x0a\x01k"
    assert leaves(read(framed(b"\xb2\x01" + bytes([len(hidden)]) + hidden))) == Counter(
        {("k", "a"): 1, ("k", "b"): 1, ("3", "more"): 1}
    )


def test_a_large_text_deep_inside_is_within_the_limits() -> None:
    made = message("Everything", text="x" * 60_000)
    for _ in range(30):
        made = message("Everything", inner=made)
    found = read(framed(made.SerializeToString()))
    assert leaves(found) == expected(made)
    assert not found.cut


def test_what_protobuf_has_a_json_form_of() -> None:
    made = message("Everything")
    made.any.Pack(message("Credentials", password=PASSWORD))
    made.struct.update({"password": PASSWORD, "list": ["one", {"pin": 17, "half": 0.5}], "no": None})
    made.wrapped.value = "held"
    (text,) = read(framed(made.SerializeToString())).texts
    assert json.loads(text)["any"] == {"@type": made.any.type_url, "password": PASSWORD}
    assert json.loads(text)["wrapped"] == "held"
    told = leaves(read(framed(made.SerializeToString())))
    assert told == Counter(
        {
            ("@type", "type.googleapis.com/shop.v1.Credentials"): 1,
            ("password", PASSWORD): 2,
            ("list", "one"): 1,
            ("pin", 17): 1,
            ("wrapped", "held"): 1,
        }
    )
    made.any.type_url = "type.example.com/not.there"
    assert leaves(read(framed(made.SerializeToString())))[("2", PASSWORD)] == 1


def test_groups_and_extensions() -> None:
    made = message("Older", name="old")
    made.part.add(secret_key="first").deep.text = "low"
    made.part.add(secret_key="second")
    extension = b"\xa2\x06\x03key"
    found = read(framed(made.SerializeToString() + extension), "older.v1.Older")
    assert leaves(found) == Counter(
        {("name", "old"): 1, ("secret_key", "first"): 1, ("text", "low"): 1, ("secret_key", "second"): 1,
         ("api_key", "key"): 1}
    )  # fmt: skip
    assert found.fields == [b"name", b"part", b"api_key"]
    for wrong in (b"\x13", b"\x13\x1a\x01x", b"\x13\x1c", b"\x14", b"\x13\x1b\x14\x1c"):
        assert read(framed(wrong), "older.v1.Older").texts == [wrong]


# What a hostile peer sends


def nested(depth: int, number: int = 24) -> bytes:
    tag = bytes([number << 3 & 0x7F | 2 | 0x80, number >> 4])
    body = b"\x0a\x04deep"
    for _ in range(depth):
        size = len(body)
        head = bytes([size]) if size < 128 else bytes([size & 0x7F | 0x80, size >> 7])
        body = tag + head + body
    return body


def struct_within(depth: int) -> bytes:
    made = message("Everything")
    inner = made.struct
    for _ in range(depth):
        inner = inner.get_or_create_struct("a")
    inner["password"] = PASSWORD
    return bytes(made.SerializeToString())


def any_within(depth: int) -> bytes:
    made = message("Everything", text="deep")
    for _ in range(depth):
        outer = message("Everything")
        outer.any.Pack(made)
        made = outer
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    "body",
    [
        nested(1000),
        any_within(400),
        struct_within(90),
        b"\x13" * 60_000,
        b"\x13" * 30_000 + b"\x14" * 30_000,
        b"\xca\x01\x00" * 20_000,
        b"\x92\x01\xe0\xd4\x03" + b"\x01" * 60_000,
        b"\xaa\x01\xe0\xd4\x03" + b"\x01" * 60_000,
        b"\x90\x01\x01" * 20_000,
        b"\x0a\x01\x01" * 20_000,
        b"\xb2\x01\x02\x0a\x00" * 12_000,
        b"\x0a\xe0\xd4\x03" + b"\x01" * 60_000,
        b"\x12\xe0\xd4\x03" + b"\x01" * 60_000,
    ],
    ids=[
        *("nested", "any", "struct", "groups", "closed-groups", "empty-messages", "packed", "packed-floats"),
        *("unpacked", "texts", "entries", "escapes", "octets"),
    ],
)
def test_a_hostile_message_costs_little(body: bytes) -> None:
    found = read(framed(body))
    assert sum(map(len, found.texts)) <= 2 * len(body) + ADDED
    assert found._visited <= VISITED + 1
    assert found.cut or not body.startswith((b"\x13", b"\xca", b"\x92", b"\x90", b"\xb2"))


def test_messages_share_the_limits_of_their_body() -> None:
    found = read(framed(*[b"\xca\x01\x00" * 100] * 200))
    assert found.cut
    assert found._visited <= VISITED + 1
    names = "n" * 100
    long = descriptions([DescriptorSet("long", _one_message(names))])
    flood = NamedMessages(long, 0)
    flood.read(framed(*[b"\x08\x01" * 1500] * 10), None, text_form=False)
    assert flood.cut
    assert sum(map(len, flood.texts)) <= ADDED + 30_000 + 10 * 2


def _one_message(name: str) -> bytes:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: PLC0415

    made = FileDescriptorSet()
    file = made.file.add(name="a.proto", syntax="proto3")
    file.message_type.add(name="M").field.add(name=name, number=1, type="TYPE_INT32", label="LABEL_OPTIONAL")
    return made.SerializeToString()


def test_bombs_are_bounded_by_their_coding() -> None:
    bomb = gzip.compress(message("Everything", text="x" * 10_000_000).SerializeToString())
    found = read(framed(*[bomb] * 100, flag=1), encoding=b"gzip")
    assert found.cut
    assert found.anomaly is not None


# What is made of them


def spoken(raw: Exchange, inspector: Inspector | None = None) -> Transaction:
    inspector = inspector or Inspector(shop())
    return Redactor(bytes(32), IdSource(b"seed")).transaction(raw, inspector.inspect(raw))


def call(method: str, asked: bytes, answered: bytes = b"", *headers: Header, kind: Header = GRPC) -> Exchange:
    return exchange(
        [kind, *headers],
        [kind, *headers],
        protocol="grpc",
        target=method.encode(),
        body=asked,
        response_body=answered,
        request={"messages": Passed("grpc", 1)},
        response={"messages": Passed("grpc", 1), "trailers": [(b"grpc-status", b"0")]},
    )


LOGIN = framed(message("Credentials", user_name="joe", password=PASSWORD, pin=1234).SerializeToString())
SESSION = framed(message("Session", access_token="opaque and long").SerializeToString())


def test_names_say_what_values_are_as_those_of_json_do() -> None:
    found = spoken(call("/shop.v1.Shop/Login", LOGIN, SESSION))
    assert found.operations[0].fields == ["user_name", "password", "pin"]
    assert found.sensitive == [Sensitive("password", "request.body", 2), Sensitive("token", "response.body", 1)]
    document = {"user_name": "joe", "password": PASSWORD, "pin": 1234}
    asked = json.dumps(document).encode()
    same = exchange([(b"content-type", b"application/json")], [], body=asked, target=b"/")
    assert spoken(same).sensitive == found.sensitive[:1]
    assert spoken(same).login_identity == found.login_identity is not None
    assert PASSWORD not in repr(found)


def test_without_a_description_the_numbers_are_all_there_is() -> None:
    for described, method in ((None, "Login"), (shop(), "Logout")):
        found = spoken(call(f"/shop.v1.Shop/{method}", LOGIN, SESSION), Inspector(described))
        assert found.operations[0].fields == ["1", "2", "3"]
        assert found.sensitive == []
        assert found.login_identity is None


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (b"application/grpc+proto", True),
        (b"Application/GRPC+Proto; charset=utf-8", True),
        (b"application/grpc-web", True),
        (b"application/grpc-web+proto", True),
        (b"application/grpc+json", False),
        (b"application/grpc+thrift", False),
    ],
)
def test_what_protobuf_messages_are(kind: bytes, names: bool) -> None:
    found = spoken(call("/proxy/shop.v1.Shop/Login?x=1", LOGIN, kind=(b"Content-Type", kind)))
    assert (found.operations[0].fields == ["user_name", "password", "pin"]) is names


def test_text_form_and_compression() -> None:
    web = (b"content-type", b"application/grpc-web-text+proto")
    found = spoken(call("/shop.v1.Shop/Login", base64.b64encode(LOGIN), base64.b64encode(SESSION), kind=web))
    assert found.sensitive == [Sensitive("password", "request.body", 2), Sensitive("token", "response.body", 1)]
    packed = framed(gzip.compress(LOGIN[5:]), flag=1)
    found = spoken(call("/shop.v1.Shop/Login", packed, SESSION, (b"grpc-encoding", b"gzip")))
    assert found.sensitive == [Sensitive("password", "request.body", 2), Sensitive("token", "response.body", 1)]
    assert found.login_identity is not None


def test_every_message_of_a_stream_is_read_and_no_stream_is_a_login() -> None:
    orders = framed(*(message("Order", id=n, note=f"to {n}@example.com").SerializeToString() for n in range(1, 6)))
    found = spoken(call("/shop.v1.Shop/Chat", orders, orders))
    assert found.sensitive == [Sensitive("email", "request.body", 5), Sensitive("email", "response.body", 5)]
    assert found.operations[0].fields == ["id", "note"]
    twice = spoken(call("/shop.v1.Shop/Login", LOGIN * 2))
    assert twice.sensitive == [Sensitive("password", "request.body", 4)]
    assert twice.login_identity is None
