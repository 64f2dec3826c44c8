"""Captures that are made here, of connections that no tool would make: replay, tshark and who made them say the same.

What is drawn: methods, statuses, framing, pipelining, streams at once, padding, header lists beyond a frame, and where
segments begin. Everything follows from the seed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from apisensor.protocols.identify import PREFACE
from tests.transactions.conversation import (
    RECEIVE,
    SEND,
    Call,
    Http2Peers,
    Truth,
    http1_request,
    http1_response,
    http1_truth,
    http2_truth,
)

from .packets import SYN, Endpoint, pcap, stamped, tcp
from .tshark import Told, exchanges, of_replay

HTTP1, HTTP2 = 80, 8080
CONNECTIONS = 12
"""Of each protocol."""
LAST_CHUNK = b"0\r\n\r"
"""All but the last octet of what ends chunked content without trailers."""


def _packets(client: Endpoint, server: Endpoint, calls: list[Call], chance: random.Random) -> list[bytes]:
    """What a perfect capture of these calls holds, in segments of any size."""
    sequence = {client: chance.randrange(2**32), server: chance.randrange(2**32)}
    packets = [tcp(client, server, sequence[client], None, SYN)]
    sequence[client] += 1
    packets.append(tcp(server, client, sequence[server], sequence[client], SYN))
    sequence[server] += 1
    for way, data in calls:
        source, other = (client, server) if way is SEND else (server, client)
        at = 0
        while at < len(data):
            size = chance.choice((1, 7, 100, 1_460, 9_000))
            if data.startswith(PREFACE):  # tshark wants it whole
                size = max(size, len(PREFACE))
            if data.endswith(LAST_CHUNK, at, at + size):  # and loses a message whose last LF is in another segment
                size += 1
            piece = data[at : at + size]
            packets.append(tcp(source, other, sequence[source], sequence[other], 0, piece))
            sequence[source] += len(piece)
            at += len(piece)
    return packets


def _http1(number: int, chance: random.Random) -> tuple[list[Call], list[Truth]]:
    truths = []
    pipelined = chance.random() < 0.5
    for n in range(chance.randrange(1, 6)):
        # tshark takes what follows a pipelined HEAD's response for its content.
        method = chance.choice((b"GET", b"POST", b"PUT", b"DELETE", b"GET" if pipelined else b"HEAD"))
        body = chance.choice((0, 1, 300, 5_000)) if method in (b"POST", b"PUT") else 0
        size = chance.choice((0, 1, 300, 20_000))
        chunked = chance.random() < 0.4
        truths.append(http1_truth(number * 10 + n, body=body, answer=size, method=method, chunked=chunked))
    asked: list[Call] = []
    answered: list[Call] = []
    for truth in truths:
        chunked = _chunked(truth.response_headers) and truth.method != b"HEAD"
        asked.append((SEND, http1_request(truth, chunked=_chunked(truth.request_headers))))
        answered.append((RECEIVE, http1_response(truth, chunked=chunked)))
    if pipelined:
        return [(SEND, b"".join(data for _, data in asked)), *answered], truths
    return [call for pair in zip(asked, answered, strict=True) for call in pair], truths


def _chunked(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    return (b"transfer-encoding", b"chunked") in headers


def _http2(number: int, chance: random.Random) -> tuple[list[Call], list[Truth]]:
    peers = Http2Peers()
    truths = []
    for n in range(chance.randrange(1, 6)):
        made = http2_truth(number * 10 + n, body=chance.choice((0, 1, 300, 5_000)), answer=chance.choice((0, 1, 3_000)))
        large = ((b"x-large", b"v" * chance.choice((1, 200, 20_000))),)
        truths.append(Truth(made.method, made.target, made.status, made.request_body, made.response_body, large))
    open_ = []
    for truth in truths:
        open_.append((peers.request(truth, pad=chance.choice((None, 0, 7)) if truth.request_body else None), truth))
        if chance.random() < 0.5:
            peers.flush()
    peers.flush()
    chance.shuffle(open_)
    for stream, truth in open_:
        peers.respond(stream, truth, pad=chance.choice((None, 9)) if truth.response_body else None)
        if chance.random() < 0.5:
            peers.flush()
    peers.flush()
    return peers.calls, truths


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_three_say_the_same(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    packets, truths = [], []
    for number in range(2 * CONNECTIONS):
        client = "192.0.2.1", 40_000 + number
        make, port = (_http1, HTTP1) if number % 2 else (_http2, HTTP2)
        calls, made = make(number, chance)
        packets += _packets(client, ("198.51.100.7", port), calls, chance)
        truths += [(client[1], truth) for truth in made]
    path = tmp_path / "x.pcap"
    path.write_bytes(pcap(stamped(packets)))
    command = [sys.executable, "-m", "apisensor.cli.main", "replay", str(path), "--format", "jsonl", "--reveal"]
    done = subprocess.run(command, check=True, capture_output=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    told = [line for line in lines if line["kind"] == "transaction"]
    assert {line["incomplete_reason"] for line in told} == {None}
    ours = sorted(of_replay(line) for line in told)
    theirs = exchanges(path, {HTTP1: "http", HTTP2: "http2"})
    assert ours == theirs
    assert sorted(_known(port, truth) for port, truth in truths) == sorted(map(_shown, ours))


def _known(port: int, truth: Truth) -> tuple[int, str, str, int, int, int]:
    sizes = len(truth.request_body), len(truth.response_body)
    return port, truth.method.decode(), truth.target.decode(), truth.status, *sizes


def _shown(one: Told) -> tuple[int, str, str, int, int, int]:
    return one.client_port, one.method, one.path, one.status, one.request_size, one.response_size
