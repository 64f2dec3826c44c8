"""Captures of real tools' traffic: replay tells of each exchange what tshark does, and what the peers logged.

What was found to differ and is tshark's is in docs/recording.md.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.peers.process import START_SECONDS, Peer, free_port, listens, program, wait_until

from .tcpdump import needs_tcpdump, tcpdump
from .tshark import exchanges, of_replay

pytestmark = needs_tcpdump

PAGE = "".join(f"line {number} of a page that compresses well\n" for number in range(200)).encode()

WRK = """
-- Pipelined GETs and POSTs; few of them, because tshark is slow.
local bodies = { "", "x", string.rep("y", 3000) }
local number = 0
function request()
  local out = {}
  for n = 1, 3 do
    number = number + 1
    if number % 4 == 0 then
      out[n] = wrk.format("POST", "/post?" .. number, { ["X-N"] = "" .. number }, bodies[number % 3 + 1])
    else
      out[n] = wrk.format("GET", "/page.txt?" .. number)
    end
  end
  return table.concat(out)
end
function delay() return 10 end
"""


class Servers:
    """An nginx (HTTP/1 and h2c, on two ports) and an nghttpd (h2c), with their logs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.h1, self.h2, self.nghttpd = (free_port("127.0.0.1") for _ in range(3))
        www = folder / "www"
        www.mkdir()
        (www / "page.txt").write_bytes(PAGE)
        (www / "small.txt").write_bytes(b"hi\n")
        (www / "empty.txt").write_bytes(b"")
        (folder / "nginx.conf").write_text(self._configuration(www))
        (folder / "wrk.lua").write_text(WRK)
        nginx = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        push = ["--push=/page.txt=/small.txt", "--padding=20", "--trailer=x-end: yes"]
        nghttpd = ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(www), *push, str(self.nghttpd)]
        self._peers = [
            Peer([program(words[0]), *words[1:]], folder / f"{words[0]}.errors") for words in (nginx, nghttpd)
        ]
        for port in (self.h1, self.h2, self.nghttpd):
            wait_until(lambda port=port: listens("127.0.0.1", port), START_SECONDS, f"port {port}")  # type: ignore[misc]
        self.log.write_bytes(b"")

    @property
    def log(self) -> Path:
        return self._folder / "access.log"

    def _configuration(self, www: Path) -> str:
        temporary = "".join(f"{name}_temp_path {self._folder}/t; " for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
        # The mirror module reads a request's content to its end; else nginx answers early and resets the stream.
        answer = """
            location /post { root /none; mirror /read; mirror_request_body on; error_page 403 404 405 = @answer; }
            location = /read { internal; return 204; }
            location @answer { return 200 "got $content_length"; }
        """
        return f"""
            daemon off; user root; worker_processes 1; pid {self._folder}/nginx.pid;
            events {{ worker_connections 512; }}
            http {{
                log_format call escape=json '["$request_method","$request_uri",$status,$body_bytes_sent,$remote_port,'
                    '"$sent_http_transfer_encoding"]';
                access_log {self.log} call;
                client_body_temp_path {self._folder}/t; {temporary}
                keepalive_requests 100000; gzip on; gzip_min_length 100; gzip_types text/plain; root {www};
                server {{ listen 127.0.0.1:{self.h1}; {answer} }}
                server {{ listen 127.0.0.1:{self.h2} http2; {answer} }}
            }}
        """

    def logged(self) -> list[tuple[str, str, int, int, int, str]]:
        """nginx's log: method, path, status, bytes of the body, the client's port, the response's transfer coding."""
        return [tuple(json.loads(line)) for line in self.log.read_text().splitlines()]

    def stop(self) -> None:
        for peer in self._peers:
            peer.stop()


def run(*words: str) -> str:
    return subprocess.run(
        [program(words[0]), *words[1:]], check=True, capture_output=True, text=True, timeout=60
    ).stdout


@contextmanager
def captured(folder: Path, servers: Servers) -> Iterator[Path]:
    ports = " or ".join(f"port {port}" for port in (servers.h1, servers.h2, servers.nghttpd))
    with tcpdump(folder / "x.pcap", f"tcp and ({ports})", "-i", "lo"):
        yield folder / "x.pcap"


class Traffic(msgspec.Struct):
    """What was captured, and what those who made it said."""

    path: Path
    servers: Servers
    h2load: list[str]
    """Status of each of h2load's calls over HTTP/2, and then over HTTP/1."""
    wrk: int
    """Requests that wrk counted."""


@pytest.fixture(scope="module")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    folder = tmp_path_factory.mktemp("traffic")
    servers = Servers(folder)
    h1, h2 = f"http://127.0.0.1:{servers.h1}", f"http://127.0.0.1:{servers.h2}"
    push = f"http://127.0.0.1:{servers.nghttpd}"
    page = str(folder / "www" / "page.txt")
    try:
        with captured(folder, servers) as path:
            run("curl", "-s", f"{h1}/page.txt", f"{h1}/none", f"{h1}/empty.txt", f"{h1}/small.txt?a=b%20c")
            run("curl", "-s", "--compressed", f"{h1}/page.txt")
            run("curl", "-s", "-I", f"{h1}/page.txt")
            run("curl", "-s", "-0", f"{h1}/page.txt")
            run("curl", "-s", "-r", "10-99", f"{h1}/page.txt")
            run("curl", "-s", "-H", "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT", f"{h1}/page.txt")
            run("curl", "-s", "--data-binary", f"@{page}", f"{h1}/post")
            run("curl", "-s", "--data-binary", f"@{page}", "-H", "Transfer-Encoding: chunked", f"{h1}/post")
            run("curl", "-s", "--data-binary", f"@{page}", "-H", "Expect: 100-continue", f"{h1}/post")
            run("curl", "-s", "-X", "DELETE", f"{h1}/page.txt")
            for path_of in ("page.txt", "none", "small.txt?x=%C3%A4"):  # one at a time: curl 7.88 fails to use it again
                run("curl", "-s", "--http2-prior-knowledge", f"{h2}/{path_of}")
            run(
                "curl", "-s", "--http2-prior-knowledge", "--compressed", "-H", f"X-Long: {'z' * 9000}", f"{h2}/page.txt"
            )
            run("curl", "-s", "--http2-prior-knowledge", "--data-binary", f"@{page}", f"{h2}/post")
            run("curl", "-s", "--http2-prior-knowledge", "-I", f"{h2}/page.txt")
            run("nghttp", "-n", "--continuation", "--padding=9", "--trailer=y: 2", "-d", page, f"{push}/small.txt")
            run("nghttp", "-n", "-m", "3", f"{push}/page.txt", f"{push}/small.txt", f"{push}/none")
            statuses = []
            for options in (
                ["-m", "10", f"{h2}/page.txt"],
                ["-d", page, f"{h2}/post"],
                ["--h1", f"{h1}/page.txt?h2load"],
            ):
                log = folder / "h2load.log"
                log.unlink(missing_ok=True)
                run("h2load", "-n", "60", "-c", "3", f"--log-file={log}", *options)
                statuses += [line.split("\t")[1] for line in log.read_text().splitlines()]
            said = run("wrk", "-t", "1", "-c", "3", "-d", "1", "-s", str(folder / "wrk.lua"), h1)
            counted = re.search(r"(\d+) requests in", said)
            assert counted, said
    finally:
        servers.stop()
    return Traffic(path, servers, statuses, int(counted[1]))


@pytest.fixture(scope="module")
def told(traffic: Traffic) -> list[dict[str, Any]]:
    """What the command line says of the capture."""
    command = [sys.executable, "-m", "apisensor.cli.main", "replay", str(traffic.path), "--format", "jsonl", "--reveal"]
    done = subprocess.run(command, check=True, capture_output=True, env={**os.environ})
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line for line in lines if line["kind"] == "transaction"]


