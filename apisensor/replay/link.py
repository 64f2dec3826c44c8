"""Link-layer headers: where in a captured packet the network layer starts, and what it is."""

from __future__ import annotations

from collections.abc import Callable

IPV4 = 0x0800
IPV6 = 0x86DD
MPLS = (0x8847, 0x8848)
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
    0x8864: "pppoe",
    0x88CC: "lldp",
    0x88E5: "macsec",
    0x894F: "nsh",
}

_ADDRESS_FAMILIES = {2: IPV4, 10: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}
"""AF_INET and AF_INET6 as Linux, NetBSD, FreeBSD and Darwin number them."""


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


def _ipv4(_data: bytes) -> Network:
    return IPV4, 0


def _ipv6(_data: bytes) -> Network:
    return IPV6, 0


LINK_TYPES: dict[int, Callable[[bytes], Network]] = {
    0: _null,
    1: _ethernet,
    12: _raw_ip,  # DLT_RAW of most systems, written to files by some programs
    14: _raw_ip,  # DLT_RAW of OpenBSD
    101: _raw_ip,
    108: _null,  # DLT_LOOP: always big-endian
    113: _cooked_v1,
    228: _ipv4,
    229: _ipv6,
    276: _cooked_v2,
}
"""LINKTYPE_ number (https://www.tcpdump.org/linktypes.html): its header's decoder."""

_OTHER_LINK_TYPES = {
    9: "PPP",
    50: "PPP_HDLC",
    51: "PPP_ETHER",
    105: "IEEE802_11",
    119: "IEEE802_11_PRISM",
    127: "IEEE802_11_RADIOTAP",
    147: "USER0",
    187: "BLUETOOTH_HCI_H4",
    189: "USB_LINUX",
    192: "PPI",
    195: "IEEE802_15_4",
    220: "USB_LINUX_MMAPPED",
    227: "CAN_SOCKETCAN",
    239: "NFLOG",
    249: "USBPCAP",
    253: "NETLINK",
}


def link_type_name(link_type: int) -> str:
    """For messages about link types that are not supported."""
    name = _OTHER_LINK_TYPES.get(link_type)
    return f"{link_type} ({name})" if name else str(link_type)
