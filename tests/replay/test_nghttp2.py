"""Captures of nghttp2's tools: replay tells what both of their own views tell, frame for frame: fields, sizes without
padding, trailers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tests.peers.process import START_SECONDS, free_port, listens, program, wait_until

from .nghttp2 import Fields, Told, connections
from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

PAGE = "".join(f"line {number}\n" for number in range(6_000)).encode()
"""Larger than a connection's first window."""


def test_each_exchange_is_what_both_ends_tell(tmp_path: Path) -> None:
    www, path = tmp_path / "www", tmp_path / "x.pcap"
    www.mkdir()
    page = www / "page.txt"
    page.write_bytes(PAGE)
    (www / "small.txt").write_bytes(b"hi\n")
    (www / "empty.txt").write_bytes(b"")
    port = free_port("127.0.0.1")
    base = f"http://127.0.0.1:{port}"
    options = ["--push=/page.txt=/small.txt", "--padding=20", "--trailer=x-end: yes"]
    words = [program("nghttpd"), "-v", "--no-tls", "-a", "127.0.0.1", "-d", str(www), *options, str(port)]
    server = tmp_path / "server.log"
    with server.open("wb") as log:
        peer = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: listens("127.0.0.1", port), START_SECONDS, f"port {port}")
        with tcpdump(path, f"tcp port {port}", "-i", "lo"):
            said = [
                _run("nghttp", "-vn", f"{base}/page.txt", f"{base}/small.txt", f"{base}/none"),
                _run("nghttp", "-vn", "--continuation", "--padding=9", "--trailer=y: 2", "-d", str(page), f"{base}/a"),
                _run("nghttp", "-vn", "-m", "5", "-H", "cookie: a=b; c=d", "-H", "x-n: 1", f"{base}/page.txt?x=1"),
                _run("nghttp", "-vn", "--no-dep", "-w", "20", "-W", "25", "-p", "3", f"{base}/page.txt"),
                _run("nghttp", "-vn", "--header-table-size=0", "-m", "3", f"{base}/small.txt"),
                _run("nghttp", "-vn", "--header-table-size=65536", "-m", "3", f"{base}/empty.txt"),
            ]
            _run("curl", "-s", "--http2-prior-knowledge", "-I", f"{base}/small.txt")
            _run("curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{page}", f"{base}/small.txt")
            _run("h2load", "-n", "60", "-c", "3", "-m", "10", f"{base}/page.txt", f"{base}/small.txt")
            _run("h2load", "-n", "20", "-c", "2", "-m", "4", "-d", str(page), f"{base}/small.txt")
    finally:
        peer.terminate()
        peer.wait(START_SECONDS)
    ours = Counter(_told(path))
    theirs = Counter(tuple(one) for one in connections(server.read_text(), of_server=True) if one)
    assert not theirs - ours, min(theirs - ours)
    assert not ours - theirs, min(ours - theirs)
    assert sum(map(len, theirs.elements())) == 3 + 1 + 5 + 1 + 3 + 3 + 2 + 80
    by_clients = Counter(tuple(one) for output in said for one in connections(output, of_server=False))
    assert by_clients.total() == len(said)
    assert not by_clients - ours, min(by_clients - ours)
    every = [one for connection in ours.elements() for one in connection]
    assert {one.status for one in every} == {200, 404}
    assert any(one.request_trailers for one in every)
    assert any(one.response_trailers for one in every)
    assert {len(PAGE)} == {one.request_size for one in every} - {0}


def _run(*words: str) -> str:
    command = [program(words[0]), *words[1:]]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _told(path: Path) -> list[tuple[Told, ...]]:
    """The connections of a capture, as the command line tells of them."""
    command = [sys.executable, "-m", "apisensor.cli.main", "replay", str(path), "--format", "jsonl", "--reveal"]
    done = subprocess.run(command, check=True, capture_output=True)
    found: dict[int, list[Told]] = defaultdict(list)
    for line in done.stdout.splitlines():
        one = json.loads(line)
        if one["kind"] == "transaction":
            assert one["complete"], one
            found[one["client"]["port"]].append(_of_replay(one))
    return [tuple(sorted(connection)) for connection in found.values()]


def _of_replay(one: dict[str, Any]) -> Told:
    return Told(
        stream_id=one["stream_id"],
        method=one["method"],
        path=one["path"],
        status=one["status"],
        request_headers=_fields(one["request_headers"]),
        response_headers=_fields(one["response_headers"]),
        request_trailers=_fields(one["request_trailers"]),
        response_trailers=_fields(one["response_trailers"]),
        request_size=one["request_body_size"],
        response_size=one["response_body_size"],
    )


def _fields(section: list[list[str]]) -> Fields:
    return tuple((name, value) for name, value in section)
