"""Records of the kernel side to events, and the C source against the numbers that Python has."""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.capture import counters, observer
from apisensor.events import decode as decoder
from apisensor.events.decode import (
    ENDPOINTS,
    RECORD,
    UNIX_IDENTITY,
    UNIX_NAMES,
    LayoutError,
    address,
    check_layouts,
    decode,
)
from apisensor.events.model import Address, Bind, Binding, Cause, Chunk, Close, Direction, End, Gap, Open

BPF = Path(__file__).parents[2] / "bpf"


def _enum(file: str, prefix: str) -> dict[str, int]:
    """Members of the C enumerations that begin so, without the prefix."""
    found = re.findall(rf"\b{prefix}_(\w+) = (\d+)", (BPF / file).read_text())
    return {name: int(value) for name, value in found}


def test_causes_are_those_of_the_kernel_side() -> None:
    causes = _enum("event.h", "CAUSE")
    assert causes
    assert {name: Cause[name].value for name in causes} == causes


def test_bindings_are_those_of_the_kernel_side() -> None:
    bindings = _enum("event.h", "BINDING")
    assert bindings
    assert {name: Binding[name].value for name in bindings} == bindings


def test_kinds_and_flags_are_those_of_the_kernel_side() -> None:
    kinds = _enum("event.h", "KIND")
    assert {f"KIND_{name}": value for name, value in kinds.items()} == {
        name: value for name, value in vars(decoder).items() if name.startswith("KIND_")
    }
    assert _enum("event.h", "DIRECTION") == {member.name: member.value for member in Direction}
    flags = _enum("event.h", "FLAG")
    assert flags == {"TLS": decoder.FLAG_TLS, "CALL_START": decoder.FLAG_CALL_START, "UNIX": decoder.FLAG_UNIX}


def test_notices_are_those_of_the_kernel_side() -> None:
    notices = _enum("event.h", "NOTICE")
    assert notices
    assert {f"NOTICE_{name}": value for name, value in notices.items()} == {
        name: value for name, value in vars(observer).items() if name.startswith("NOTICE_")
    }


def test_every_counter_has_its_public_name() -> None:
    counts = _enum("maps.h", "COUNT")
    size = counts.pop("SIZE")
    assert sorted(counts.values()) == list(range(size))
    assert len(counters.NAMES) == size
    # A few whose place would be noticed by nobody.
    assert counters.NAMES[counts["RING_FULL_RECORDS"]] == "kernel.lost.ring_full"
    assert counters.NAMES[counts["NEVER_BYTES"]] == "kernel.never_bytes"
    assert counters.NAMES[counts["MAP_FULL_BYTES"]] == "kernel.lost.map_full_bytes"


def _record(kind: int, *, length: int = 0, flags: int = 0, detail: int = 0, direction: int = 0) -> bytes:
    return RECORD.pack(1000, 7, 40, 99, length, kind, direction, flags, detail, 0)


def test_a_chunk_has_exactly_its_bytes() -> None:
    stale = b"left over from another record"
    raw = _record(3, length=5, flags=3, direction=1) + b"hello" + stale
    expected = Chunk(1000, 99, 7, Direction.RECEIVE, 40, b"hello", tls=True, call_start=True)
    assert decode(memoryview(raw)) == expected


def test_the_other_kinds() -> None:
    local, remote = ipaddress.ip_address("::1").packed, b"\0" * 10 + b"\xff\xff" + bytes([10, 0, 0, 7])
    ends = ENDPOINTS.pack(5, local, remote, 443, 51000, 0)
    open_, bind = decode(memoryview(_record(1) + ends)), decode(memoryview(_record(2, detail=3, flags=1) + ends))
    assert open_ == Open(1000, 99, 7, 5, Address("::1", 443), Address("10.0.0.7", 51000), Binding.SOCKET)
    assert bind == Bind(1000, 99, 7, 5, Address("::1", 443), Address("10.0.0.7", 51000), Binding.CIPHERTEXT)
    assert decode(memoryview(_record(4, length=9, detail=2))) == Gap(
        1000, 99, 7, Direction.SEND, 40, 9, Cause.COPY_FAULT, tls=False
    )
    assert decode(memoryview(_record(5, direction=1))) == End(1000, 99, 7, Direction.RECEIVE)
    assert decode(memoryview(_record(6))) == Close(1000, 99, 7)


STALE = b"left over from another record" * 4


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"/run/shop.socket\0", "/run/shop.socket"),
        (b"/run/no-nul", "/run/no-nul"),
        (b"/" + b"x" * 107, "/" + "x" * 107),
        (b"relative", "relative"),
        (b"\0abstract\0name", "@abstract@name"),
        (b"/run/\xff\0", "/run/\ufffd"),
    ],
)
def test_ends_of_unix_sockets_have_names_and_no_ports(raw: bytes, name: str) -> None:
    """And an end without a name has the number that both ends know."""
    ends = ENDPOINTS.pack(5, UNIX_IDENTITY.pack(77, 12), bytes(16), 0, 0, 0)
    server = UNIX_NAMES.pack(len(raw), 0, (raw + STALE)[:108], STALE[:108])
    client = UNIX_NAMES.pack(0, len(raw), STALE[:108], (raw + STALE)[:108])
    named, unnamed = Address(name, None), Address("", None, 77)
    assert decode(memoryview(_record(1, flags=4) + ends + server)) == Open(1000, 99, 7, 5, named, unnamed)
    found = decode(memoryview(_record(2, flags=5, detail=2) + ends + client + b"more room in the ring"))
    assert found == Bind(1000, 99, 7, 5, unnamed, named, Binding.NESTED)


def test_an_unknown_kind_is_said() -> None:
    with pytest.raises(LayoutError, match="kind 77"):
        decode(memoryview(_record(77)))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 65535))
def test_addresses_are_written_as_the_standard_library_writes_them(raw: bytes, port: int) -> None:
    parsed = ipaddress.IPv6Address(raw)
    expected = str(parsed.ipv4_mapped) if parsed.ipv4_mapped else parsed.compressed
    if not parsed.ipv4_mapped and re.search(r"\d\.\d", expected):
        return
    assert address(raw, port) == Address(expected, port)


def _layout(fields: dict[str, str]) -> dict[str, Any]:
    at, rows = 0, []
    for name, format_ in fields.items():
        rows.append([name, at, struct.calcsize(format_)])
        at += struct.calcsize(format_)
    return {"fields": rows, "size": at}


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: {**fields, "length": "Q"},
        lambda fields: {**fields, "new": "I"},
        lambda fields: dict(sorted(fields.items())),
        lambda fields: {name: format_ for name, format_ in fields.items() if name != "flags"},
    ],
)
def test_another_layout_is_refused(change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    layouts = {
        "layout_record": _layout(decoder.RECORD_FIELDS),
        "layout_endpoints": _layout(decoder.ENDPOINTS_FIELDS),
        "layout_unix_identity": _layout(decoder.UNIX_IDENTITY_FIELDS),
        "layout_unix_names": _layout(decoder.UNIX_NAMES_FIELDS),
        "layout_notice": _layout({**decoder.NOTICE_FIELDS, "text": "1024s"}),
        "skips": _layout(decoder.SKIP_FIELDS),
        "governor": _layout(decoder.GOVERNOR_FIELDS),
    }
    check_layouts(layouts)
    layouts["layout_record"] = _layout(change(decoder.RECORD_FIELDS))
    with pytest.raises(LayoutError, match="layout_record"):
        check_layouts(layouts)
