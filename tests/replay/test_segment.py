"""Every link type and IP variant around the same TCP segments; what is not looked into is counted by name."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.events.model import Chunk
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.link import LINK_TYPES
from apisensor.replay.pcap import Packet
from apisensor.replay.segment import SegmentDecoder

from .packets import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    SYN,
    Endpoint,
    capture,
    ethernet,
    ethertype,
    ip,
    pcap,
    stamped,
    tcp,
)


def talk(client: Endpoint, server: Endpoint) -> list[bytes]:
    return [
        tcp(client, server, 10, None, SYN, b"", b"\x02\x04\x05\xb4"),
        tcp(server, client, 20, 11, SYN),
        tcp(client, server, 11, 21, 0, b"hello", b"\x01\x01\x08\x0a" + bytes(8)),
        tcp(server, client, 21, 16, 0, b"world"),
    ]


def null(packet: bytes, order: str, families: tuple[int, int]) -> bytes:
    return struct.pack(f"{order}I", families[packet[0] >> 4 == 6]) + packet


def cooked_v1(packet: bytes) -> bytes:
    return struct.pack(">HHH8sH", 0, 1, 6, bytes(8), ethertype(packet)) + packet


def cooked_v2(packet: bytes) -> bytes:
    return struct.pack(">HHIHBB8s", ethertype(packet), 0, 3, 1, 0, 6, bytes(8)) + packet


def ppp(packet: bytes, first: bytes = b"\0") -> bytes:
    return first + (b"\x57" if packet[0] >> 4 == 6 else b"\x21") + packet


def pppoe(packet: bytes, code: int = 0) -> bytes:
    return struct.pack(">BBHH", 0x11, code, 7, len(packet) + 2) + ppp(packet)


def cisco_hdlc(packet: bytes) -> bytes:
    return struct.pack(">BBH", 0x0F, 0, ethertype(packet)) + packet


def nflog(packet: bytes, order: str) -> bytes:
    """As Linux logs: the packet's header, a prefix, the packet."""
    values = ((1, b"\x08\0\0\0"), (10, b"web\0"), (9, packet), (11, bytes(4)))
    coded = (struct.pack(f"{order}HH", len(value) + 4, kind) + value + bytes(-len(value) % 4) for kind, value in values)
    return bytes((10 if packet[0] >> 4 == 6 else 2, 0, 0, 5)) + b"".join(coded)


