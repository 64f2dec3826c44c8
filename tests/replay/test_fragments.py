"""IP fragments: by hand in any order, with what an attacker may do, and as the kernel makes them."""

from __future__ import annotations

import itertools
import os
import random
import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Gap
from apisensor.replay.fragments import Fragments
from apisensor.replay.limits import ReplayLimits

from .packets import CLIENT, CLIENT6, SERVER, SERVER6, SYN, Streams, capture, ethernet, pcap, stamped, tcp
from .tcpdump import needs_tcpdump, tcpdump
from .test_real_captures import EXPECTED, read
from .test_tunnels import converse_between, two_nodes

LIMITS = ReplayLimits()


def fragments(packet: bytes, sizes: list[int], identification: int = 7) -> list[bytes]:
    """An IP packet in fragments of these sizes of its payload, the last one with the rest."""
    head = 20 if packet[0] >> 4 == 4 else 40
    payload = packet[head:]
    out, at = [], 0
    for size in [*sizes, len(payload)]:
        part = payload[at : at + size]
        more = at + len(part) < len(payload)
        if head == 20:
            field = at // 8 | more << 13
            first = struct.pack(">BBHHH", 0x45, 0, 20 + len(part), identification, field)
            out.append(first + packet[8:20] + part)
        else:
            extension = struct.pack(">BBHI", packet[6], 0, at | more, identification)
            out.append(packet[:4] + struct.pack(">HB", 8 + len(part), 44) + packet[7:40] + extension + part)
        at += size
        if not more:
            break
    return out


def talk(client: tuple[str, int], server: tuple[str, int], payload: bytes) -> list[bytes]:
    return [
        tcp(client, server, 10, None, SYN),
        tcp(server, client, 20, 11, SYN),
        tcp(client, server, 11, 21, 0, payload),
        tcp(server, client, 21, 11 + len(payload), 0),
    ]


@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["ipv4", "ipv6"])
def test_fragments_in_every_order(client: tuple[str, int], server: tuple[str, int]) -> None:
    payload = bytes(range(200))
    syn, answer, request, ack = talk(client, server, payload)
    for order in itertools.permutations(fragments(request, [24, 80, 8])):
        seen = capture(pcap(stamped([syn, answer, *order, ack])))
        assert Streams(seen.events()).sent == payload
        assert (seen.counts, seen.not_examined) == ({}, {})


def test_fragments_of_several_packets_at_once() -> None:
    payload = bytes(range(250))
    packets = [tcp(CLIENT, SERVER, 1, None, SYN), tcp(SERVER, CLIENT, 20, 2, SYN)]
    parts = []
    for number in range(10):
        segment = tcp(CLIENT, SERVER, 2 + number * 25, 21, 0, payload[number * 25 : number * 25 + 25])
        parts += fragments(segment, [16, 8], number)
    random.Random(1).shuffle(parts)
    seen = capture(pcap(stamped([*packets, *parts])))
    assert Streams(seen.events()).sent == payload


def test_each_fragment_twice_as_two_interfaces_see_it() -> None:
    payload = bytes(range(200))
    syn, answer, request, ack = talk(CLIENT, SERVER, payload)
    parts = [part for part in fragments(request, [24, 80]) for _ in range(2)]
    seen = capture(pcap(stamped([syn, answer, *parts, ack])))
    assert Streams(seen.events()).sent == payload
    assert seen.counts == {"fragments_repeated": 3}


def test_an_identification_used_again_is_another_packet() -> None:
    requests = [tcp(CLIENT, SERVER, 2 + 100 * n, 21, 0, bytes([n]) * 100) for n in range(3)]
    packets = [tcp(CLIENT, SERVER, 1, None, SYN), tcp(SERVER, CLIENT, 20, 2, SYN)]
    packets += [part for request in requests for part in fragments(request, [40, 40])]
    seen = capture(pcap(stamped(packets)))
    assert Streams(seen.events()).sent == b"".join(bytes([n]) * 100 for n in range(3))
    assert seen.counts == {}


