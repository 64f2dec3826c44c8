"""What descriptor sets say of gRPC's methods and messages, as plain tables.

descriptor_sets makes them, named_messages reads messages by them. They travel from one process to another as msgpack.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

MAKE = "make it with `protoc --include_imports --descriptor_set_out=FILE ...` or `buf build -o FILE.binpb`"
LEAVE_OUT = "leave out what is not called"
"""What to do about a set that cannot be used."""


class Form:
    """How a field's value is written, and what is to be made of it. Plain integers: they are compared often."""

    TEXT: Final = 0
    OCTETS: Final = 1
    """Text, a message or neither: the octets say."""
    MESSAGE: Final = 2
    """With its length before it, or as a group."""
    SIGNED: Final = 3
    UNSIGNED: Final = 4
    ZIGZAG: Final = 5
    FIXED32: Final = 6
    SFIXED32: Final = 7
    FIXED64: Final = 8
    SFIXED64: Final = 9
    FLOAT: Final = 10
    DOUBLE: Final = 11
    SILENT: Final = 12
    """A varint whose value says nothing about anybody: bool, enum."""


class Sort:
    """What a message is in the JSON form of protobuf."""

    PLAIN: Final = 0
    ENTRY: Final = 1
    """Of a map: key and value."""
    INLINE: Final = 2
    """A wrapper: its value stands in its place."""
    ANY: Final = 3
    """Name of a type, and a message of that type."""


class Field(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One field of a message."""

    key: bytes
    """Its name in quotation marks with a colon: the key of a member of a JSON object."""
    form: int
    type: int = -1
    """Index of the message's type; of MESSAGE only."""

    @property
    def name(self) -> bytes:
        return self.key[1:-2]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One type of message."""

    fields: dict[int, Field]
    sort: int = Sort.PLAIN


class Descriptions(msgspec.Struct, frozen=True, array_like=True):
    """Everything that the descriptor sets say."""

    messages: list[Message]
    types: dict[str, int]
    """Full name of a type: its index in `messages`."""
    methods: dict[str, tuple[int, int]]
    """"package.Service/Method": types of its requests and of its responses."""

    def method(self, target: bytes | None) -> tuple[int, int] | None:
        """Types of the requests and the responses of a request target; None: nothing describes it.

        The last two segments count: a proxy may put others before them, as of gRPC-Web.
        """
        segments = (target or b"").partition(b"?")[0].rsplit(b"/", 2)
        if len(segments) < 3:
            return None
        return self.methods.get(b"/".join(segments[1:]).decode("latin-1"))


class DescriptorSetError(Exception):
    """A descriptor set cannot be used. One line: the file, what is wrong, what to do."""

    @classmethod
    def of(cls, path: str, wrong: str, remedy: str) -> DescriptorSetError:
        return cls(f"descriptor set {path if path.isprintable() else ascii(path)}: {wrong}; {remedy}")


class DescriptorSet(NamedTuple):
    """A file's content, and its path for errors."""

    path: str
    content: bytes
