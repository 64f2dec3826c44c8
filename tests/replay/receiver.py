"""What this machine's kernel makes of segments that overlap: a client by hand on a tun device, a server on a socket.

    ip netns exec NAME python -m tests.replay.receiver < cases > results

A case is a list of [offset, text]: segments of one connection in the order of sending, offset 0 the first byte of the
stream. A result has what the server read, and all packets as they passed, in hexadecimal. Both are JSON.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys

from tests.replay.packets import ACK, FIN, SYN, tcp

HERE, THERE = "10.9.0.1", "10.9.0.2"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_PATIENCE = 10.0
"""Seconds; a packet takes microseconds."""


def _sum(data: bytes) -> int:
    """RFC 1071."""
    words = data + bytes(len(data) % 2)
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def with_checksums(packet: bytes) -> bytes:
    """The same IPv4 packet with a TCP segment, as a receiver takes it."""
    whole = bytearray(packet)
    whole[10:12] = struct.pack(">H", _sum(packet[:20]))
    pseudo = packet[12:20] + struct.pack(">HH", 6, len(packet) - 20)
    whole[36:38] = struct.pack(">H", _sum(pseudo + packet[20:]))
    return bytes(whole)


class Wire:
    """The tun device."""

    def __init__(self) -> None:
        self._descriptor = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._descriptor, _TUNSETIFF, struct.pack("16sH14x", b"tun0", _IFF_TUN | _IFF_NO_PI))
        for command in (["addr", "add", f"{HERE}/24", "dev", "tun0"], ["link", "set", "tun0", "up"]):
            subprocess.run(["ip", *command], check=True)
        self.passed: list[bytes] = []

    def send(self, packet: bytes) -> None:
        self.passed.append(with_checksums(packet))
        os.write(self._descriptor, self.passed[-1])

    def receive(self, wait: float) -> bytes | None:
        """The next TCP packet of the kernel, if one comes."""
        while select.select([self._descriptor], [], [], wait)[0]:
            packet = os.read(self._descriptor, 65536)
            if packet[0] >> 4 == 4 and packet[9] == 6:
                self.passed.append(packet)
                return packet
        return None


def run(wire: Wire, server: socket.socket, port: int, segments: list[tuple[int, str]]) -> dict[str, object]:
    """One connection."""
    wire.passed = []
    ends = (THERE, port), (HERE, server.getsockname()[1])
    wire.send(tcp(*ends, 1000, None, SYN))
    answer = wire.receive(_PATIENCE)
    # On a busy machine the connection before may still have had something to say.
    while answer is not None and not (int.from_bytes(answer[22:24], "big") == port and answer[33] & SYN):
        answer = wire.receive(_PATIENCE)
    assert answer is not None
    acknowledgment = int.from_bytes(answer[24:28], "big") + 1
    wire.send(tcp(*ends, 1001, acknowledgment, ACK))
    connection, _ = server.accept()
    with connection:
        for offset, text in segments:
            wire.send(tcp(*ends, 1001 + offset, acknowledgment, ACK, text.encode()))
            while wire.receive(0) is not None:
                pass
        length = max(offset + len(text) for offset, text in segments)
        wire.send(tcp(*ends, 1001 + length, acknowledgment, FIN))
        connection.settimeout(_PATIENCE)
        read = b""
        while part := connection.recv(65536):
            read += part
    while wire.receive(0) is not None:
        pass
    return {"read": read.decode(), "packets": [packet.hex() for packet in wire.passed]}


def main() -> None:
    wire = Wire()
    with socket.create_server((HERE, 0)) as server:
        server.settimeout(_PATIENCE)
        json.dump([run(wire, server, 20_000 + n, case) for n, case in enumerate(json.load(sys.stdin))], sys.stdout)


if __name__ == "__main__":
    main()
