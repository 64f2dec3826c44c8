"""From a captured packet to its TCP segment: link layer, VLAN, IPv4 or IPv6, TCP.

Checksums are not verified: on the sending host they are filled in by the network card, after the capture. Fragments
and tunnels are not looked into; what is not is counted under a name of its own.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import MutableMapping
from functools import lru_cache

import msgspec

from apisensor.events.model import Address
from apisensor.replay.link import IPV4, IPV6, LINK_TYPES, ethertype_name, link_type_name
from apisensor.replay.pcap import Packet

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

TCP = 6

_PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    4: "ipip_tunnel",
    17: "udp",
    41: "6in4_tunnel",
    47: "gre_tunnel",
    50: "ipsec_esp",
    58: "icmpv6",
    59: "ipv6_no_next_header",
    89: "ospf",
    112: "vrrp",
    132: "sctp",
}
"""IP protocol number: the name its packets are counted under."""

_UDP_PORTS = {4789: "vxlan_tunnel", 8472: "vxlan_tunnel", 6081: "geneve_tunnel", 443: "udp_443_quic"}
"""UDP destination ports whose payload may well hold HTTP that nobody looks at here."""

_EXTENSION_HEADERS = frozenset({0, 43, 60, 135, 139, 140})
"""IPv6 extension headers with a length in units of 8 bytes (RFC 8200 section 4, RFC 6564)."""
_FRAGMENT = 44
_AUTHENTICATION = 51

_tcp = struct.Struct(">HHIIBB").unpack_from
_half = struct.Struct(">H").unpack_from


class Segment(msgspec.Struct, frozen=True, gc=False):
    """One TCP segment as captured."""

    time_ns: int
    """Unix time, ns."""
    source: bytes
    """Address (4 or 16 bytes) and port (2 bytes)."""
    destination: bytes
    sequence: int
    acknowledgment: int
    """Meaningless without the ACK flag."""
    flags: int
    payload: bytes
    missing: int
    """Bytes of payload that follow and were cut off by the snapshot length."""


@lru_cache(maxsize=4096)
def address(endpoint: bytes) -> Address:
    """The public form of an endpoint: IPv6 per RFC 5952, IPv4-mapped IPv6 as IPv4."""
    ip = ipaddress.ip_address(endpoint[:-2])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return Address(str(ip), endpoint[-2] << 8 | endpoint[-1])


class SegmentDecoder:
    """Decodes packets one by one.

    Args:
        not_examined: Packets that carry no TCP segment are added up in it, by what they carry.
    """

    def __init__(self, not_examined: MutableMapping[str, int]) -> None:
        self._not_examined = not_examined
        self.unsupported_link_types: dict[int, int] = {}
        """LINKTYPE_ number: packets that could not be looked into for it."""

    def decode(self, packet: Packet) -> Segment | None:
        """The packet's TCP segment; None where it has none, which is then counted."""
        data = packet.data
        link = LINK_TYPES.get(packet.link_type)
        if link is None:
            self.unsupported_link_types[packet.link_type] = self.unsupported_link_types.get(packet.link_type, 0) + 1
            return self._skip(f"link_type {link_type_name(packet.link_type)}")
        try:
            ethertype, at = link(data)
            if ethertype == IPV4:
                return self._ipv4(packet, data, at)
            if ethertype == IPV6:
                return self._ipv6(packet, data, at)
        except (IndexError, struct.error):
            return self._skip("headers_cut" if packet.length > len(data) else "malformed")
        return self._skip(ethertype_name(ethertype) if ethertype else "unknown_network_layer")

    def _skip(self, name: str) -> Segment | None:
        self._not_examined[name] = self._not_examined.get(name, 0) + 1
        return None

    def _ipv4(self, packet: Packet, data: bytes, at: int) -> Segment | None:
        header = (data[at] & 0x0F) * 4
        (total,) = _half(data, at + 2)
        (fragment,) = _half(data, at + 6)
        if at + 20 > len(data):
            raise IndexError
        if data[at] >> 4 != 4 or header < 20 or (total and total < header):
            return self._skip("malformed")
        if fragment & 0x3FFF:  # more fragments, or an offset
            return self._skip("ip_fragment")
        # A length of 0: a segment of more than 64 KiB on its way to the network card (segmentation offload).
        end = at + total if total else packet.length
        protocol = data[at + 9]
        start = at + header
        if protocol == _AUTHENTICATION:
            protocol, start = data[start], start + (data[start + 1] + 2) * 4
        if protocol != TCP:
            return self._other(protocol, data, start)
        return self._segment(packet, data, data[at + 12 : at + 16], data[at + 16 : at + 20], start, end)

    def _ipv6(self, packet: Packet, data: bytes, at: int) -> Segment | None:
        if at + 40 > len(data):
            raise IndexError
        if data[at] >> 4 != 6:
            return self._skip("malformed")
        (length,) = _half(data, at + 4)
        # A payload length of 0: a jumbogram (RFC 2675), which on Linux is segmentation offload beyond 64 KiB.
        end = at + 40 + length if length else packet.length
        following, start = data[at + 6], at + 40
        while following != TCP:
            if following in _EXTENSION_HEADERS:
                following, start = data[start], start + (data[start + 1] + 1) * 8
            elif following == _AUTHENTICATION:
                following, start = data[start], start + (data[start + 1] + 2) * 4
            elif following == _FRAGMENT:
                (fragment,) = _half(data, start + 2)
                if fragment & 0xFFF9:
                    return self._skip("ip_fragment")
                following, start = data[start], start + 8  # an atomic fragment is whole (RFC 6946)
            else:
                return self._other(following, data, start)
        return self._segment(packet, data, data[at + 8 : at + 24], data[at + 24 : at + 40], start, end)

    def _other(self, protocol: int, data: bytes, start: int) -> Segment | None:
        name = _PROTOCOLS.get(protocol, f"ip_protocol_{protocol}")
        if name == "udp" and len(data) >= start + 4:
            source, destination = _half(data, start)[0], _half(data, start + 2)[0]
            name = _UDP_PORTS.get(destination) or _UDP_PORTS.get(source) or name
        return self._skip(name)

    def _segment(
        self, packet: Packet, data: bytes, source: bytes, destination: bytes, start: int, end: int
    ) -> Segment | None:
        _source, _destination, sequence, acknowledgment, offset, flags = _tcp(data, start)
        payload_start = start + (offset >> 4) * 4
        if offset < 0x50 or payload_start > end:
            return self._skip("malformed")
        payload = data[payload_start:end]
        return Segment(
            packet.time_ns,
            source + data[start : start + 2],
            destination + data[start + 2 : start + 4],
            sequence,
            acknowledgment,
            flags,
            payload,
            end - payload_start - len(payload),
        )
