"""pcapng files (draft-ietf-opsawg-pcapng): sections in both byte orders, several interfaces, all packet blocks.

Blocks that carry no packets (name resolution, secrets, custom, unknown) are skipped without being held in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, MutableMapping

import msgspec

from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import MAX_PACKET
from apisensor.replay.pcap import Packet
from apisensor.replay.source import ByteSource

_INTERFACE_DESCRIPTION = 1
_OBSOLETE_PACKET = 2
_SIMPLE_PACKET = 3
_INTERFACE_STATISTICS = 5
_ENHANCED_PACKET = 6

_BYTE_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}

_OPT_END = 0
_IF_TSRESOL = 9
_IF_TSOFFSET = 14
_ISB_IFDROP = 5
_ISB_OSDROP = 7

MAX_INTERFACES = 4096
"""Interfaces of a section; a file that describes more is not one a capture wrote."""

FARTHEST_NS = 9_000_000_000_000_000_000
"""From 1970: to 1684 and 2255. A time beyond does not fit 64 bits, and is none that anything was captured at."""


class _Interface(msgspec.Struct, gc=False):
    link_type: int
    snap_length: int
    """0: no limit."""
    to_ns: Callable[[int], int]
    dropped: int = 0
    """Packets the capture itself lost, as its last statistics block says (a running total)."""


def _clock(resolution: int, offset_s: int) -> Callable[[int], int]:
    """From if_tsresol (a power of ten, or of two where the top bit is set) to Unix ns."""
    offset_ns = offset_s * 1_000_000_000
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return lambda units: (units * 1_000_000_000 >> exponent) + offset_ns
    if exponent <= 9:
        factor = 10 ** (9 - exponent)
        return lambda units: units * factor + offset_ns
    divisor = 10 ** (exponent - 9)
    return lambda units: units // divisor + offset_ns


class PcapngReader:
    """Reads one pcapng file; construct it at the file's first byte, then iterate once.

    Args:
        counts: `packets_without_time` (simple packet blocks, and times that cannot be: they take the time of the packet
            before) and `packets_dropped_by_capture` (from interface statistics) are added to it.

    Raises:
        ReplayError: While iterating, where the file is cut or is not what the format allows.
    """

    def __init__(self, source: ByteSource, counts: MutableMapping[str, int]) -> None:
        self._source = source
        self._counts = counts
        self._order = "<"
        self._interfaces: list[_Interface] = []
        self._last_ns = 0
        self._blocks: dict[int, Callable[[bytes], Packet | None]] = {
            _INTERFACE_DESCRIPTION: self._interface_description,
            _INTERFACE_STATISTICS: self._interface_statistics,
            _ENHANCED_PACKET: self._enhanced_packet,
            _SIMPLE_PACKET: self._simple_packet,
            _OBSOLETE_PACKET: self._obsolete_packet,
        }

    def __iter__(self) -> Iterator[Packet]:
        source = self._source
        while (head := source.take_or_end(8, "a block header")) is not None:
            self._start = source.offset - 8
            if head[:4] == b"\x0a\x0d\x0d\x0a":
                self._section_header(head)
                continue
            kind, total = struct.unpack(f"{self._order}II", head)
            if total < 12 or total % 4:
                raise source.corrupt(self._start, f"a block claims {total} bytes")
            handle = self._blocks.get(kind)
            packet = None
            if handle is None:
                source.skip(total - 12, "a block")
            elif total > MAX_PACKET:
                raise source.corrupt(self._start, f"a block claims {total} bytes, more than any packet has")
            else:
                body = source.take(total - 12, "a block")
                try:
                    packet = handle(body)
                except struct.error:
                    raise source.corrupt(self._start, f"a block of type {kind} is too short") from None
            self._trailer(total)
            if packet is not None:
                yield packet

    def _trailer(self, total: int) -> None:
        (again,) = struct.unpack(f"{self._order}I", self._source.take(4, "a block's closing length"))
        if again != total:
            raise self._source.corrupt(self._start, f"a block says that it has {total} bytes, and {again} at its end")

    def _section_header(self, head: bytes) -> None:
        source = self._source
        body = source.take(16, "a section header")
        order = _BYTE_ORDER.get(body[:4])
        if order is None:
            raise source.corrupt(self._start, "a section header without a byte-order mark")
        self._order = order
        (total,) = struct.unpack(f"{order}I", head[4:])
        major, minor, _length = struct.unpack(f"{order}HHq", body[4:])
        if major != 1:
            raise ReplayError(f"{source.name} is a pcapng file of version {major}.{minor}: only version 1 is known")
        if total < 28 or total % 4:
            raise source.corrupt(self._start, f"a section header claims {total} bytes")
        source.skip(total - 28, "a section header")
        self._trailer(total)
        self._interfaces = []

    def _interface_description(self, body: bytes) -> None:
        link_type, _reserved, snap_length = struct.unpack_from(f"{self._order}HHI", body)
        options = dict(self._options(body, 8))
        resolution = options.get(_IF_TSRESOL, b"\x06")
        offset = options.get(_IF_TSOFFSET, bytes(8))
        if len(resolution) != 1 or len(offset) != 8:
            raise self._source.corrupt(self._start, "a timestamp option of an interface has a wrong length")
        if len(self._interfaces) == MAX_INTERFACES:
            raise self._source.corrupt(self._start, f"more than {MAX_INTERFACES} interfaces")
        (offset_s,) = struct.unpack(f"{self._order}q", offset)
        self._interfaces.append(_Interface(link_type, snap_length, _clock(resolution[0], offset_s)))

    def _interface_statistics(self, body: bytes) -> None:
        (number,) = struct.unpack_from(f"{self._order}I", body)
        interface = self._interface(number)
        options = dict(self._options(body, 12))
        dropped = sum(
            int.from_bytes(options.get(code, b""), "little" if self._order == "<" else "big")
            for code in (_ISB_IFDROP, _ISB_OSDROP)
        )
        if dropped > interface.dropped:
            key = "packets_dropped_by_capture"
            self._counts[key] = self._counts.get(key, 0) + dropped - interface.dropped
            interface.dropped = dropped

    def _options(self, body: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + 4 <= len(body):
            code, length = struct.unpack_from(f"{self._order}HH", body, at)
            if code == _OPT_END:
                return
            value = body[at + 4 : at + 4 + length]
            if len(value) < length:
                raise self._source.corrupt(self._start, "an option is longer than its block")
            yield code, value
            at += 4 + (length + 3) // 4 * 4

    def _interface(self, number: int) -> _Interface:
        if number >= len(self._interfaces):
            raise self._source.corrupt(self._start, f"a block refers to interface {number}, which is not described")
        return self._interfaces[number]

    def _packet(
        self, interface: _Interface, time_ns: int | None, captured: int, length: int, body: bytes, at: int
    ) -> Packet:
        data = body[at : at + captured]
        if len(data) < captured:
            raise self._source.corrupt(self._start, f"a packet of {captured} bytes does not fit its block")
        if time_ns is None or not -FARTHEST_NS < time_ns < FARTHEST_NS:
            self._counts["packets_without_time"] = self._counts.get("packets_without_time", 0) + 1
        else:
            self._last_ns = time_ns
        return Packet(self._last_ns, interface.link_type, data, max(length, captured))

    def _enhanced_packet(self, body: bytes) -> Packet:
        number, high, low, captured, length = struct.unpack_from(f"{self._order}IIIII", body)
        interface = self._interface(number)
        return self._packet(interface, interface.to_ns(high << 32 | low), captured, length, body, 20)

    def _obsolete_packet(self, body: bytes) -> Packet:
        number, _drops, high, low, captured, length = struct.unpack_from(f"{self._order}HHIIII", body)
        interface = self._interface(number)
        return self._packet(interface, interface.to_ns(high << 32 | low), captured, length, body, 20)

    def _simple_packet(self, body: bytes) -> Packet:
        (length,) = struct.unpack_from(f"{self._order}I", body)
        interface = self._interface(0)
        captured = min(length, interface.snap_length or length)
        return self._packet(interface, None, captured, length, body, 4)
