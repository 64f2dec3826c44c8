"""Ring records (bpf/event.h) to events.

The C structures are the only definition. The formats below are compared with the layout that the compiler chose
(`check_layouts`) whenever the sensor starts, and the enumerations with the C source in a test.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping
from typing import Any, Final

from apisensor.events.model import Address, Bind, Binding, Cause, Chunk, Close, Direction, End, Event, Gap, Open

RECORD_FIELDS: Final = {
    **{"time_ns": "Q", "flow": "Q", "position": "Q", "pid": "I", "length": "I"},
    **{"kind": "B", "direction": "B", "flags": "B", "detail": "B", "unused": "I"},
}
"""struct record: field and its format, in order."""
ENDPOINTS_FIELDS: Final = {
    **{"connection": "Q", "local": "16s", "remote": "16s"},
    **{"local_port": "H", "remote_port": "H", "unused": "I"},
}
"""struct endpoints."""
UNIX_IDENTITY_FIELDS: Final = {"pair": "Q", "inode": "Q"}
"""struct unix_identity, in the place of the local address."""
UNIX_NAMES_FIELDS: Final = {"local_length": "H", "remote_length": "H", "local": "108s", "remote": "108s"}
"""struct unix_names."""
NOTICE_FIELDS: Final = {
    "time_ns": "Q",
    "pid": "I",
    "parent": "I",
    "uid": "I",
    "kind": "I",
    "length": "I",
    "library": "I",
}
"""struct notice without its text, which is last."""
SKIP_FIELDS: Final = {"flow": "Q", "below": "16s", "unused": "Q"}
"""struct skip."""
GOVERNOR_FIELDS: Final = {"shed": "I", "bodies": "I"}
"""struct governor."""


def _struct(fields: Mapping[str, str]) -> struct.Struct:
    return struct.Struct("=" + "".join(fields.values()))


RECORD, ENDPOINTS, NOTICE, SKIP, GOVERNOR = map(
    _struct, (RECORD_FIELDS, ENDPOINTS_FIELDS, NOTICE_FIELDS, SKIP_FIELDS, GOVERNOR_FIELDS)
)
UNIX_IDENTITY, UNIX_NAMES = map(_struct, (UNIX_IDENTITY_FIELDS, UNIX_NAMES_FIELDS))

KIND_OPEN: Final = 1
KIND_BIND: Final = 2
KIND_CHUNK: Final = 3
KIND_GAP: Final = 4
KIND_END: Final = 5
KIND_CLOSE: Final = 6
FLAG_TLS: Final = 1
FLAG_CALL_START: Final = 2
FLAG_UNIX: Final = 4

_HEAD: Final = RECORD.size
_IPV4_MAPPED: Final = bytes(10) + b"\xff\xff"
_directions: Final = tuple(Direction)
_causes: Final = {cause.value: cause for cause in Cause}
_bindings: Final = {binding.value: binding for binding in Binding}


class LayoutError(Exception):
    """The kernel side and this decoder disagree about a record: they are of different versions."""


def check_layouts(layouts: Mapping[str, Any]) -> None:
    """Compares this module's formats with what the loader says of the C structures. Raises LayoutError."""
    for name, expected, whole in (
        ("layout_record", RECORD_FIELDS, True),
        ("layout_endpoints", ENDPOINTS_FIELDS, True),
        ("layout_unix_identity", UNIX_IDENTITY_FIELDS, True),
        ("layout_unix_names", UNIX_NAMES_FIELDS, True),
        ("layout_notice", NOTICE_FIELDS, False),
        ("skips", SKIP_FIELDS, True),
        ("governor", GOVERNOR_FIELDS, True),
    ):
        at = 0
        actual = [tuple(row) for row in layouts[name]["fields"]]
        for (field, format_), row in itertools.zip_longest(expected.items(), actual[: len(expected)]):
            size = struct.calcsize(format_)
            if row != (field, at, size):
                raise LayoutError(f"{name}: (field, offset, size) is {row}, the decoder expects {(field, at, size)}")
            at += size
        if whole and layouts[name]["size"] != at:
            raise LayoutError(f"{name}: {layouts[name]['size']} bytes, the decoder expects {at}")


def address(raw: bytes, port: int) -> Address:
    """An address of struct endpoints: 16 bytes, IPv4 as ::ffff:a.b.c.d."""
    if raw[:12] == _IPV4_MAPPED:
        a, b, c, d = raw[12:]
        return Address(f"{a}.{b}.{c}.{d}", port)
    return Address(_ipv6(raw), port)


def _ipv6(raw: bytes) -> str:
    """RFC 5952 text. Without a call into the resolver or `socket`, which the sandbox has no use for."""
    groups = struct.unpack(">8H", raw)
    best_at, best_length = -1, 1
    at = 0
    while at < 8:
        length = 0
        while at + length < 8 and groups[at + length] == 0:
            length += 1
        if length > best_length:
            best_at, best_length = at, length
        at += length or 1
    if best_at < 0:
        return ":".join(f"{group:x}" for group in groups)
    head = ":".join(f"{group:x}" for group in groups[:best_at])
    tail = ":".join(f"{group:x}" for group in groups[best_at + best_length :])
    return f"{head}::{tail}"


def unix_address(name: bytes, pair: int) -> Address:
    """An end of a unix socket: a path, perhaps with a NUL byte behind it; a NUL byte and an abstract name, which is
    written with @ as /proc/net/unix does it; or nothing."""
    text = name.replace(b"\0", b"@") if name[:1] == b"\0" else name.rstrip(b"\0")
    return Address(text.decode(errors="replace"), None, 0 if text else pair)


def _unix_ends(record: memoryview) -> tuple[int, Address, Address]:
    connection, identity, _, _, _, _ = ENDPOINTS.unpack_from(record, _HEAD)
    pair, _ = UNIX_IDENTITY.unpack(identity)
    local_length, remote_length, local, remote = UNIX_NAMES.unpack_from(record, _HEAD + ENDPOINTS.size)
    return connection, unix_address(local[:local_length], pair), unix_address(remote[:remote_length], pair)


def _ends(record: memoryview) -> tuple[int, Address, Address]:
    connection, local, remote, local_port, remote_port, _ = ENDPOINTS.unpack_from(record, _HEAD)
    return connection, address(local, local_port), address(remote, remote_port)


def decode(record: memoryview) -> Event:
    """One ring record as an event. Raises LayoutError for a kind it does not know."""
    time_ns, flow, position, pid, length, kind, direction, flags, detail, _ = RECORD.unpack_from(record)
    if kind == KIND_CHUNK:
        return Chunk(
            time_ns,
            pid,
            flow,
            _directions[direction],
            position,
            bytes(record[_HEAD : _HEAD + length]),
            flags & FLAG_TLS != 0,
            flags & FLAG_CALL_START != 0,
        )
    if kind == KIND_GAP:
        cause = _causes.get(detail, Cause.UNKNOWN)
        return Gap(time_ns, pid, flow, _directions[direction], position, length, cause, flags & FLAG_TLS != 0)
    if kind == KIND_END:
        return End(time_ns, pid, flow, _directions[direction])
    if kind == KIND_CLOSE:
        return Close(time_ns, pid, flow)
    if kind in (KIND_OPEN, KIND_BIND):
        ends = _unix_ends(record) if flags & FLAG_UNIX else _ends(record)
        make = Open if kind == KIND_OPEN else Bind
        return make(time_ns, pid, flow, *ends, _bindings[detail])
    raise LayoutError(f"record of unknown kind {kind}")
