"""Link-layer headers: where in a captured packet the network layer starts, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

IPV4 = 0x0800
IPV6 = 0x86DD
MPLS = (0x8847, 0x8848)
PPPOE = 0x8864
PPP = 0x880B
ETHERNET = 0x6558
"""An Ethernet frame inside a tunnel ("transparent Ethernet bridging")."""

Network = tuple[int, int]
"""EtherType and the offset of the header it names. IndexError or a value past the end: the packet is cut before it."""

_VLAN = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
"""802.1Q, 802.1ad and the two older numbers of stacked tags."""

_ETHERTYPES = {
    0x0806: "arp",
    0x8847: "mpls",
    0x8848: "mpls",
    0x88BE: "erspan",
    0x8863: "pppoe",
    PPPOE: "pppoe",
    PPP: "ppp",
    0x88CC: "lldp",
    0x88E5: "macsec",
    0x894F: "nsh",
}

_ADDRESS_FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}
"""AF_INET and AF_INET6 as Linux, NetBSD, FreeBSD and Darwin number them."""


_PPP_PROTOCOLS = {0x21: IPV4, 0x57: IPV6, 0x0281: MPLS[0], 0x0283: MPLS[1]}
"""PPP's numbers (https://www.iana.org/assignments/ppp-numbers): EtherType. Others negotiate, or compress headers."""

_NFULA_PAYLOAD = 9
"""Type of the value that holds the packet, in linux/netfilter/nfnetlink_log.h."""


def ethertype_name(ethertype: int) -> str:
    """The name that packets of a network layer we do not look into are counted under."""
    if ethertype <= 1500:
        return "ieee_802_3"
    return _ETHERTYPES.get(ethertype, f"ethertype_0x{ethertype:04x}")


def _tagged(data: bytes, at: int) -> Network:
    """From the offset of an EtherType, past any number of VLAN tags."""
    ethertype = data[at] << 8 | data[at + 1]
    while ethertype in _VLAN:
        at += 4
        ethertype = data[at] << 8 | data[at + 1]
    return ethertype, at + 2


def inner_ethernet(data: bytes, at: int) -> Network:
    """Of an Ethernet frame that begins somewhere in a packet."""
    return _tagged(data, at + 12)


def _ethernet(data: bytes) -> Network:
    return _tagged(data, 12)


def _cooked_v1(data: bytes) -> Network:
    return _tagged(data, 14)


def _cooked_v2(data: bytes) -> Network:
    ethertype = data[0] << 8 | data[1]
    return _tagged(data, 22) if ethertype in _VLAN else (ethertype, 20)


def _raw_ip(data: bytes) -> Network:
    version = data[0] >> 4
    return (IPV4 if version == 4 else IPV6 if version == 6 else 0, 0)


def _null(data: bytes) -> Network:
    """The address family in the byte order of the capturing machine: whichever reading gives a small number."""
    family = int.from_bytes(data[:4], "little")
    if family > 0xFFFF:
        family = int.from_bytes(data[:4], "big")
    return _ADDRESS_FAMILIES.get(family, 0), 4 if len(data) >= 4 else len(data)


def ppp(data: bytes, at: int) -> Network:
    """From the offset of a PPP protocol field, which may be one byte (RFC 1661 sections 2 and 6.5)."""
    protocol, at = (data[at], at + 1) if data[at] & 1 else (data[at] << 8 | data[at + 1], at + 2)
    return _PPP_PROTOCOLS.get(protocol, PPP), at


def pppoe(data: bytes, at: int) -> Network | None:
    """From the offset of a PPPoE header (RFC 2516 section 4); None: not of a session."""
    return ppp(data, at + 6) if data[at] == 0x11 and data[at + 1] == 0 else None


def _ppp(data: bytes) -> Network:
    return ppp(data, 2 if data[:2] == b"\xff\x03" else 0)


def _ppp_hdlc(data: bytes) -> Network:
    """PPP behind address and control (RFC 1662 section 3), or Cisco's HDLC."""
    return ppp(data, 2) if data[0] == 0xFF else _cisco_hdlc(data)


def _cisco_hdlc(data: bytes) -> Network:
    """RFC 1547 section 4.3.1: address, control, EtherType."""
    return data[2] << 8 | data[3], 4


def _ppp_ether(data: bytes) -> Network:
    return pppoe(data, 0) or (PPPOE, 0)


def _nflog(data: bytes) -> Network:
    """Netfilter's log: family, version, resource; values, each after its length (4 bytes of header included) and type,
    in the byte order of the capturing machine: the one in which the first length is the smaller."""
    order: Literal["little", "big"] = "little" if data[4:6][::-1] <= data[4:6] else "big"
    at = 4
    while at + 4 <= len(data):
        length, kind = (int.from_bytes(data[place : place + 2], order) for place in (at, at + 2))
        if kind & 0x7FFF == _NFULA_PAYLOAD:
            return _ADDRESS_FAMILIES.get(data[0], 0), at + 4
        if length < 4:
            break
        at += (length + 3) // 4 * 4
    return 0, at


def _ipv4(_data: bytes) -> Network:
    return IPV4, 0


def _ipv6(_data: bytes) -> Network:
    return IPV6, 0


LINK_TYPES: dict[int, Callable[[bytes], Network]] = {
    0: _null,
    1: _ethernet,
    9: _ppp,
    12: _raw_ip,  # DLT_RAW of most systems, written to files by some programs
    14: _raw_ip,  # DLT_RAW of OpenBSD
    50: _ppp_hdlc,
    51: _ppp_ether,
    101: _raw_ip,
    104: _cisco_hdlc,
    108: _null,  # DLT_LOOP: always big-endian
    113: _cooked_v1,
    228: _ipv4,
    229: _ipv6,
    239: _nflog,
    276: _cooked_v2,
}
"""LINKTYPE_ number (https://www.tcpdump.org/linktypes.html): its header's decoder."""

_OTHER_LINK_TYPES = {
    8: "SLIP",
    105: "IEEE802_11",
    107: "FRELAY",
    117: "PFLOG",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4",
    220: "USB_LINUX_MMAPPED",
    226: "IPNET",
    227: "CAN_SOCKETCAN",
    249: "USBPCAP",
    253: "NETLINK",
}


def link_type_name(link_type: int) -> str:
    """For messages about link types that are not supported."""
    name = _OTHER_LINK_TYPES.get(link_type)
    return f"{link_type} ({name})" if name else str(link_type)
