"""Descriptor sets: what protoc writes is understood; what is none, or lacks something, is refused in one line."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.rpc import error_details_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from apisensor.content import descriptor_sets
from apisensor.content.described import MAKE, Descriptions, DescriptorSet, DescriptorSetError, Form, Sort
from apisensor.content.descriptor_sets import descriptions
from tests.content.shop import compiled, shop, shop_set


def made(*sets: bytes) -> Descriptions:
    return descriptions([DescriptorSet(f"/set/{number}", content) for number, content in enumerate(sets)])


def attempt(content: bytes) -> Descriptions | str:
    """What a set says, or why it is refused."""
    try:
        return made(content)
    except DescriptorSetError as error:
        return str(error)


def names(of: Descriptions, type_: str) -> list[bytes]:
    return [field.name for field in of.messages[of.types[type_]].fields.values()]


def test_methods_types_and_fields() -> None:
    found = shop()
    assert set(found.methods) == {f"shop.v1.Shop/{name}" for name in ("Login", "Upload", "List", "Chat", "All", "Old")}
    assert found.method(b"/shop.v1.Shop/Login") == (found.types["shop.v1.Credentials"], found.types["shop.v1.Session"])
    assert names(found, "shop.v1.Credentials") == [b"user_name", b"password", b"pin"]
    assert names(found, "older.v1.Older") == [b"name", b"part", b"api_key"]
    everything = found.messages[found.types["shop.v1.Everything"]]
    assert everything.fields[24].type == found.types["shop.v1.Everything"]
    assert everything.fields[16].form == Form.SILENT
    assert found.messages[everything.fields[22].type].sort == Sort.ENTRY
    assert found.messages[found.types["google.protobuf.Any"]].sort == Sort.ANY


@pytest.mark.parametrize("target", [b"/shop.v1.Shop/Login", b"/api/shop.v1.Shop/Login", b"/shop.v1.Shop/Login?a=/b/c"])
def test_targets(target: bytes) -> None:
    assert shop().method(target) is not None


@pytest.mark.parametrize(
    "target",
    [None, b"", b"*", b"/", b"shop.v1.Shop/Login", b"/shop.v1.Shop/login", b"/shop.v1.Shop/Login/", b"/\xff/\xfe"],
)
def test_targets_that_nothing_describes(target: bytes | None) -> None:
    assert shop().method(target) is None


def test_source_information_and_the_order_of_files_make_no_difference() -> None:
    described = FileDescriptorSet.FromString(compiled("--include_imports", "--include_source_info"))
    turned = FileDescriptorSet(file=reversed(described.file))
    assert made(turned.SerializeToString()).methods.keys() == shop().methods.keys()


def test_what_buf_adds_to_each_file_is_left_alone() -> None:
    """An Image of buf is a FileDescriptorSet whose files have a field 8042 of its own."""
    described = FileDescriptorSet.FromString(shop_set())
    for file in described.file:
        file.MergeFromString(b"\xd2\xf6\x03\x02\x08\x01")
    assert made(described.SerializeToString()) == shop()


def test_they_travel() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(shop()), type=Descriptions) == shop()


def _of(*modules: object) -> bytes:
    told = FileDescriptorSet()
    for module in modules:
        module.DESCRIPTOR.CopyToProto(told.file.add())  # type: ignore[attr-defined]
    return told.SerializeToString()


def test_several_sets_are_one_and_the_first_counts() -> None:
    other = FileDescriptorSet.FromString(shop_set())
    for file in other.file:
        if file.name == "shop.proto":
            next(one for one in file.message_type if one.name == "Credentials").field[0].name = "login"
    found = made(shop_set(), other.SerializeToString())
    assert names(found, "shop.v1.Credentials") == [b"user_name", b"password", b"pin"]
    (asked, _) = found.methods["shop.v1.Shop/Login"]
    assert asked == found.types["shop.v1.Credentials"]
    turned = made(other.SerializeToString(), shop_set())
    assert names(turned, "shop.v1.Credentials") == [b"login", b"password", b"pin"]


def one_file(**more: object) -> FileDescriptorProto:
    return FileDescriptorProto(name="a.proto", syntax="proto3", **more)  # type: ignore[arg-type]


def refusal(*sets: bytes) -> str:
    with pytest.raises(DescriptorSetError) as refused:
        made(*sets)
    text = str(refused.value)
    assert "\n" not in text
    assert text.isprintable()
    return text


NONE = f"descriptor set /set/0: not a FileDescriptorSet; {MAKE}"


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b'syntax = "proto3";', b'{"file": []}', b"\x1f\x8b\x08\0\0\0\0\0", b"\xff" * 100, bytes(100)],
    ids=["empty", "newline", "source", "json", "gzip", "ones", "zeros"],
)
def test_what_is_none(content: bytes) -> None:
    assert refusal(content) == NONE


def test_a_set_that_is_cut() -> None:
    for end in range(1, len(shop_set())):
        found = attempt(shop_set()[:end])
        if isinstance(found, str):
            assert found.endswith(MAKE)
        else:  # the files stand one behind the other: the first ones are a set too
            assert "shop.v1.Shop/Login" not in found.methods


def test_imports_that_are_missing_say_how_to_include_them() -> None:
    text = refusal(compiled())
    assert text.startswith(
        "descriptor set /set/0: 'shop.proto' imports 'google/protobuf/any.proto', which is missing; "
    )
    assert "--include_imports" in text
    assert refusal(shop_set(), b"x").startswith("descriptor set /set/1: ")
    assert refusal(_of(trace_service_pb2)).startswith("descriptor set /set/0: ")
    assert refusal(_of(error_details_pb2)).startswith("descriptor set /set/0: ")


def test_what_protobuf_refuses() -> None:
    around = [one_file(dependency=["b.proto"]), FileDescriptorProto(name="b.proto", dependency=["a.proto"])]
    assert "imports itself" in refusal(FileDescriptorSet(file=around).SerializeToString())
    assert "imports itself" in refusal(FileDescriptorSet(file=[one_file(dependency=["a.proto"])]).SerializeToString())
    wrong = one_file()
    wrong.message_type.add(name="M").field.add(name="f", number=1, type="TYPE_MESSAGE", type_name=".not.There")
    text = refusal(FileDescriptorSet(file=[wrong]).SerializeToString())
    assert "protobuf refuses 'a.proto' in it" in text
    assert "not.There" in text
    name = one_file()
    name.message_type.add(name='M"\n').field.add(name="f", number=1, type="TYPE_STRING", label="LABEL_OPTIONAL")
    assert "protobuf refuses" in refusal(FileDescriptorSet(file=[name]).SerializeToString())


def test_too_many_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    count = sum(len(message.fields) for message in shop().messages) - 1  # the extension is its file's
    monkeypatch.setattr(descriptor_sets, "FIELDS_MAX", count)
    made(shop_set())
    monkeypatch.setattr(descriptor_sets, "FIELDS_MAX", count - 1)
    assert refusal(shop_set()) == (
        f"descriptor set /set/0: more than {count - 1:,} fields in all; leave out what is not called"
    )


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_content_is_a_set_or_one_line(data: st.DataObject) -> None:
    content = bytearray(shop_set())
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    found = attempt(bytes(content))
    assert not isinstance(found, str) or "\n" not in found
