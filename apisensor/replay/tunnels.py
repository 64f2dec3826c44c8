"""Tunnels: where in a packet the network layer begins that it carries, and what that is.

Each function is given the offset of the tunnel's own header. None: a form of it that is not looked into. IndexError or
struct.error: the packet is cut before the end of the header.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from apisensor.replay.link import ETHERNET, IPV4, IPV6, MPLS, PPPOE, Network, pppoe

MAX_LABELS = 16
"""MPLS labels of one packet; routers push three or four."""

_pair = struct.Struct(">HH").unpack_from

_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE = 0x8000, 0x2000, 0x1000
_GRE_OTHER = 0x4007
"""Source routing (RFC 1701, which RFC 2784 took away) and versions other than 0 (1 is PPTP's)."""


def gre(data: bytes, at: int) -> Network | None:
    """RFC 2784, with the key and sequence number of RFC 2890."""
    flags, protocol = _pair(data, at)
    if flags & _GRE_OTHER:
        return None
    optional = sum(4 for flag in (_GRE_CHECKSUM, _GRE_KEY, _GRE_SEQUENCE) if flags & flag)
    return protocol, at + 4 + optional


def vxlan(data: bytes, at: int) -> Network | None:
    """RFC 7348: an Ethernet frame behind 8 bytes, in which the flag I must be set."""
    return (ETHERNET, at + 8) if data[at] & 0x08 else None


def geneve(data: bytes, at: int) -> Network | None:
    """RFC 8926 section 3.4: version 0, options, and the EtherType of what follows."""
    first, protocol = _pair(data, at)
    if first >> 14:
        return None
    return protocol, at + 8 + (first >> 8 & 0x3F) * 4


def mpls(data: bytes, at: int) -> Network | None:
    """RFC 3032: labels to the bottom of the stack; what they carry is only told by its first bits (RFC 4928)."""
    for label in range(at, at + 4 * MAX_LABELS, 4):
        if data[label + 2] & 1:
            at = label + 4
            version = data[at] >> 4
            return (IPV4, at) if version == 4 else (IPV6, at) if version == 6 else None
    return None


IN_FRAME: dict[int, Callable[[bytes, int], Network | None]] = {**dict.fromkeys(MPLS, mpls), PPPOE: pppoe}
"""EtherType: the tunnel's header."""

IP_IN_IP: dict[int, int] = {4: IPV4, 41: IPV6}
"""IP protocol number: the EtherType of the packet that follows (RFC 2003, RFC 4213)."""

IN_IP: dict[int, Callable[[bytes, int], Network | None]] = {47: gre, 137: mpls}
"""IP protocol number: the tunnel's header."""

IN_UDP: dict[int, Callable[[bytes, int], Network | None]] = {4789: vxlan, 8472: vxlan, 6081: geneve, 6635: mpls}
"""UDP destination port: the tunnel's header. 8472 is Linux's and flannel's default for VXLAN."""