LINKS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "ethernet": (1, ethernet),
    "ethernet, padded": (1, lambda packet: ethernet(packet, padding=14)),
    "802.1Q": (1, lambda packet: ethernet(packet, [0x8100])),
    "802.1ad": (1, lambda packet: ethernet(packet, [0x88A8, 0x8100])),
    "four tags": (1, lambda packet: ethernet(packet, [0x9100, 0x9200, 0x8100, 0x8100])),
    "raw": (101, bytes),
    "raw (12)": (12, bytes),
    "raw (14)": (14, bytes),
    "cooked v1": (113, cooked_v1),
    "cooked v1, tagged": (113, lambda p: cooked_v1(p)[:14] + struct.pack(">HHH", 0x8100, 7, ethertype(p)) + p),
    "cooked v2": (276, cooked_v2),
    "cooked v2, tagged": (276, lambda p: b"\x81\x00" + cooked_v2(p)[2:20] + struct.pack(">HH", 7, ethertype(p)) + p),
    "null, Linux": (0, lambda packet: null(packet, "<", (2, 10))),
    "null, Darwin": (0, lambda packet: null(packet, "<", (2, 30))),
    "null, big-endian": (0, lambda packet: null(packet, ">", (2, 24))),
    "PPP": (9, ppp),
    "PPP, in HDLC": (9, lambda packet: b"\xff\x03" + ppp(packet)),
    "PPP, compressed": (9, lambda packet: b"\xff\x03" + ppp(packet, b"")),
    "PPP in HDLC": (50, lambda packet: b"\xff\x03" + ppp(packet)),
    "Cisco's HDLC as PPP": (50, cisco_hdlc),
    "Cisco's HDLC": (104, cisco_hdlc),
    "PPPoE": (51, pppoe),
    "PPPoE in Ethernet": (1, lambda packet: bytes(12) + b"\x88\x64" + pppoe(packet)),
    "PPPoE in a VLAN": (1, lambda packet: bytes(12) + b"\x81\0\0\x07\x88\x64" + pppoe(packet)),
    "netfilter's log": (239, lambda packet: nflog(packet, "<")),
    "netfilter's log, big-endian": (239, lambda packet: nflog(packet, ">")),
    "loop": (108, lambda packet: null(packet, ">", (2, 28))),
}


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize(("client", "server"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["ipv4", "ipv6"])
def test_link_types(name: str, client: Endpoint, server: Endpoint) -> None:
    link_type, wrap = LINKS[name]
    seen = capture(pcap(stamped([wrap(packet) for packet in talk(client, server)]), link_type))
    assert [event.data for event in seen.events() if isinstance(event, Chunk)] == [b"hello", b"world"]
    assert seen.not_examined == {}


@pytest.mark.parametrize(("link_type", "ends"), [(228, (CLIENT, SERVER)), (229, (CLIENT6, SERVER6))])
def test_link_types_of_one_ip_version(link_type: int, ends: tuple[Endpoint, Endpoint]) -> None:
    seen = capture(pcap(stamped(talk(*ends)), link_type))
    assert [event.data for event in seen.events() if isinstance(event, Chunk)] == [b"hello", b"world"]


def test_every_link_type_has_a_test() -> None:
    assert set(LINK_TYPES) == {link_type for link_type, _ in LINKS.values()} | {228, 229}


def decode(packet: bytes, link_type: int = 101, length: int | None = None) -> tuple[bytes | None, dict[str, int]]:
    """The segment's payload, and what was counted."""
    counted: dict[str, int] = {}
    whole = Packet(0, link_type, packet, len(packet) if length is None else length)
    segment = SegmentDecoder(counted, {}, ReplayLimits()).decode(whole)
    return (None if segment is None else segment.payload), counted


SEGMENT4 = tcp(CLIENT, SERVER, 1, 1, 0, b"payload")[20:]
SEGMENT6 = tcp(CLIENT6, SERVER6, 1, 1, 0, b"payload")[40:]


def ip6(following: int, body: bytes) -> bytes:
    return ip(CLIENT6[0], SERVER6[0], following, body)


def test_ipv4_options_and_authentication_header() -> None:
    assert decode(ip(CLIENT[0], SERVER[0], 6, SEGMENT4, options=bytes(40))) == (b"payload", {})
    assert decode(ip(CLIENT[0], SERVER[0], 51, b"\x06\x04" + bytes(22) + SEGMENT4)) == (b"payload", {})


def test_ipv6_extension_headers() -> None:
    chain = b"\x2b\x00" + bytes(6)  # hop-by-hop, then routing
    chain += b"\x3c\x02" + bytes(22)  # routing of 24 bytes, then destination options
    chain += b"\x33\x00" + bytes(6)  # destination options, then authentication
    chain += b"\x2c\x04" + bytes(22)  # authentication of 24 bytes, then fragment
    chain += b"\x06\x00" + bytes(6)  # an atomic fragment, then TCP
    assert decode(ip6(0, chain + SEGMENT6)) == (b"payload", {})


def test_segmentation_offload_leaves_the_ip_length_0() -> None:
    packet = bytearray(ip(CLIENT[0], SERVER[0], 6, SEGMENT4))
    packet[2:4] = b"\0\0"
    assert decode(bytes(packet)) == (b"payload", {})
    packet = bytearray(ip6(6, SEGMENT6))
    packet[4:6] = b"\0\0"
    assert decode(bytes(packet)) == (b"payload", {})


@pytest.mark.parametrize(
    ("packet", "link_type", "name"),
    [
        (ip(CLIENT[0], SERVER[0], 17, struct.pack(">HHHH", 5000, 53, 8, 0)), 101, "udp"),
        (ip(CLIENT[0], SERVER[0], 17, struct.pack(">HHHH", 443, 5000, 8, 0)), 101, "udp_443_quic"),
        (ip(CLIENT[0], SERVER[0], 1, bytes(8)), 101, "icmp"),
        (ip(CLIENT[0], SERVER[0], 200, bytes(40)), 101, "ip_protocol_200"),
        (ip6(58, bytes(8)), 101, "icmpv6"),
        (ip6(59, b""), 101, "ipv6_no_next_header"),
        (ip6(0, b"\x3a\x00" + bytes(6) + bytes(8)), 101, "icmpv6"),
        (bytes(12) + b"\x08\x06" + bytes(28), 1, "arp"),
        (bytes(12) + b"\x88\x63\x11\x09" + bytes(28), 1, "pppoe"),
        (bytes(12) + b"\x88\x64" + pppoe(bytes(28), code=0xA7), 1, "pppoe"),
        (bytes(12) + b"\x88\x64\x11" + bytes(5) + b"\xc0\x21" + bytes(20), 1, "ppp"),
        (b"\xff\x03\x80\x21" + bytes(20), 9, "ppp"),
        (b"\x11\x01" + bytes(20), 51, "pppoe"),
        (b"\x8f\0\x80\x35" + bytes(20), 104, "ethertype_0x8035"),
        (b"\x02\0\0\5\x08\0\1\0\0\0\0\0\2\0", 239, "unknown_network_layer"),
        (bytes(12) + b"\x12\x34" + bytes(28), 1, "ethertype_0x1234"),
        (bytes(12) + b"\x00\x26" + bytes(38), 1, "ieee_802_3"),
        (struct.pack("<I", 7) + bytes(30), 0, "unknown_network_layer"),
        (b"\x50" + bytes(30), 101, "unknown_network_layer"),
        (bytes(30), 228, "malformed"),
        (bytes(50), 229, "malformed"),
        (b"", 101, "malformed"),
        (b"\x45" + bytes(10), 101, "malformed"),
        (ip(CLIENT[0], SERVER[0], 6, SEGMENT4[:12] + b"\x40" + SEGMENT4[13:]), 101, "malformed"),
        (ip(CLIENT[0], SERVER[0], 6, SEGMENT4[:12] + b"\xf0" + SEGMENT4[13:]), 101, "malformed"),
        (bytes(40), 220, "link_type 220 (USB_LINUX_MMAPPED)"),
    ],
)
def test_what_is_not_looked_into_is_counted_by_name(packet: bytes, link_type: int, name: str) -> None:
    assert decode(packet, link_type) == (None, {name: 1})


def test_cut_headers_are_counted_and_cut_payload_is_missing() -> None:
    packet = tcp(CLIENT, SERVER, 1, 1, 0, b"payload")
    for size in range(len(packet)):
        counted: dict[str, int] = {}
        segment = SegmentDecoder(counted, {}, ReplayLimits()).decode(Packet(0, 101, packet[:size], len(packet)))
        if size < 34:
            assert segment is None
            assert counted == {"headers_cut": 1}
        else:
            assert segment is not None
            assert segment.payload == b"payload"[: max(0, size - 40)]
            assert len(segment.payload) + segment.missing == 7
            assert counted == {}


@settings(max_examples=500, deadline=None)
@given(st.sampled_from([0, 1, 12, 101, 108, 113, 228, 229, 276]), st.binary(max_size=120), st.integers(0, 100))
def test_any_bytes_are_decoded_or_counted(link_type: int, data: bytes, cut: int) -> None:
    counted: dict[str, int] = {}
    fragments: dict[str, int] = {}
    decoder = SegmentDecoder(counted, fragments, ReplayLimits())
    segment = decoder.decode(Packet(0, link_type, data, len(data) + cut))
    decoder.finish()  # a fragment that waits for the others
    assert (segment is None) == (sum(counted.values()) + sum(fragments.values()) == 1)
    if segment is not None:
        assert segment.missing >= 0
