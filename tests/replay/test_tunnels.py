"""TCP inside of tunnels: by hand in every form, with tshark as the judge, and as the kernel makes it."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from apisensor.events.model import Chunk, Gap
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.pcap import Packet
from apisensor.replay.segment import MAX_NESTED, SegmentDecoder
from apisensor.replay.tunnels import MAX_LABELS

from .packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    SYN,
    Streams,
    capture,
    ethernet,
    ethertype,
    ip,
    pcap,
    stamped,
    tcp,
)
from .tcpdump import needs_tcpdump, tcpdump
from .test_real_captures import EXPECTED, read

OUTER = ("10.0.0.1", "10.0.0.2")
OUTER6 = ("fd00::1", "fd00::2")


def outer(protocol: int, payload: bytes) -> bytes:
    return ip(*OUTER, protocol, payload)


def udp(port: int, payload: bytes) -> bytes:
    return outer(17, struct.pack(">HHHH", 50_000, port, 8 + len(payload), 0) + payload)


def gre(flags: int, options: bytes = b"") -> Callable[[bytes], bytes]:
    return lambda packet: outer(47, struct.pack(">HH", flags, ethertype(packet)) + options + packet)


def label(number: int, bottom: bool) -> bytes:
    return struct.pack(">I", number << 12 | bottom << 8 | 64)


def mpls(*labels: int) -> bytes:
    return b"".join(label(number, at == len(labels) - 1) for at, number in enumerate(labels))


def geneve(kind: int, options: bytes, inner: bytes) -> bytes:
    return udp(6081, struct.pack(">BBHI", len(options) // 4, 0, kind, 7 << 8) + options + inner)


TUNNELS: dict[str, Callable[[bytes], bytes]] = {
    "IP in IP": lambda packet: outer(4 if packet[0] >> 4 == 4 else 41, packet),
    "IP in IPv6": lambda packet: ip(*OUTER6, 4 if packet[0] >> 4 == 4 else 41, packet),
    "GRE": gre(0),
    "GRE, checksum": gre(0x8000, bytes(4)),
    "GRE, key": gre(0x2000, bytes(4)),
    "GRE, sequence": gre(0x1000, bytes(4)),
    "GRE, all": gre(0xB000, bytes(12)),
    "GRE, Ethernet": lambda packet: outer(47, b"\0\0\x65\x58" + ethernet(packet, [0x8100])),
    "GRE, MPLS": lambda packet: outer(47, b"\0\0\x88\x47" + mpls(16, 17) + packet),
    "VXLAN": lambda packet: udp(4789, b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet)),
    "VXLAN, VLAN inside": lambda packet: udp(4789, b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet, [0x8100])),
    "VXLAN, flannel's port": lambda packet: udp(8472, b"\x08\0\0\0\0\0\x01\0" + ethernet(packet)),
    "GENEVE": lambda packet: geneve(0x6558, b"", ethernet(packet)),
    "GENEVE, options": lambda packet: geneve(0x6558, b"\1\2\3\1" + bytes(4), ethernet(packet)),
    "GENEVE, IP": lambda packet: geneve(ethertype(packet), b"", packet),
    "MPLS in IP": lambda packet: outer(137, mpls(1000) + packet),
    "MPLS in UDP": lambda packet: udp(6635, mpls(1000, 2000) + packet),
    "VXLAN in GRE in IP": lambda packet: outer(4, gre(0)(udp(4789, b"\x08\0\0\0\0\0\x2a\0" + ethernet(packet)))),
}

FRAMES: dict[str, Callable[[bytes], bytes]] = {
    "MPLS": lambda packet: bytes(12) + b"\x88\x47" + mpls(100, 200, 300) + packet,
    "MPLS behind a VLAN": lambda packet: bytes(12) + b"\x81\x00\0\7\x88\x48" + mpls(100) + packet,
    **{name: lambda packet, wrap=wrap: ethernet(wrap(packet)) for name, wrap in TUNNELS.items()},  # type: ignore[misc]
}
"""All of them as Ethernet frames."""

PAYLOADS = [b"hello" * 40, b"world" * 60]


def talk(client: tuple[str, int], server: tuple[str, int]) -> list[bytes]:
    return [
        tcp(client, server, 10, None, SYN),
        tcp(server, client, 20, 11, SYN),
        tcp(client, server, 11, 21, 0, PAYLOADS[0]),
        tcp(server, client, 21, 11 + len(PAYLOADS[0]), 0, PAYLOADS[1]),
    ]


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["ipv4", "ipv6"])
def test_tunnels(name: str, client: tuple[str, int], server: tuple[str, int]) -> None:
    seen = capture(pcap(stamped([FRAMES[name](packet) for packet in talk(client, server)]), 1))
    assert [event.data for event in seen.events() if isinstance(event, Chunk)] == PAYLOADS
    assert (seen.not_examined, seen.counts) == ({}, {})


def test_another_reader_sees_the_same_in_these_packets(tmp_path: Path) -> None:
    """The packets above are what they say: tshark finds the same TCP payload in each."""
    path = tmp_path / "x.pcap"
    ends = [(CLIENT, SERVER), (CLIENT6, SERVER6)]
    frames = [wrap(packet) for wrap in FRAMES.values() for pair in ends for packet in talk(*pair)]
    path.write_bytes(pcap(stamped(frames), 1))
    command = ["tshark", "-n", "-r", str(path), "-d", "udp.port==8472,vxlan", "-d", "udp.port==6635,mpls"]
    told = subprocess.run([*command, "-T", "fields", "-e", "tcp.payload"], check=True, capture_output=True, text=True)
    assert [bytes.fromhex(line) for line in told.stdout.split()] == PAYLOADS * (len(FRAMES) * 2)


def decode(packet: bytes, link_type: int = 101) -> tuple[bytes | None, dict[str, int]]:
    counted: dict[str, int] = {}
    segment = SegmentDecoder(counted, {}, ReplayLimits()).decode(Packet(0, link_type, packet, len(packet)))
    return (None if segment is None else segment.payload), counted


INNER = tcp(CLIENT, SERVER, 1, 1, 0, b"payload")


@pytest.mark.parametrize(
    ("packet", "name"),
    [
        (outer(47, b"\x40\0\x08\0" + INNER), "gre_tunnel"),  # source routing
        (outer(47, b"\x20\1\x88\x0b" + INNER), "gre_tunnel"),  # PPTP
        (outer(47, b"\x10\0\x88\xbe" + bytes(4) + INNER), "erspan"),
        (udp(4789, bytes(8) + INNER), "vxlan_tunnel"),
        (udp(4790, b"\x0c\0\0\1" + bytes(4) + INNER), "vxlan_gpe_tunnel"),
        (udp(6081, b"\x40" + bytes(7) + INNER), "geneve_tunnel"),
        (udp(4789, b"\x08" + bytes(7) + bytes(12) + b"\x08\x06" + bytes(28)), "arp"),
        (outer(137, mpls(1) + bytes(4) + ethernet(INNER)), "mpls_tunnel"),
        (outer(137, label(1, False) * MAX_LABELS + mpls(1) + INNER), "mpls_tunnel"),
        (outer(4, ip(*OUTER, 17, struct.pack(">HHHH", 1, 53, 8, 0))), "udp"),
    ],
)
def test_what_is_not_looked_into_is_counted_by_name(packet: bytes, name: str) -> None:
    assert decode(packet) == (None, {name: 1})


def test_depth_is_bounded() -> None:
    packet = INNER
    for _ in range(MAX_NESTED - 1):
        packet = outer(4, packet)
    assert decode(packet) == (b"payload", {})
    assert decode(outer(4, packet)) == (None, {"nested_too_deep": 1})
    while len(packet) < 60_000:
        packet = outer(4, packet)
    assert decode(packet) == (None, {"nested_too_deep": 1})


@pytest.mark.parametrize("name", TUNNELS)
def test_a_cut_anywhere_is_counted_and_cut_payload_is_missing(name: str) -> None:
    whole = TUNNELS[name](INNER)
    for size in range(len(whole)):
        counted: dict[str, int] = {}
        segment = SegmentDecoder(counted, {}, ReplayLimits()).decode(Packet(0, 101, whole[:size], len(whole)))
        if segment is None:
            assert sum(counted.values()) == 1
        else:
            assert len(segment.payload) + segment.missing == 7
            assert b"payload".startswith(segment.payload)


def test_inside_and_outside_of_a_tunnel_is_one_connection() -> None:
    packets = [copy for packet in talk(CLIENT, SERVER) for copy in (packet, TUNNELS["VXLAN"](packet))]
    seen = capture(pcap(stamped(packets)))
    streams = Streams(seen.events())
    assert [streams.sent, streams.received] == PAYLOADS
    assert seen.flows == 1


@contextmanager
def two_nodes(family: str, mtu: int, tunnel_mtu: int) -> Iterator[tuple[list[str], list[str]]]:
    """Two network namespaces with a veth pair between them, and VXLAN over it: commands' prefixes for both.

    The first has 10.1.0.1 (fd01::1) on the wire and 10.2.0.1 (fd02::1) in the overlay, the second .2 of each.
    """
    names = [f"apisensor-{os.getpid()}-{letter}" for letter in "ab"]
    ends = [f"v{os.getpid()}{letter}" for letter in "ab"]
    wire, overlay = ("10.1.0.{}", "10.2.0.{}") if family == "4" else ("fd01::{}", "fd02::{}")
    bits = "24" if family == "4" else "64"
    with ExitStack() as undo:
        for name in names:
            subprocess.run(["ip", "netns", "add", name], check=True)
            undo.callback(subprocess.run, ["ip", "netns", "del", name], check=True)
        subprocess.run(["ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1]], check=True)
        for number, (name, end) in enumerate(zip(names, ends, strict=True), 1):
            subprocess.run(["ip", "link", "set", end, "netns", name], check=True)
            vxlan = ["type", "vxlan", "id", "42", "dstport", "4789"]
            ends_of = ["local", wire.format(number), "remote", wire.format(3 - number)]
            for command in (
                ["addr", "add", f"{wire.format(number)}/{bits}", "dev", end, *(["nodad"] if family == "6" else [])],
                ["link", "set", end, "mtu", str(mtu), "up"],
                ["link", "add", "vx", *vxlan, *ends_of],
                ["link", "set", "vx", "mtu", str(tunnel_mtu), "up"],
                ["addr", "add", f"{overlay.format(number)}/{bits}", "dev", "vx", *(["nodad"] if family == "6" else [])],
            ):
                subprocess.run(["ip", "-n", name, *command], check=True)
        yield ["ip", "netns", "exec", names[0]], ["ip", "netns", "exec", names[1]]


def converse_between(client: list[str], server: list[str], address: str, port: int = 8080) -> None:
    module = "from tests.replay.test_real_captures import listen, call; "
    with subprocess.Popen(
        [*server, sys.executable, "-c", f"{module}listen({address!r}, {port})"], stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        assert serving.stdout.readline() == "listening\n"
        subprocess.run([*client, sys.executable, "-c", f"{module}call({address!r}, {port})"], check=True, timeout=60)
        assert serving.wait(60) == 0


@needs_tcpdump
@pytest.mark.parametrize("family", ["4", "6"])
def test_vxlan_as_the_kernel_makes_it(tmp_path: Path, family: str) -> None:
    address = "10.2.0.2" if family == "4" else "fd02::2"
    path = tmp_path / "x.pcap"
    # Only what is on the wire: the overlay's own packets are left out.
    with (
        two_nodes(family, 1500, 1400) as (client, server),
        tcpdump(path, "udp port 4789", "-i", "any", prefix=client),
    ):
        converse_between(client, server, address)
    seen, told = read(path)
    streams = Streams(told)
    assert (streams.sent, streams.received) == EXPECTED
    assert not any(isinstance(event, Gap) for event in told)
    assert set(seen.not_examined) <= {"arp", "icmpv6"}
    assert set(seen.counts) <= {"retransmitted_bytes"}
