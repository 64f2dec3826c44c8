"""Capture files: both formats, their variants, and what is said of files that are none."""

from __future__ import annotations

import contextlib
import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Chunk, Close, Event, Open
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import MAX_PACKET
from apisensor.replay.source import RECORDING_MAGIC, ByteSource, open_file, recognise

from .packets import (
    CLIENT,
    SERVER,
    START_NS,
    SYN,
    block,
    capture,
    enhanced,
    ethernet,
    events,
    interface,
    option,
    pcap,
    section,
    stamped,
    tcp,
)

PACKETS = [
    tcp(CLIENT, SERVER, 10, None, SYN),
    tcp(SERVER, CLIENT, 20, 11, SYN),
    tcp(CLIENT, SERVER, 11, 21, 0, b"hello"),
    tcp(SERVER, CLIENT, 21, 16, 0, b"world"),
]
STAMPED = stamped(PACKETS, 1_000_001_001)


def told(content: bytes) -> tuple[list[Event], ReplayError | None]:
    """All events, and the error at the end, if any."""
    out: list[Event] = []
    try:
        for event in capture(content).events():
            out.append(event)
    except ReplayError as error:
        failure = error
    else:
        return out, None
    assert "\n" not in str(failure)
    return out, failure


def times(content: bytes) -> list[int]:
    return [event.time_ns - START_NS for event in events(content) if isinstance(event, Chunk)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcap_in_both_byte_orders_and_resolutions(order: str) -> None:
    assert times(pcap(STAMPED, order=order)) == [2_000_002_002, 3_000_003_003]
    assert times(pcap(STAMPED, order=order, nanoseconds=False)) == [2_000_002_000, 3_000_003_000]


def test_pcap_link_type_ignores_the_bits_of_the_frame_check_sequence() -> None:
    content = bytearray(pcap(STAMPED))
    content[20:24] = struct.pack("<I", 101 | 0x5400_0000)
    assert len(events(bytes(content))) == 3


def ng(order: str, *, link_type: int = 101, options: bytes = b"", unit: int = 1000) -> bytes:
    return (
        section(order)
        + interface(order, link_type, options)
        + b"".join(enhanced(order, 0, time_ns // unit, packet) for time_ns, packet in STAMPED)
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_in_both_byte_orders(order: str) -> None:
    assert times(ng(order)) == [2_000_002_000, 3_000_003_000]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_timestamp_resolutions(order: str) -> None:
    assert times(ng(order, options=option(order, 9, b"\x09"), unit=1)) == [2_000_002_002, 3_000_003_003]
    assert times(ng(order, options=option(order, 9, b"\x00"), unit=10**9)) == [2_000_000_000, 3_000_000_000]
    content = section(order) + interface(order, 101, option(order, 9, b"\x0a"))  # finer than ns
    content += b"".join(enhanced(order, 0, time_ns * 10 + 7, packet) for time_ns, packet in STAMPED)
    assert times(content) == [2_000_002_002, 3_000_003_003]
    content = section(order) + interface(order, 101, option(order, 9, b"\x8a"))  # 2^-10 s
    content += b"".join(enhanced(order, 0, (START_NS // 10**9 + n) * 1024 + 512, p) for n, p in enumerate(PACKETS))
    assert times(content) == [2_500_000_000, 3_500_000_000]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("offset", [3600, -3600])
def test_pcapng_timestamp_offset(order: str, offset: int) -> None:
    options = option(order, 2, b"eth0") + option(order, 14, struct.pack(f"{order}q", offset)) + option(order, 0, b"")
    assert times(ng(order, options=options)) == [2_000_002_000 + offset * 10**9, 3_000_003_000 + offset * 10**9]


def test_pcapng_interfaces_of_different_link_types_and_clocks() -> None:
    content = section() + interface("<", 101) + interface("<", 1, option("<", 9, b"\x09"))
    for number, (time_ns, packet) in enumerate(STAMPED):
        if number % 2:
            content += enhanced("<", 1, time_ns, ethernet(packet))
        else:
            content += enhanced("<", 0, time_ns // 1000, packet)
    assert times(content) == [2_000_002_000, 3_000_003_003]


def test_pcapng_sections_of_both_byte_orders_in_one_file() -> None:
    content = b""
    for order, part in (("<", STAMPED[:2]), (">", STAMPED[2:])):
        content += section(order) + interface(order, 101)
        content += b"".join(enhanced(order, 0, time_ns // 1000, packet) for time_ns, packet in part)
    assert len(events(content)) == 3


def test_pcapng_simple_packets_take_the_time_of_the_packet_before() -> None:
    content = section() + interface("<", 101) + enhanced("<", 0, START_NS // 1000, PACKETS[0])
    content += b"".join(block("<", 3, struct.pack("<I", len(packet)) + packet) for packet in PACKETS[1:])
    seen = capture(content)
    chunks = [event for event in seen.events() if isinstance(event, Chunk)]
    assert [chunk.time_ns for chunk in chunks] == [START_NS, START_NS]
    assert seen.counts == {"packets_without_time": 3}


@pytest.mark.parametrize("units", [2**63 // 1000, 2**64 - 1])
def test_pcapng_times_that_do_not_fit_are_the_time_of_the_packet_before(units: int) -> None:
    times = [START_NS // 1000, units, units, START_NS // 1000 + 5]
    blocks = (enhanced("<", 0, at, packet) for at, packet in zip(times, PACKETS, strict=True))
    content = section() + interface("<", 101) + b"".join(blocks)
    seen = capture(content)
    assert {event.time_ns for event in seen.events()} == {START_NS, START_NS + 5_000}
    assert seen.counts["packets_without_time"] == 2


def test_pcapng_simple_packets_are_cut_at_the_interface_snapshot_length() -> None:
    content = section() + interface("<", 101, snap=42)
    content += b"".join(block("<", 3, struct.pack("<I", len(packet)) + packet[:42]) for packet in PACKETS)
    seen = capture(content)
    assert [event.data for event in seen.events() if isinstance(event, Chunk)] == [b"he", b"wo"]
    assert seen.counts["snap_length_bytes"] == 6


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_obsolete_packet_blocks(order: str) -> None:
    content = section(order) + interface(order, 101)
    for time_ns, packet in STAMPED:
        units = time_ns // 1000
        head = struct.pack(f"{order}HHIIII", 0, 0, units >> 32, units & 0xFFFFFFFF, len(packet), len(packet))
        content += block(order, 2, head + packet)
    assert times(content) == [2_000_002_000, 3_000_003_000]


def test_pcapng_other_blocks_are_passed_over() -> None:
    content = section("<", option("<", 4, b"a program")) + block("<", 10, b"TLSK" + bytes(200_000))
    content += interface("<", 101) + block("<", 4, bytes(8)) + block("<", 0x0BAD, b"\1\2\3")
    content += b"".join(enhanced("<", 0, time_ns, packet) for time_ns, packet in STAMPED)
    assert len(events(content)) == 3


def test_pcapng_packets_that_the_capture_lost_are_counted() -> None:
    content = ng("<")
    for total in (3, 10):
        body = struct.pack("<III", 0, 0, 0) + option("<", 5, struct.pack("<Q", total)) + option("<", 7, bytes(8))
        content += block("<", 5, body)
    seen = capture(content)
    list(seen.events())
    assert seen.counts == {"packets_dropped_by_capture": 10}


@pytest.mark.parametrize("content", [pcap(STAMPED), ng("<"), ng(">")], ids=["pcap", "pcapng", "pcapng-big"])
def test_a_file_cut_anywhere_yields_what_came_before_and_says_where(content: bytes) -> None:
    whole = len(events(content))
    counts = set()
    for size in range(40, len(content)):
        out, error = told(content[:size])
        counts.add(len(out))
        assert len(out) < whole or error is not None
        if error is not None:
            assert "truncated" in str(error)
            assert "offset" in str(error)
        if out:
            assert isinstance(out[0], Open)
    assert counts == {0, 2}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (pcap(STAMPED) + struct.pack("<IIII", 0, 0, MAX_PACKET + 1, 5), "more than any packet"),
        (ng("<") + struct.pack("<II", 6, 13), "13 bytes"),
        (ng("<") + struct.pack("<II", 6, MAX_PACKET + 4), "more than any packet"),
        (ng("<") + block("<", 6, bytes(4)), "too short"),
        (ng("<") + enhanced("<", 1, 0, b""), "interface 1"),
        (ng("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 50, 50)), "does not fit"),
        (ng("<")[:-4] + bytes(4), "at its end"),
        (ng("<") + block("<", 0x0A0D0D0A, bytes(16)), "byte-order mark"),
        (ng("<") + interface("<", 1, struct.pack("<HH", 9, 900)), "longer than its block"),
        (ng("<") + interface("<", 1, option("<", 9, b"\1\2")), "wrong length"),
    ],
)
def test_a_corrupt_file_yields_what_came_before(content: bytes, says: str) -> None:
    out, error = told(content)
    assert len(out) >= 2
    assert error is not None
    assert says in str(error)
    assert "offset" in str(error)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([pcap(STAMPED), ng("<"), ng(">")]), st.data())
def test_any_damage_is_an_error_or_other_events_never_a_crash(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ReplayError):  # of the file header
        out, _error = told(bytes(damaged))
        opened = {event.flow for event in out if isinstance(event, Open)}
        assert {event.flow for event in out} == opened
        closed = [event.flow for event in out if isinstance(event, Close)]
        assert len(closed) == len(set(closed))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08\x00", "gzip-compressed: decompress it first"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd-compressed: decompress it first"),
        (b"\xfd7zXZ\x00", "xz-compressed"),
        (b"PK\x03\x04....", "zip archive"),
        (b"\xa1\xb2\xcd\x34" + bytes(20), "Kuznetzov"),
        (b"GET / HTTP/1.1\r\n", "starts with 'GET / HT'"),
        (b"\0\1\2\3\4\5\6\7\x08\x09", "starts with 00 01 02 03 04 05 06 07"),
        (b"\xd4\xc3", "truncated"),
        (RECORDING_MAGIC[:5], "truncated"),
    ],
)
def test_what_is_not_a_capture_is_named(content: bytes, says: str) -> None:
    with pytest.raises(ReplayError) as caught:
        recognise(ByteSource(io.BytesIO(content).read, "some.file"))
    assert says in str(caught.value)
    assert str(caught.value).startswith("some.file ")
    assert "\n" not in str(caught.value)


def test_formats_are_recognised_without_taking_bytes() -> None:
    for content, form in ((pcap([]), "pcap"), (ng("<"), "pcapng"), (RECORDING_MAGIC + b"xyz", "recording")):
        source = ByteSource(io.BytesIO(content).read, "f")
        assert recognise(source) == form
        assert source.take(len(content), "all of it") == content


def test_versions_that_are_not_known() -> None:
    content = bytearray(pcap(STAMPED))
    content[4] = 3
    with pytest.raises(ReplayError, match=r"version 3\.4"):
        capture(bytes(content))
    body = struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)
    assert "version 2.0" in str(told(block("<", 0x0A0D0D0A, body))[1])


def test_a_link_type_that_is_not_supported_is_named() -> None:
    with pytest.raises(ReplayError, match=r"link type 220 \(USB_LINUX_MMAPPED\)"):
        capture(pcap(STAMPED, 220))
    with pytest.raises(ReplayError, match="link type 4711,"):
        capture(pcap(STAMPED, 4711))


def test_other_interfaces_are_read_where_one_has_a_link_type_that_is_not_supported() -> None:
    content = section() + interface("<", 105) + interface("<", 101)
    content += enhanced("<", 0, 0, b"beacon")
    content += b"".join(enhanced("<", 1, time_ns // 1000, packet) for time_ns, packet in STAMPED)
    out, error = told(content)
    assert len(out) == 3
    assert "1 packets of link type 105 (IEEE802_11)" in str(error)


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="is a directory"):
        open_file(str(tmp_path))
    with pytest.raises(ReplayError, match="No such file"):
        open_file(str(tmp_path / "missing.pcap"))
    with pytest.raises(ReplayError, match="cannot be opened"):
        open_file("a\0b")


def test_a_file_that_fails_while_it_is_read() -> None:
    def fail(_count: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(ReplayError, match="beyond offset 0: Input/output error"):
        recognise(ByteSource(fail, "f"))


def test_a_source_that_returns_less_than_asked_for() -> None:
    content = io.BytesIO(pcap(STAMPED))
    source = ByteSource(lambda count: content.read(min(count, 3)), "pipe")
    assert recognise(source) == "pcap"
    assert source.take(24, "the file header")[:4] == b"\x4d\x3c\xb2\xa1"
