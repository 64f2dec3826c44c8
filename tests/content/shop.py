"""The descriptor set of protos/, made by protoc, and what protobuf's own classes make of it."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2, struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from apisensor.content.described import Descriptions, DescriptorSet
from apisensor.content.descriptor_sets import descriptions

PROTOS = Path(__file__).parent / "protos"


def compiled(*options: str) -> bytes:
    """What `protoc` writes with these options."""
    with tempfile.TemporaryDirectory() as folder:
        out, known = Path(folder) / "set", Path(folder) / "known"
        known.write_bytes(_well_known())
        ways = [f"--proto_path={PROTOS}", f"--descriptor_set_in={known}", f"--descriptor_set_out={out}"]
        command = ["protoc", *ways, *options, "shop.proto"]
        subprocess.run(command, check=True, timeout=60)
        return out.read_bytes()


def _well_known() -> bytes:
    """The types that come with protobuf: Debian has their sources in another package than protoc."""
    known = FileDescriptorSet()
    for module in (any_pb2, struct_pb2, wrappers_pb2):
        module.DESCRIPTOR.CopyToProto(known.file.add())
    return known.SerializeToString()


@cache
def shop_set() -> bytes:
    return compiled("--include_imports")


@cache
def shop() -> Descriptions:
    return descriptions([DescriptorSet("shop", shop_set())])


@cache
def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(shop_set()).file:
        pool.Add(file)
    return pool


def message_class(name: str) -> Any:
    """protobuf's own class of a type, by its full name."""
    return GetMessageClass(_pool().FindMessageTypeByName(name))


def message(type_: str, /, **fields: Any) -> Any:
    """A message of a type of protos/."""
    package = "older.v1" if type_ == "Older" else "shop.v1"
    return message_class(f"{package}.{type_}")(**fields)
