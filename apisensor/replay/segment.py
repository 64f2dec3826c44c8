"""From a captured packet to its TCP segment: link layer, VLAN, tunnels, IPv4 or IPv6, fragments, TCP.

Checksums are not verified: on the sending host they are filled in by the network card, after the capture. What is not
looked into is counted under a name of its own. A connection that is seen both inside a tunnel and outside of it, as
`-i any` does, is one connection: the tunnel is no part of its name.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import MutableMapping
from functools import lru_cache

import msgspec

from apisensor.events.model import Address
from apisensor.replay.fragments import Fragments
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.link import (
    ETHERNET,
    IPV4,
    IPV6,
    LINK_TYPES,
    Network,
    ethertype_name,
    inner_ethernet,
    link_type_name,
)
from apisensor.replay.pcap import Packet
from apisensor.replay.tunnels import IN_FRAME, IN_IP, IN_UDP, IP_IN_IP

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

TCP = 6

_PROTOCOLS = {
    1: "icmp",
    2: "igmp",
    17: "udp",
    47: "gre_tunnel",
    50: "ipsec_esp",
    58: "icmpv6",
    59: "ipv6_no_next_header",
    89: "ospf",
    112: "vrrp",
    132: "sctp",
    137: "mpls_tunnel",
}
"""IP protocol number: the name its packets are counted under."""

_UDP = 17
_UDP_PORTS = {
    4789: "vxlan_tunnel",
    8472: "vxlan_tunnel",
    4790: "vxlan_gpe_tunnel",
    6081: "geneve_tunnel",
    6635: "mpls_tunnel",
    443: "udp_443_quic",
}
"""UDP destination ports whose payload may well hold HTTP that nobody looks at here; of tunnels, those forms that
tunnels.py does not read."""

MAX_NESTED = 8
"""IP packets inside each other. Overlays of overlays have three; more is made to cost time."""

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


class _Layers(msgspec.Struct, gc=False):
    """A packet while its headers are taken off."""

    time_ns: int
    length: int
    """Bytes of it on the wire, those that the snapshot length cut included."""
    nested: int = 0
    """Tunnels entered."""


class SegmentDecoder:
    """Decodes packets one by one.

    Args:
        not_examined: Packets that carry no TCP segment are added up in it, by what they carry.
        counts: What becomes of IP fragments (counters.py).
    """

    def __init__(
        self,
        not_examined: MutableMapping[str, int],
        counts: MutableMapping[str, int],
        limits: ReplayLimits,
    ) -> None:
        self._not_examined = not_examined
        self._counts = counts
        self._fragments = Fragments(limits, counts)
        self.unsupported_link_types: dict[int, int] = {}
        """LINKTYPE_ number: packets that could not be looked into for it."""

    def decode(self, packet: Packet) -> Segment | None:
        """The packet's TCP segment; None where it has none, which is then counted, or where it is a fragment of a
        packet that is not whole yet."""
        data = packet.data
        link = LINK_TYPES.get(packet.link_type)
        if link is None:
            self.unsupported_link_types[packet.link_type] = self.unsupported_link_types.get(packet.link_type, 0) + 1
            return self._skip(f"link_type {link_type_name(packet.link_type)}")
        try:
            ethertype, at = link(data)
            return self._network(_Layers(packet.time_ns, packet.length), data, ethertype, at)
        except (IndexError, struct.error):
            return self._skip("headers_cut" if packet.length > len(data) else "malformed")

    def finish(self) -> None:
        """The capture is over: fragments that wait are given up."""
        self._fragments.finish()

    def _skip(self, name: str) -> Segment | None:
        self._not_examined[name] = self._not_examined.get(name, 0) + 1
        return None

    def _network(self, layers: _Layers, data: bytes, ethertype: int, at: int) -> Segment | None:
        if ethertype == ETHERNET:
            ethertype, at = inner_ethernet(data, at)
        if ethertype in IN_FRAME:
            return self._tunnel(layers, data, IN_FRAME[ethertype](data, at), ethertype_name(ethertype))
        if ethertype == IPV4:
            return self._ipv4(layers, data, at)
        if ethertype == IPV6:
            return self._ipv6(layers, data, at)
        return self._skip(ethertype_name(ethertype) if ethertype else "unknown_network_layer")

    def _tunnel(self, layers: _Layers, data: bytes, inner: Network | None, name: str) -> Segment | None:
        """What a tunnel carries, `name`d where that is not looked into."""
        if inner is None:
            return self._skip(name)
        layers.nested += 1
        if layers.nested >= MAX_NESTED:
            return self._skip("nested_too_deep")
        return self._network(layers, data, *inner)

    def _ipv4(self, layers: _Layers, data: bytes, at: int) -> Segment | None:
        header = (data[at] & 0x0F) * 4
        (total,) = _half(data, at + 2)
        (fragment,) = _half(data, at + 6)
        if at + 20 > len(data):
            raise IndexError
        if data[at] >> 4 != 4 or header < 20 or (total and total < header):
            return self._skip("malformed")
        # A length of 0: a segment of more than 64 KiB on its way to the network card (segmentation offload).
        end = at + total if total else layers.length
        protocol = data[at + 9]
        start = at + header
        ends = data[at + 12 : at + 16], data[at + 16 : at + 20]
        if fragment & 0x3FFF:  # more fragments, or an offset
            key = data[at + 12 : at + 20] + data[at + 4 : at + 6] + data[at + 9 : at + 10]
            offset = (fragment & 0x1FFF) * 8
            whole = self._fragment(layers, key, protocol, offset, bool(fragment & 0x2000), data[start:end], end - start)
            if whole is None:
                return None
            protocol, data = whole
            start, end = 0, len(data)
        if protocol == _AUTHENTICATION:
            protocol, start = data[start], start + (data[start + 1] + 2) * 4
        return self._transport(layers, protocol, data, *ends, start, end)

    def _ipv6(self, layers: _Layers, data: bytes, at: int) -> Segment | None:
        if at + 40 > len(data):
            raise IndexError
        if data[at] >> 4 != 6:
            return self._skip("malformed")
        (length,) = _half(data, at + 4)
        # A payload length of 0: a jumbogram (RFC 2675), which on Linux is segmentation offload beyond 64 KiB.
        end = at + 40 + length if length else layers.length
        following, start = data[at + 6], at + 40
        ends = data[at + 8 : at + 24], data[at + 24 : at + 40]
        joined = 0
        while following != TCP:
            if following in _EXTENSION_HEADERS:
                following, start = data[start], start + (data[start + 1] + 1) * 8
            elif following == _AUTHENTICATION:
                following, start = data[start], start + (data[start + 1] + 2) * 4
            elif following == _FRAGMENT:
                (fragment,) = _half(data, start + 2)
                following, key, start = data[start], b"".join((*ends, data[start + 4 : start + 8])), start + 8
                if not fragment & 0xFFF9:
                    continue  # an atomic fragment is whole (RFC 6946)
                joined += 1
                if joined > 1:
                    return self._skip("malformed")  # a fragment of a fragment
                whole = self._fragment(
                    layers, key, following, fragment & 0xFFF8, bool(fragment & 1), data[start:end], end - start
                )
                if whole is None:
                    return None
                following, data = whole
                start, end = 0, len(data)
            else:
                break
        return self._transport(layers, following, data, *ends, start, end)

    def _fragment(
        self, layers: _Layers, key: bytes, protocol: int, offset: int, more: bool, payload: bytes, length: int
    ) -> tuple[int, bytes] | None:
        if len(payload) < length:
            self._counts["fragments_cut"] = self._counts.get("fragments_cut", 0) + 1
            return None
        whole = self._fragments.add(key, layers.time_ns, protocol, offset, more, payload)
        if whole is not None:
            layers.length = len(whole[1])
        return whole

    def _transport(
        self, layers: _Layers, protocol: int, data: bytes, source: bytes, destination: bytes, start: int, end: int
    ) -> Segment | None:
        if protocol == TCP:
            return self._segment(layers.time_ns, data, source, destination, start, end)
        if protocol in IP_IN_IP:
            return self._tunnel(layers, data, (IP_IN_IP[protocol], start), "")
        name = _PROTOCOLS.get(protocol, f"ip_protocol_{protocol}")
        if protocol in IN_IP:
            return self._tunnel(layers, data, IN_IP[protocol](data, start), name)
        if protocol == _UDP and len(data) >= start + 4:
            from_port, to_port = _half(data, start)[0], _half(data, start + 2)[0]
            name = _UDP_PORTS.get(to_port) or _UDP_PORTS.get(from_port) or name
            if to_port in IN_UDP and end >= start + 8:
                return self._tunnel(layers, data, IN_UDP[to_port](data, start + 8), name)
        return self._skip(name)

    def _segment(
        self, time_ns: int, data: bytes, source: bytes, destination: bytes, start: int, end: int
    ) -> Segment | None:
        _source, _destination, sequence, acknowledgment, offset, flags = _tcp(data, start)
        payload_start = start + (offset >> 4) * 4
        if offset < 0x50 or payload_start > end:
            return self._skip("malformed")
        payload = data[payload_start:end]
        return Segment(
            time_ns,
            source + data[start : start + 2],
            destination + data[start + 2 : start + 4],
            sequence,
            acknowledgment,
            flags,
            payload,
            end - payload_start - len(payload),
        )
