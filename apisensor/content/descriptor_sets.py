"""FileDescriptorSets (`protoc --descriptor_set_out`, `buf build -o`) -> Descriptions.

protobuf's own descriptor pool checks them. Each set has a pool of its own, since file names repeat between projects.
Where several sets describe one method or type, the first one counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from apisensor.content.described import (
    LEAVE_OUT,
    MAKE,
    Descriptions,
    DescriptorSet,
    DescriptorSetError,
    Field,
    Form,
    Message,
    Sort,
)

FIELDS_MAX = 200_000
"""Fields of all sets together: 10,000 messages of 20. Each takes some 150 bytes in every worker."""
_REASON = 200
"""Characters shown of what protobuf says of a set."""

_FORMS = {
    FieldDescriptor.TYPE_STRING: Form.TEXT,
    FieldDescriptor.TYPE_BYTES: Form.OCTETS,
    FieldDescriptor.TYPE_MESSAGE: Form.MESSAGE,
    FieldDescriptor.TYPE_GROUP: Form.MESSAGE,
    FieldDescriptor.TYPE_INT32: Form.SIGNED,
    FieldDescriptor.TYPE_INT64: Form.SIGNED,
    FieldDescriptor.TYPE_UINT32: Form.UNSIGNED,
    FieldDescriptor.TYPE_UINT64: Form.UNSIGNED,
    FieldDescriptor.TYPE_SINT32: Form.ZIGZAG,
    FieldDescriptor.TYPE_SINT64: Form.ZIGZAG,
    FieldDescriptor.TYPE_FIXED32: Form.FIXED32,
    FieldDescriptor.TYPE_SFIXED32: Form.SFIXED32,
    FieldDescriptor.TYPE_FIXED64: Form.FIXED64,
    FieldDescriptor.TYPE_SFIXED64: Form.SFIXED64,
    FieldDescriptor.TYPE_FLOAT: Form.FLOAT,
    FieldDescriptor.TYPE_DOUBLE: Form.DOUBLE,
    FieldDescriptor.TYPE_BOOL: Form.SILENT,
    FieldDescriptor.TYPE_ENUM: Form.SILENT,
}

_SORTS = {
    "google.protobuf.Any": Sort.ANY,
    **dict.fromkeys(
        (
            f"google.protobuf.{name}"
            for name in (
                *("Value", "ListValue", "StringValue", "BytesValue", "BoolValue", "DoubleValue", "FloatValue"),
                *("Int32Value", "Int64Value", "UInt32Value", "UInt64Value"),
            )
        ),
        Sort.INLINE,
    ),
}
"""Full name: what protobuf's JSON form makes of it."""


def descriptions(sets: Iterable[DescriptorSet]) -> Descriptions:
    """What the sets say, together.

    Raises:
        DescriptorSetError: one is none, refers to what is not in it, or there is too much.
    """
    made = Descriptions([], {}, {})
    fields = 0
    for one in sets:
        index: dict[str, int] = {}
        """Of the types of this set."""
        messages: list[Descriptor] = []
        files = _files(one)
        for file in files:
            for message in _messages(file):
                index[message.full_name] = len(made.messages) + len(messages)
                messages.append(message)
                fields += len(message.fields)
                if fields > FIELDS_MAX:
                    raise DescriptorSetError.of(one.path, f"more than {FIELDS_MAX:,} fields in all", LEAVE_OUT)
        made.messages.extend(_message(message, index) for message in messages)
        for name, number in index.items():
            made.types.setdefault(name, number)
        for file in files:
            for service in file.services_by_name.values():
                for method in service.methods:
                    types = index[method.input_type.full_name], index[method.output_type.full_name]
                    made.methods.setdefault(f"{service.full_name}/{method.name}", types)
    return made


def _files(one: DescriptorSet) -> list[FileDescriptor]:
    """The files of a set, checked by protobuf."""
    try:
        told = FileDescriptorSet.FromString(one.content)
    except DecodeError:
        told = None
    if told is None or not told.file:
        raise DescriptorSetError.of(one.path, "not a FileDescriptorSet", MAKE)
    by_name = {file.name: file for file in told.file}
    pool = DescriptorPool()
    for file in _in_order(one.path, by_name):
        try:
            pool.Add(file)
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:_REASON]
            raise DescriptorSetError.of(
                one.path, f"protobuf refuses {file.name!r:.100} in it ({reason})", MAKE
            ) from None
    return [pool.FindFileByName(name) for name in by_name]


def _in_order(path: str, files: dict[str, FileDescriptorProto]) -> Iterator[FileDescriptorProto]:
    """Each file after those that it imports."""
    done: set[str] = set()
    for root in files:
        under_way = [root]
        while under_way:
            file = files[under_way[-1]]
            missing = [name for name in file.dependency if name not in done]
            if not missing or file.name in done:
                under_way.pop()
                if file.name not in done:
                    done.add(file.name)
                    yield file
            elif missing[0] not in files:
                raise DescriptorSetError.of(
                    path, f"{file.name!r:.100} imports {missing[0]!r:.100}, which is missing", MAKE
                )
            elif missing[0] in under_way:
                raise DescriptorSetError.of(path, f"{file.name!r:.100} imports itself", MAKE)
            else:
                under_way.append(missing[0])


def _messages(file: FileDescriptor) -> Iterator[Descriptor]:
    waiting = list(file.message_types_by_name.values())
    while waiting:
        message = waiting.pop()
        yield message
        waiting += message.nested_types


def _message(message: Descriptor, index: dict[str, int]) -> Message:
    extensions: list[Any] = message.file.pool.FindAllExtensions(message) if message.is_extendable else []
    fields = {field.number: _field(field, index) for field in (*message.fields, *extensions)}
    if message.has_options and message.GetOptions().map_entry:
        return Message(fields, Sort.ENTRY)
    return Message(fields, _SORTS.get(message.full_name, Sort.PLAIN))


def _field(field: FieldDescriptor, index: dict[str, int]) -> Field:
    type_ = -1 if field.message_type is None else index[field.message_type.full_name]
    return Field(msgspec.json.encode(field.name) + b":", _FORMS[field.type], type_)