def test_a_fragment_that_was_not_captured_costs_its_packet_and_is_said() -> None:
    payload = bytes(range(200))
    syn, answer, request, ack = talk(CLIENT, SERVER, payload)
    parts = fragments(request, [24, 80])
    seen = capture(pcap(stamped([syn, answer, parts[0], parts[2], ack])))
    told = list(seen.events())
    assert [(event.position, event.length) for event in told if isinstance(event, Gap)] == [(0, 200)]
    assert seen.counts == {"fragments_incomplete": 2, "segments_missing_bytes": 200}


def test_fragments_cut_by_the_snapshot_length_are_said() -> None:
    payload = bytes(range(200))
    syn, answer, request, ack = talk(CLIENT, SERVER, payload)
    seen = capture(pcap(stamped([syn, answer, *fragments(request, [24, 80]), ack]), snap=80))
    told = list(seen.events())
    assert [(event.position, event.length) for event in told if isinstance(event, Gap)] == [(0, 200)]
    assert seen.counts == {"fragments_cut": 2, "fragments_incomplete": 1, "segments_missing_bytes": 200}


def joined(parts: list[tuple[int, bytes, bool]], limits: ReplayLimits = LIMITS) -> tuple[bytes | None, dict[str, int]]:
    """What becomes of fragments (offset, bytes, more) of one packet."""
    counts: dict[str, int] = {}
    table = Fragments(limits, counts)
    whole = None
    for offset, data, more in parts:
        found = table.add(b"k", 0, 6, offset, more, data)
        whole = whole if found is None else found[1]
    table.finish()
    assert table.buffered == 0
    return whole, counts


A, B, C = b"A" * 8, b"B" * 8, b"C" * 8


@pytest.mark.parametrize(
    ("parts", "whole", "counts"),
    [
        ([(0, A + B, True), (0, A, True), (16, C, False)], A + B + C, {"fragments_repeated": 1}),
        ([(0, A + B, True), (8, C, True), (16, C, False)], A + B + C, {"fragments_that_differ": 1}),
        # Partly over each other: Linux drops the packet, and what comes later is the beginning of another one.
        ([(0, A + B, True), (8, B + C, False)], None, {"fragments_overlapping": 2}),
        (
            [(8, B + C, True), (0, A + B, True), (24, A, False)],
            None,
            {"fragments_overlapping": 2, "fragments_incomplete": 1},
        ),
        ([(8, B, True), (0, A + A + A, False)], None, {"fragments_overlapping": 2}),
        # Two ends.
        ([(16, C, False), (8, B, False)], None, {"fragments_overlapping": 2}),
        ([(8, B, False), (16, C, True)], None, {"fragments_overlapping": 2}),
        ([(16, C, True), (8, B, False)], None, {"fragments_overlapping": 2}),
        # What no packet has.
        ([(0, b"", True)], None, {"fragments_malformed": 1}),
        ([(0, b"odd", True)], None, {"fragments_malformed": 1}),
        ([(65_528, A, False)], None, {"fragments_malformed": 1}),
    ],
)
def test_hostile_fragments(parts: list[tuple[int, bytes, bool]], whole: bytes | None, counts: dict[str, int]) -> None:
    assert joined(parts) == (whole, counts)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=30), st.randoms(use_true_random=False), st.data())
def test_any_cut_in_any_order_with_repeats(sizes: list[int], chance: random.Random, data: st.DataObject) -> None:
    content = chance.randbytes(8 * sum(sizes) - data.draw(st.integers(0, 7)))
    parts, at = [], 0
    for size in sizes:
        part = content[at : at + 8 * size]
        parts.append((at, part, at + len(part) < len(content)))
        at += 8 * size
    parts += data.draw(st.lists(st.sampled_from(parts), max_size=5))
    chance.shuffle(parts)
    whole, counts = joined(parts)
    assert whole == content
    assert set(counts) <= {"fragments_repeated"}


