"""pcap files (draft-ietf-opsawg-pcap): both byte orders, micro- and nanosecond timestamps."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import MAX_PACKET
from apisensor.replay.source import ByteSource


class Packet(msgspec.Struct, frozen=True, gc=False):
    """One captured packet."""

    time_ns: int
    """Unix time, ns."""
    link_type: int
    """LINKTYPE_ number (link.py)."""
    data: bytes
    """As captured, from the link-layer header on; cut at the capture's snapshot length."""
    length: int
    """Bytes the packet had on the wire; at least len(data)."""


_MAGIC = {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
    b"\xa1\xb2\x3c\x4d": (">", 1),
}
"""First four bytes: byte order, ns per unit of the timestamps' fraction."""

_LINK_TYPE_MASK = 0x03FF_FFFF
"""The bits above hold the length of the frame check sequence, which IP's own length makes irrelevant."""


class PcapReader:
    """Reads one pcap file; construct it at the file's first byte, then iterate once.

    Raises:
        ReplayError: The file header is cut or of an unknown version (on construction), or a packet is cut or has an
            impossible length (while iterating).
    """

    def __init__(self, source: ByteSource) -> None:
        header = source.take(24, "the file header")
        self._source = source
        self._order, self._fraction_ns = _MAGIC[header[:4]]
        major, minor, _zone, _accuracy, _snap, link_type = struct.unpack(f"{self._order}HHiIII", header[4:])
        if major != 2:
            raise ReplayError(f"{source.name} is a pcap file of version {major}.{minor}: only version 2 is known")
        self.link_type: int = link_type & _LINK_TYPE_MASK

    def __iter__(self) -> Iterator[Packet]:
        take_or_end, take = self._source.take_or_end, self._source.take
        unpack = struct.Struct(f"{self._order}IIII").unpack
        fraction_ns, link_type = self._fraction_ns, self.link_type
        number = 0
        while (header := take_or_end(16, "a packet header")) is not None:
            number += 1
            seconds, fraction, captured, length = unpack(header)
            if captured > MAX_PACKET:
                raise self._source.corrupt(
                    self._source.offset - 16, f"packet {number} claims {captured} bytes, more than any packet has"
                )
            data = take(captured, f"packet {number}")
            yield Packet(
                seconds * 1_000_000_000 + fraction * fraction_ns,
                link_type,
                data,
                length if length > captured else captured,
            )
