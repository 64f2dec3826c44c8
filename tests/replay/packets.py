"""Hand-made packets and capture files."""

from __future__ import annotations

import io
import ipaddress
import struct
from collections.abc import Iterable, Sequence

from apisensor.events.model import Chunk, Direction, Event, Gap
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.packets import PacketCapture
from apisensor.replay.source import ByteSource, recognise

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10

CLIENT = ("192.0.2.1", 40000)
SERVER = ("198.51.100.7", 80)
CLIENT6 = ("2001:db8::1", 40000)
SERVER6 = ("2001:db8::7", 80)

Endpoint = tuple[str, int]

START_NS = 1_700_000_000_000_000_000


def tcp(
    source: Endpoint,
    destination: Endpoint,
    sequence: int,
    acknowledgment: int | None,
    flags: int = 0,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """An IP packet (of the version of the addresses) with a TCP segment."""
    if acknowledgment is not None:
        flags |= ACK
    header = struct.pack(
        ">HHIIBBHHH",
        source[1],
        destination[1],
        sequence % 2**32,
        (acknowledgment or 0) % 2**32,
        (20 + len(options)) // 4 << 4,
        flags,
        65535,
        0,
        0,
    )
    return ip(source[0], destination[0], 6, header + options + payload)


def ip(
    source: str, destination: str, protocol: int, payload: bytes, *, fragment: int = 0, options: bytes = b""
) -> bytes:
    """An IPv4 or IPv6 packet."""
    a, b = ipaddress.ip_address(source), ipaddress.ip_address(destination)
    if a.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64) + a.packed + b.packed + payload
    total = 20 + len(options) + len(payload)
    head = struct.pack(">BBHHHBBH", 0x40 | (20 + len(options)) // 4, 0, total, 1, fragment, 64, protocol, 0)
    return head + a.packed + b.packed + options + payload


def ethertype(packet: bytes) -> int:
    return 0x0800 if packet[0] >> 4 == 4 else 0x86DD


def ethernet(packet: bytes, tags: Sequence[int] = (), padding: int = 0) -> bytes:
    """An Ethernet frame, with VLAN tags of these EtherTypes."""
    vlan = b"".join(struct.pack(">HH", tag, 0x1007) for tag in tags)
    return bytes(12) + vlan + struct.pack(">H", ethertype(packet)) + packet + bytes(padding)


def pcap(
    packets: Iterable[tuple[int, bytes]],
    link_type: int = 101,
    *,
    order: str = "<",
    nanoseconds: bool = True,
    snap: int = 262144,
) -> bytes:
    """A pcap file of (time in ns, packet)."""
    unit = 1 if nanoseconds else 1000
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    out = [struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap, link_type)]
    for time_ns, packet in packets:
        seconds, rest = divmod(time_ns, 1_000_000_000)
        out.append(struct.pack(f"{order}IIII", seconds, rest // unit, min(snap, len(packet)), len(packet)))
        out.append(packet[:snap])
    return b"".join(out)


def stamped(packets: Iterable[bytes], step_ns: int = 1_000_000) -> list[tuple[int, bytes]]:
    """Packets with times, one step apart."""
    return [(START_NS + number * step_ns, packet) for number, packet in enumerate(packets)]


def option(order: str, code: int, value: bytes) -> bytes:
    """A pcapng option."""
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(order: str, kind: int, body: bytes) -> bytes:
    """A pcapng block."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", len(body) + 12)
    return struct.pack(f"{order}I", kind) + size + body + size


def section(order: str = "<", options: bytes = b"") -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def interface(order: str, link_type: int, options: bytes = b"", snap: int = 0) -> bytes:
    return block(order, 1, struct.pack(f"{order}HHI", link_type, 0, snap) + options)


def enhanced(order: str, number: int, units: int, packet: bytes, length: int | None = None) -> bytes:
    length = len(packet) if length is None else length
    head = struct.pack(f"{order}IIIII", number, units >> 32, units & 0xFFFFFFFF, len(packet), length)
    return block(order, 6, head + packet)


def capture(content: bytes, limits: ReplayLimits | None = None, overlap: str = "linux") -> PacketCapture:
    """A capture file's content, opened."""
    source = ByteSource(io.BytesIO(content).read, "test.pcap")
    return PacketCapture(source, recognise(source), limits, overlap)


def events(content: bytes, limits: ReplayLimits | None = None) -> list[Event]:
    """All events of a capture file."""
    return list(capture(content, limits).events())


class Streams:
    """What events say was sent in each direction of one flow; checks the positions on the way."""

    def __init__(self, told: Iterable[Event], flow: int = 1) -> None:
        self.bytes = {Direction.SEND: bytearray(), Direction.RECEIVE: bytearray()}
        """Missing bytes as zeros."""
        self.holes: dict[Direction, list[tuple[int, int]]] = {Direction.SEND: [], Direction.RECEIVE: []}
        """(position, length) of gaps; adjacent ones joined."""
        last = {Direction.SEND: 0, Direction.RECEIVE: 0}
        for event in told:
            if not isinstance(event, Chunk | Gap) or event.flow != flow:
                continue
            stream = self.bytes[event.direction]
            assert event.position == len(stream)
            assert event.time_ns >= last[event.direction]
            last[event.direction] = event.time_ns
            if isinstance(event, Chunk):
                assert event.data
                stream += event.data
                continue
            assert event.length
            holes = self.holes[event.direction]
            if holes and sum(holes[-1]) == event.position:
                holes[-1] = (holes[-1][0], holes[-1][1] + event.length)
            else:
                holes.append((event.position, event.length))
            stream += bytes(event.length)

    @property
    def sent(self) -> bytes:
        return bytes(self.bytes[Direction.SEND])

    @property
    def received(self) -> bytes:
        return bytes(self.bytes[Direction.RECEIVE])
