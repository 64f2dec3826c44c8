"""Java's HttpClient, captured by tcpdump: HTTP/1.1, and HTTP/2 that begins as HTTP/1.1 (h2c), which no other client
asks for any more. What is reported is what the server answered, and what the client says it got."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from apisensor.processes.replay import replay
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Transaction
from tests.peers.h2c import Served, UpgradingServer
from tests.peers.process import ROOT, program

from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

CLIENT = ROOT / "tests" / "peers" / "programs" / "java" / "Client.java"
SIZES = [0, 1, 500, 16_385, 200_000]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD"]
_NAMES = {"HTTP_1_1": "http/1.1", "HTTP_2": "h2"}


def _plan() -> list[str]:
    """A call that may be upgraded with content, others at once, one after the other, and at once again."""
    calls = []
    for n, (method, status) in enumerate((method, status) for method in METHODS for status in (200, 404, 500) * 4):
        sent = SIZES[n % 5] if method in ("POST", "PUT") else 0
        calls.append(f"{method} /java/{n}?status={status}&size={SIZES[(n + 1) % 5]} {sent}")
    return [calls[12], "", *calls[:12], "", *(line for call in calls[13:25] for line in (call, "")), *calls[25:]]


@pytest.mark.parametrize("version", ["HTTP_1_1", "HTTP_2"])
def test_calls_are_what_both_ends_say(version: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    planned = _plan()
    count = sum(map(bool, planned))
    with UpgradingServer() as server:
        command = [program("java"), "-XX:+UseSerialGC", str(CLIENT), f"http://127.0.0.1:{server.port}", version]
        with tcpdump(path, f"tcp port {server.port}", "-i", "lo"):
            done = subprocess.run(
                command, input="\n".join(planned), capture_output=True, text=True, timeout=90, check=True
            )
    told: list[Transaction] = []
    summary = replay(str(path), told.append)
    assert (summary.error, summary.losses, summary.incomplete) == (None, {}, {})
    found = Counter(_served(transaction) for transaction in told)
    assert found == Counter(server.log)
    assert found.total() == count
    said = Counter(_by_java(line) for line in done.stdout.splitlines())
    assert said == Counter(one[1:] for one in found.elements())
    protocols = Counter(one.protocol for one in found.elements())
    if version == "HTTP_1_1":
        assert protocols == {"http/1.1": count}
    else:
        assert protocols["h2"] > count // 2
        upgraded = {(one.protocol, one.method, str(one.path).partition("?")[0]) for one in told if one.stream_id == 1}
        assert ("h2", "POST", "/java/12") in upgraded


def _served(transaction: Transaction) -> Served:
    one = public(transaction)
    sizes = one["request_body_size"], one["response_body_size"]
    return Served(one["client"]["port"], one["protocol"], one["method"], one["path"], one["status"], *sizes)


def _by_java(line: str) -> tuple[str, str, str, int, int, int]:
    version, method, path, status, sent, received = line.split()
    return _NAMES[version], method, path, int(status), int(sent), int(received)
