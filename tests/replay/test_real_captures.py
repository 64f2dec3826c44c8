"""Captures that tcpdump made of real connections: both streams are byte for byte what the programs sent."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from apisensor.events.model import Address, Chunk, Close, Direction, End, Event, Gap, Open
from apisensor.replay.packets import PacketCapture
from apisensor.replay.source import ByteSource, open_file, recognise
from tests.peers.process import free_port

from .packets import Streams
from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

SIZES = [1, 3, 100, 5_000, 70_000, 300_000, 2]
"""Bytes asked for and answered in turn: below a segment, above one, above offloaded segments of 64 KiB."""


def load(size: int, seed: str) -> bytes:
    """Bytes that no other size or seed has."""
    return hashlib.shake_128(f"{seed} {size}".encode()).digest(size)


EXPECTED = (b"".join(load(size, "ask") for size in SIZES), b"".join(load(size, "answer") for size in SIZES))


def read_exactly(connection: socket.socket, size: int) -> bytes:
    out = b""
    while len(out) < size:
        got = connection.recv(size - len(out))
        assert got
        out += got
    return out


def answer(server: socket.socket) -> None:
    """Takes one connection and answers all that is asked on it."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(30)
        for size in SIZES:
            assert read_exactly(connection, size) == load(size, "ask")
            connection.sendall(load(size, "answer"))
        connection.recv(1)


def call(address: str, port: int) -> int:
    """Asks all there is to ask. Returns the client's port."""
    with socket.create_connection((address, port), timeout=30) as client:
        client_port: int = client.getsockname()[1]
        for size in SIZES:
            client.sendall(load(size, "ask"))
            assert read_exactly(client, size) == load(size, "answer")
    return client_port


def listen(address: str, port: int) -> None:
    """A server of one connection; says so once it can be called."""
    with socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        print("listening", flush=True)
        answer(server)


def converse(address: str, port: int) -> int:
    """One connection that asks and answers. Returns the client's port."""
    with socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        client_port = call(address, port)
        thread.join()
    return client_port


def read(path: Path) -> tuple[PacketCapture, list[Event]]:
    with open_file(str(path)) as file:
        source = ByteSource(file.read, path.name)
        capture = PacketCapture(source, recognise(source))
        return capture, list(capture.events())


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(
    "options",
    [
        ["-i", "lo"],
        ["-i", "lo", "--time-stamp-precision=nano"],
        ["-i", "any"],  # LINUX_SLL2; every packet of loopback twice
        ["-i", "any", "-y", "LINUX_SLL"],
    ],
    ids=["ethernet", "nano", "cooked v2", "cooked v1"],
)
def test_one_connection(tmp_path: Path, address: str, options: list[str]) -> None:
    port = free_port("127.0.0.1")
    with tcpdump(tmp_path / "x.pcap", f"tcp port {port}", *options):
        client_port = converse(address, port)
    capture, told = read(tmp_path / "x.pcap")
    assert isinstance(told[0], Open)
    assert (told[0].local, told[0].remote) == (Address(address, client_port), Address(address, port))
    streams = Streams(told)
    assert (streams.sent, streams.received) == EXPECTED
    assert not any(isinstance(event, Gap) for event in told)
    assert [type(event) for event in told[-3:]] == [End, End, Close]
    assert set(capture.counts) <= {"retransmitted_bytes"}
    assert capture.not_examined == {}


def test_the_snapshot_length_leaves_gaps_of_exact_length(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with tcpdump(tmp_path / "x.pcap", f"tcp port {port}", "-i", "lo", "-s", "150"):
        converse("127.0.0.1", port)
    capture, told = read(tmp_path / "x.pcap")
    streams = Streams(told)
    assert [len(streams.sent), len(streams.received)] == [len(part) for part in EXPECTED]
    for event in told:
        if isinstance(event, Chunk):
            whole = EXPECTED[event.direction is Direction.RECEIVE]
            assert whole[event.position : event.position + len(event.data)] == event.data
    lost = sum(event.length or 0 for event in told if isinstance(event, Gap))
    assert capture.counts == {"snap_length_bytes": lost}


@pytest.fixture
def lossy() -> Iterator[list[str]]:
    """A network namespace whose loopback loses every third packet with data, after the capture has seen it."""
    if shutil.which("iptables") is None:
        pytest.skip("needs iptables to lose packets")
    name = f"apisensor-{os.getpid()}"
    prefix = ["ip", "netns", "exec", name]
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run([*prefix, "ip", "link", "set", "lo", "up"], check=True)
        every_third = ["-m", "statistic", "--mode", "nth", "--every", "3", "--packet", "1"]
        lose = ["-m", "length", "--length", "100:65535", *every_third, "-j", "DROP"]
        subprocess.run([*prefix, "iptables", "-A", "INPUT", "-p", "tcp", *lose], check=True)
        yield prefix
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def test_a_network_that_loses_packets(tmp_path: Path, lossy: list[str]) -> None:
    """Real retransmissions, selective acknowledgements and resegmented repeats."""
    port = free_port("127.0.0.1")
    program = f"from tests.replay.test_real_captures import converse; converse('127.0.0.1', {port})"
    with tcpdump(tmp_path / "x.pcap", "tcp", "-i", "lo", prefix=lossy):
        subprocess.run([*lossy, sys.executable, "-c", program], check=True, timeout=60)
    capture, told = read(tmp_path / "x.pcap")
    streams = Streams(told)
    assert (streams.sent, streams.received) == EXPECTED
    assert capture.counts["retransmitted_bytes"] > 0
    assert set(capture.counts) == {"retransmitted_bytes"}


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A capture file of one conversation."""
    path = tmp_path_factory.mktemp("captured") / "x.pcap"
    port = free_port("127.0.0.1")
    with tcpdump(path, f"tcp port {port}", "-i", "lo"):
        converse("127.0.0.1", port)
    return path.read_bytes()


@pytest.mark.parametrize("seed", range(20))
def test_packets_lost_from_a_real_capture_are_gaps(captured: bytes, tmp_path: Path, seed: int) -> None:
    """Drops packets of the file: whatever is told is right, whatever is missing is told."""
    content = captured
    chance = random.Random(seed)
    kept, at, number = [content[:24]], 24, 0
    while at < len(content):
        size = 16 + int.from_bytes(content[at + 8 : at + 12], sys.byteorder)
        number += 1
        last = at + 3 * 200 > len(content)  # both FINs stay: then every length is known
        if number <= 3 or last or chance.random() > 0.3:
            kept.append(content[at : at + size])
        at += size
    (tmp_path / "lossy.pcap").write_bytes(b"".join(kept))
    capture, told = read(tmp_path / "lossy.pcap")
    streams = Streams(told)
    for direction, whole in zip(Direction, EXPECTED, strict=True):
        stream, holes = streams.bytes[direction], streams.holes[direction]
        assert len(stream) == len(whole)
        expected = bytearray(whole)
        for position, length in holes:
            expected[position : position + length] = bytes(length)
        assert stream == expected
    missing = sum(length for holes in streams.holes.values() for _, length in holes)
    assert capture.counts.get("segments_missing_bytes", 0) == missing