def test_each_exchange_is_what_tshark_says(traffic: Traffic, told: list[dict[str, Any]]) -> None:
    servers = traffic.servers
    expected = exchanges(traffic.path, {servers.h1: "http", servers.h2: "http2", servers.nghttpd: "http2"})
    # A pushed response answers no request that anybody made: it is no exchange. Its streams have even numbers.
    pushed = [one for one in expected if one.stream_id and one.stream_id % 2 == 0]
    assert [one.path for one in pushed] == ["/small.txt"] * 3
    expected = [one for one in expected if one not in pushed]
    ours = sorted(of_replay(line) for line in told)
    missing, extra = Counter(expected) - Counter(ours), Counter(ours) - Counter(expected)
    assert not missing, (
        f"{len(missing)} not told, first {min(missing)}; {len(extra)} others: {min(extra, default=None)}"
    )
    assert not extra, f"{len(extra)} are not tshark's, first {min(extra)}"
    assert len({one.client_port for one in expected}) > 20
    assert {"GET", "POST", "HEAD", "DELETE"} == {one.method for one in expected}


def test_each_exchange_is_what_nginx_logged(traffic: Traffic, told: list[dict[str, Any]]) -> None:
    ports = {traffic.servers.h1, traffic.servers.h2}
    complete = [line for line in told if line["server"]["port"] in ports and line["complete"]]
    ours = Counter((*_served(line), line["client"]["port"]) for line in complete)
    # nginx counts the transfer coding as content.
    logged = Counter(
        (method, path, status, 0 if coding else size, port)
        for method, path, status, size, port, coding in traffic.servers.logged()
    )
    assert not ours - logged
    # What nginx answered after wrk had gone was logged as well, and not received.
    assert sum((logged - ours).values()) <= 3 * 3


def _served(line: dict[str, Any]) -> tuple[str, str, int, int]:
    size: int = line["response_body_size"]
    if ["Expect", "100-continue"] in line["request_headers"]:
        size += len("HTTP/1.1 100 Continue\r\n\r\n")  # which nginx counts as content
    if ["Transfer-Encoding", "chunked"] in line["response_headers"]:
        size = 0
    return line["method"], line["path"], line["status"], size


def test_counts_of_h2load_and_wrk(traffic: Traffic, told: list[dict[str, Any]]) -> None:
    by_h2load = [line for line in told if "h2load" in str(line["request_headers"])]
    assert Counter(str(line["status"]) for line in by_h2load) == Counter(traffic.h2load) == {"200": 180}
    assert all(line["complete"] for line in by_h2load)
    by_wrk = [line for line in told if re.fullmatch(r"/(page\.txt|post)\?\d+", line["path"] or "")]
    assert traffic.wrk <= len(by_wrk) <= traffic.wrk + 3 * 3 * 2
    assert sum(line["complete"] for line in by_wrk) >= traffic.wrk
    assert {line["incomplete_reason"] for line in by_wrk} <= {None, "response_not_seen", "response_not_finished"}
