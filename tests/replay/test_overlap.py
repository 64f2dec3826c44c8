"""Segments that overlap: the bytes that are told are those that this machine's kernel gives to a server."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest

from apisensor.processes.replay import replay
from apisensor.replay.half import SENT_SEGMENTS, Half
from apisensor.transactions.model import Transaction

from .packets import CLIENT, SERVER, SYN, Streams, capture, pcap, stamped, tcp

Case = list[tuple[int, str]]


def filled(case: Case) -> Case:
    """The case, and behind it segments of dots for every byte that it leaves out, the first byte among them."""
    there = {at + n for at, text in case for n in range(len(text))}
    return [*case, *((at, ".") for at in range(max(there)) if at not in there)]


BY_HAND: list[Case] = [
    [(1, "aaaa"), (1, "bbbb")],
    [(1, "aaaa"), (1, "bb")],
    [(1, "aaaa"), (1, "bbbbbb")],
    [(4, "aaaa"), (2, "bbbb")],
    [(4, "aaaa"), (2, "bbbbbbbb")],
    [(2, "aaaa"), (4, "bbbb")],
    [(2, "aaaaaaaa"), (4, "bb")],
    [(1, "aa"), (5, "cc"), (2, "bbbb")],
    [(1, "aa"), (3, "bb"), (3, "cccc")],
    [(1, "aa"), (3, "bb"), (2, "cccc")],
    [(6, "aa"), (4, "bb"), (2, "cccccccc")],
    [(0, "aaaa"), (2, "bbbb"), (4, "cccc")],
    [(2, "aaaa"), (0, "bbbb"), (3, "cccc")],
    [(2, "aa"), (6, "bb"), (0, "cccccccc")],
]


def random_cases(count: int, seed: int) -> list[Case]:
    """Without segments that begin where another ends: whether Linux makes one of them, which then begins first, depends
    on the shape of its search tree where others overlap both."""
    chance = random.Random(seed)
    cases: list[Case] = []
    while len(cases) < count:
        names = chance.sample(string.ascii_letters, chance.randint(2, 8))
        case = [(chance.randint(0 if n else 1, 30), name * chance.randint(1, 12)) for n, name in enumerate(names)]
        if not {at for at, _ in case} & {at + len(text) for at, text in case}:
            cases.append(case)
    return cases


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="needs root and a tun device")
def test_the_kernel_reads_what_is_told() -> None:
    cases = [filled(case) for case in [*BY_HAND, *random_cases(500, 1)]]
    name = f"apisensor-{os.getpid()}-o"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        command = ["ip", "netns", "exec", name, sys.executable, "-m", "tests.replay.receiver"]
        done = subprocess.run(command, input=json.dumps(cases), check=True, capture_output=True, text=True, timeout=120)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)
    wrong = []
    for case, result in zip(cases, json.loads(done.stdout), strict=True):
        seen = capture(pcap(stamped(bytes.fromhex(packet) for packet in result["packets"])))
        told = Streams(seen.events()).sent.decode()
        if told != result["read"]:
            wrong.append((case, told, result["read"]))
        assert len(result["read"]) == max(at + len(text) for at, text in case)
    assert not wrong, f"{len(wrong)} of {len(cases)}, first: {wrong[0]}"


@pytest.mark.parametrize(("policy", "told"), [("linux", b".aabbbba"), ("first", b".aaaaaaa"), ("last", b".aabbbbc")])
def test_policies(policy: str, told: bytes) -> None:
    """a from 1 to 8, b from 3 to 7 before it was there, c the last byte: no system but "last" takes b and c over a."""
    packets = [tcp(CLIENT, SERVER, 0, None, SYN), tcp(SERVER, CLIENT, 20, 1, SYN)]
    order = {"linux": [(4, b"aaaa"), (3, b"bbbb"), (1, b"aa"), (7, b"c")]}.get(
        policy, [(1, b"aaaaaaa"), (3, b"bbbb"), (7, b"c")]
    )
    packets += [tcp(CLIENT, SERVER, 1 + at, 21, 0, data) for at, data in [*order, (0, b".")]]
    seen = capture(pcap(stamped(packets)), overlap=policy)
    assert Streams(seen.events()).sent == told
    assert seen.counts["retransmissions_that_differ"] == 2


GET = b"GET /%s HTTP/1.1\r\nHost: a\r\n\r\n"


def transactions(packets: list[bytes], tmp_path: Path) -> list[Transaction]:
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(stamped(packets)))
    told: list[Transaction] = []
    replay(str(path), told.append)
    return told


@pytest.mark.parametrize("waiting", [True, False])
def test_the_exchange_says_that_its_bytes_were_sent_twice_and_differ(tmp_path: Path, waiting: bool) -> None:
    """Both where the first version still waits and where it was told already; the exchanges around it say nothing."""
    packets = [tcp(CLIENT, SERVER, 0, None, SYN), tcp(SERVER, CLIENT, 20, 1, SYN)]
    sent, received = 1, 21
    for number in range(3):
        good, evil = GET % b"good%d" % number, GET % b"evil%d" % number
        versions = [good, evil] if number == 1 else [good]
        if waiting:
            packets += [tcp(CLIENT, SERVER, sent + 3, received, 0, one[3:]) for one in versions]
            packets.append(tcp(CLIENT, SERVER, sent, received, 0, good[:3]))
        else:
            packets += [tcp(CLIENT, SERVER, sent, received, 0, one) for one in versions]
        sent += len(good)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        packets.append(tcp(SERVER, CLIENT, received, sent, 0, answer))
        received += len(answer)
        packets.append(tcp(CLIENT, SERVER, sent, received))
    told = transactions(packets, tmp_path)
    assert [(one.path, one.anomalies) for one in told] == [
        ("/good0", []),
        ("/good1", ["overlapping-segments-differ"]),
        ("/good2", []),
    ]


def test_probes_with_a_byte_of_no_meaning_are_no_contradiction() -> None:
    packets = [tcp(CLIENT, SERVER, 0, None, SYN), tcp(SERVER, CLIENT, 20, 1, SYN)]
    packets += [tcp(CLIENT, SERVER, 1, 21, 0, b"abc"), tcp(CLIENT, SERVER, 3, 21, 0, b"\0")]
    seen = capture(pcap(stamped(packets)))
    assert Streams(seen.events()).sent == b"abc"
    assert seen.counts == {"retransmitted_bytes": 1}


def test_what_is_kept_for_comparison_is_bounded_and_goes_when_it_is_acknowledged() -> None:
    half = Half()
    half.begin(0)
    for number in range(1000):
        half.deliver(number * 10_000, bytes(10_000))
        assert len(half.sent) <= SENT_SEGMENTS
        assert half.sent_bytes == sum(len(data) for _, data in half.sent) <= 256 << 10
    half.next = 10_000_000
    half.acknowledge(1 + 10_000_000, 0)
    assert (len(half.sent), half.sent_bytes) == (0, 0)