def test_a_bomb_of_fragments_is_bounded_and_counted() -> None:
    """Last fragments of a million packets, each of which would need 64 KiB: what waits stays within the limit."""
    counts: dict[str, int] = {}
    limits = ReplayLimits(fragment_bytes=1 << 20)
    table = Fragments(limits, counts)
    tracemalloc.start()
    for number in range(5_000):
        table.add(b"%d" % number, number, 6, 65_512, False, b"12345678")
        assert table.buffered <= limits.fragment_bytes
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * limits.fragment_bytes
    table.finish()
    assert counts["fragments_evicted"] + counts["fragments_incomplete"] == 5_000


def test_many_tiny_fragments_of_one_packet_are_bounded() -> None:
    """Every second piece of 8 bytes: the most runs that a packet can have."""
    counts: dict[str, int] = {}
    table = Fragments(ReplayLimits(fragment_bytes=200_000), counts)
    for offset in range(65_504, -1, -16):
        table.add(b"k", 0, 6, offset, True, b"12345678")
        assert table.buffered <= 200_000
    assert counts["fragments_evicted"] > 1_000


def test_fragments_wait_for_so_long_and_no_longer() -> None:
    counts: dict[str, int] = {}
    table = Fragments(LIMITS, counts)
    assert table.add(b"k", 0, 6, 0, True, A) is None
    assert table.add(b"k", LIMITS.fragment_ns - 1, 6, 8, False, B) == (6, A + B)
    assert table.add(b"l", 0, 6, 0, True, A) is None
    assert table.add(b"l", 3 * LIMITS.fragment_ns, 6, 8, False, B) is None
    assert counts == {"fragments_incomplete": 1}


def fragments_in(path: Path) -> int:
    """How many there are in a capture, as tcpdump counts them."""
    command = ["tcpdump", "--count", "-r", str(path), "ip[6:2] & 0x3fff != 0 or ip6[6] == 44"]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[0])


@needs_tcpdump
def test_ipv4_fragments_as_the_kernel_makes_them(tmp_path: Path) -> None:
    """An overlay whose packets are larger than the wire's: each VXLAN packet leaves in several fragments."""
    path = tmp_path / "x.pcap"
    # The overlay's own packets, which are whole, are left out; fragments after the first have no ports.
    wanted = "udp port 4789 or ip[6:2] & 0x3fff != 0"
    with two_nodes("4", 1280, 4000) as (client, server), tcpdump(path, wanted, "-i", "any", prefix=server):
        converse_between(client, server, "10.2.0.2")
    seen, told = read(path)
    streams = Streams(told)
    assert (streams.sent, streams.received) == EXPECTED
    assert not any(isinstance(event, Gap) for event in told)
    assert set(seen.counts) <= {"retransmitted_bytes", "fragments_repeated"}
    assert fragments_in(path) > 1  # few: TCP soon learns what the path takes


@needs_tcpdump
def test_ipv6_fragments_as_the_kernel_makes_them(tmp_path: Path) -> None:
    """The kernel's own VXLAN does not fragment over IPv6, but a program's datagrams it does."""
    path, name, payload = tmp_path / "x.pcap", f"apisensor-{os.getpid()}-f", bytes(range(256)) * 12
    frames = [b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet) for packet in talk(CLIENT6, SERVER6, payload)]
    send = "import socket, sys; one = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); " + "".join(
        f"one.sendto(bytes.fromhex({frame.hex()!r}), ('::1', 4789)); " for frame in frames
    )
    prefix = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*prefix, "ip", "link", "set", "lo", "mtu", "1280", "up"], check=True)
        with tcpdump(path, "ip6 and not icmp6", "-i", "lo", prefix=prefix):
            subprocess.run([*prefix, sys.executable, "-c", send], check=True)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    seen, told = read(path)
    assert Streams(told).sent == payload
    assert seen.counts == {}
    assert fragments_in(path) == 3
