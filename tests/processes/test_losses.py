"""What the kernel side loses, for real: counted by cause, told wherever losses are told, and nothing of it is wrong."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.peers.plan import new_run
from tests.peers.process import Peer, wait_until
from tests.peers.scenarios import BY_NAME
from tests.peers.steady import Steady
from tests.processes.client import CLIENT, Client, seen
from tests.sensor import Sensor
from tests.truth import Call, compare

pytestmark = pytest.mark.kernel

PHASE_S = 0.7
"""How long calls are made under one condition: some 140, each seen from both ends."""
SETTLE_S = 1.0
"""For what was under way to be printed, and logged."""
RING = 1 << 20
"""Small, and yet room for what other programs of the machine do while a worker is at work."""
SESSIONS = 1024
"""The smallest table of TLS sessions that can be set."""
CALL_LIMIT = 4096
WAIT_S = 20.0


def told(sensor: Sensor, *causes: str) -> list[int]:
    """How much was lost by each of these causes of the kernel's, as the status has it; so say all others that tell of
    losses. Those of the node's own traffic may rise meanwhile."""
    sensor.wait_for_report()
    losses = sensor.losses()
    counts = [losses.get(f"kernel.lost.{cause}", 0) for cause in causes]
    address, token = sensor.page()
    with requests.Session() as session:
        session.headers["Authorization"], session.trust_env = f"Bearer {token}", False
        answers = [session.get(f"{address}{place}", timeout=20) for place in ("/api/v1/status", "/metrics")]
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    samples = {
        (sample.name, sample.labels["part"], sample.labels["cause"]): sample.value
        for family in text_string_to_metric_families(answers[1].text)
        for sample in family.samples
        if sample.name in ("apisensor_lost_total", "apisensor_lost_bytes_total")
    }
    page = answers[0].json()["lost"]
    words = [sensor.command(command) for command in ("status", "doctor")]
    for cause, count in zip(causes, counts, strict=True):
        assert count, losses
        assert page[f"kernel.{cause}"] >= count
        metric = "apisensor_lost_bytes_total" if cause.endswith("_bytes") else "apisensor_lost_total"
        assert samples[metric, "kernel", cause.removesuffix("_bytes")] >= count
        assert all(f"kernel.lost.{cause}" in text for text in words)
    return counts


class Load:
    """Kept connections with TLS and without, on which calls never pause."""

    def __init__(self, directory: Path, certificate: Certificate, stack: ExitStack) -> None:
        self.nginx = Nginx(directory / "nginx", certificate)
        stack.callback(self.nginx.stop)
        bases = [self.nginx.base("127.0.0.1", "http/1.1", tls) for tls in (True, False)]
        self.clients = [
            Steady(directory / f"client-{number}", certificate, base, "threads") for number, base in enumerate(bases)
        ]
        for client in self.clients:
            stack.callback(client.stop)
        self.pids = [*self.nginx.pids, *(client.pid for client in self.clients)]

    def phase(self, name: str, seconds: float = PHASE_S) -> None:
        for client in self.clients:
            client.begin(name)
        time.sleep(seconds)

    def calls(self) -> list[Call]:
        return [*self.nginx.calls(), *(call for client in self.clients for call in client.calls())]

    def of(self, name: str, path: str) -> bool:
        return any(client.is_of(name, path) for client in self.clients)


@pytest.fixture(scope="module")
def small() -> Iterator[Sensor]:
    """A sensor with little room."""
    room = (f"ring_bytes={RING}", f"max_tls_sessions={SESSIONS}", f"call_limit={CALL_LIMIT}")
    with Sensor(settings=[f"capture.{setting}" for setting in room]) as sensor:
        yield sensor


def test_a_ring_that_is_full(small: Sensor, certificate: Certificate, tmp_path: Path) -> None:
    """The worker stands still for a while. What had no room is missing or says so; what comes after it is whole, also
    on the connections of before."""
    with ExitStack() as stack:
        load = Load(tmp_path, certificate, stack)
        run = stack.enter_context(BY_NAME["curl-nginx-plain-50"].start(tmp_path / "more"))
        small.attached(load.pids)
        load.phase("ahead")
        workers = [part["pid"] for part in small.status()["parts"] if part["name"].startswith("worker")]
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        try:
            more = run.drive().calls  # first: where content is large, the room ends in the middle of a call
            load.phase("behind")
        finally:
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
        load.phase("between")  # the first calls after it tell what was lost
        load.phase("whole")
        load.phase("rest", SETTLE_S)
        printed = small.transactions
        paths = {t["path"] for t in printed}
        phases = ("ahead", "behind", "between", "whole")
        made = [call for call in load.calls() if call.path in paths or any(load.of(name, call.path) for name in phases)]
        verdict = compare([*made, *more], printed)
        said = f"{verdict.report()}\n{small.losses()}\n{small.log()}"
        assert verdict.wrong == [], said
        assert verdict.extra == [], said
        assert [call for call in verdict.missing if load.of("whole", call.path)] == [], said
        flawed = [match for match in (*verdict.incomplete, *verdict.unbound) if load.of("whole", match.call.path)]
        assert flawed == [], said
        assert len(verdict.missing) > 500, said
        reasons = Counter(match.transaction["incomplete_reason"] for match in verdict.incomplete)
        assert reasons["ring_full"], said
        assert set(reasons) <= {"ring_full", "call_limit"}, said
        # Of a call that is missing at least one record was, the one with its head.
        records, left_out = told(small, "ring_full", "ring_full_bytes")
        assert records >= len(verdict.missing)
        assert left_out > 100 * len(verdict.missing)
        assert small.losses()["worker.lost.ring_full_bytes"] > 0


_FAULTS = """
import ctypes, mmap, socket, sys, threading, time
address, count, size, run = ("127.0.0.1", int(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
with open(sys.argv[5], "r+b") as file:
    memory = mmap.mmap(file.fileno(), size)
at = ctypes.addressof(ctypes.c_char.from_buffer(memory))
libc, over = ctypes.CDLL(None), threading.Event()
def forget():
    while not over.is_set():
        libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(size), 4)  # MADV_DONTNEED: its pages are not there any more
        time.sleep(0.0005)
thread = threading.Thread(target=forget)
with socket.create_connection(address) as connection:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    thread.start()
    for number in range(count):
        head = f"PUT /{run}/{number} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {size}\\r\\n\\r\\n"
        connection.sendall(head.encode())
        connection.sendall(memory)
        answer = b""
        while not answer.endswith(b"\\r\\n\\r\\n"):
            answer += connection.recv(1000)
over.set()
thread.join()
"""
"""Sends a file that is mapped, while another thread drops its pages all the time: the kernel brings them back for the
call, which waits for its reader, but for a program that looks at them afterwards it does not."""


def test_memory_that_cannot_be_read(small: Sensor, tmp_path: Path) -> None:
    count, size, run = 20, 1 << 20, new_run()
    (tmp_path / "content").write_bytes(bytes(size))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = [str(listener.getsockname()[1]), str(count), str(size), run, str(tmp_path / "content")]
        peer = Peer([sys.executable, "-c", _FAULTS, *arguments], tmp_path / "stderr")
        try:
            serve(listener.accept()[0], count)
            peer.finish(b"")
        finally:
            peer.stop()
        paths = [f"/{run}/{number}" for number in range(count)]

        def views(side: str) -> list[dict[str, Any]]:
            return [t for t in small.transactions if t["path"] in paths and t["side"] == side]

        small.wait_until(lambda _: len(views("client")) == len(views("server")) == count)
        sent, served = views("client"), views("server")
        for one in (*sent, *served):
            assert (one["request_body_size"], one["status"]) == (size, 204), one
        assert [one["path"] for one in sent] == [one["path"] for one in served] == paths
        assert {one["incomplete_reason"] for one in served} == {None}
        assert Counter(one["incomplete_reason"] for one in sent)["copy_fault"], small.losses()
        assert {one["incomplete_reason"] for one in sent} <= {None, "copy_fault"}
        assert told(small, "copy_fault_bytes")[0] <= count * size


def serve(connection: socket.socket, count: int) -> None:
    """Answers so many requests, each with a content of known length, by 204. It is slow to begin with that."""
    with connection, connection.makefile("rb") as file:
        for _ in range(count):
            left = 0
            while (line := file.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                left = int(value) if name == b"Content-Length" else left
            time.sleep(0.005)
            while left:
                left -= len(file.read(min(left, 1 << 16)))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")


_FILLER = """
import ssl, sys
context, kept = ssl.create_default_context(), []
for _ in range(int(sys.argv[1])):
    session = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="x")
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        kept.append(session)
print("ready", flush=True)
sys.stdin.read()
"""
"""Holds so many TLS sessions whose handshake has begun."""


def test_a_table_that_is_full(small: Sensor, certificate: Certificate, tmp_path: Path) -> None:
    """A session for which there is no room is left out and counted, one that is there already stays, and once there is
    room the next one is seen."""
    with ExitStack() as stack:
        nginx = Nginx(tmp_path / "nginx", certificate)
        stack.callback(nginx.stop)

        def client() -> Client:
            made = Client(CLIENT, nginx, certificate, tmp_path, None)
            stack.callback(made.peer.stop)
            return made

        def ask(made: Client, word: str) -> None:
            for number in range(10):
                made.get(f"/{word}/{number}")

        def whole(made: Client, word: str) -> None:
            """Both views of each of these, complete."""
            paths = {f"/{word}/{number}" for number in range(10)}

            def there() -> bool:
                found = [t for t in small.transactions if str(t["path"]).partition("?")[0] in paths]
                return len(found) == 2 * len(paths) and all(t["complete"] and t["binding"] for t in found)

            wait_until(there, WAIT_S, f"both views of all of {word}: {small.log()}")
            assert set(seen(small, made.pid, f"/{word}/")) == paths

        older = client()
        small.attached([older.pid, *nginx.pids])
        run = new_run()
        ask(older, f"{run}-before")
        whole(older, f"{run}-before")
        filler = Peer([sys.executable, "-c", _FILLER, str(SESSIONS)], tmp_path / "filler")
        stack.callback(filler.stop)
        filler.wait_ready()
        newer = client()
        ask(newer, f"{run}-left-out")
        ask(older, f"{run}-kept")
        whole(older, f"{run}-kept")
        assert not [t for t in small.transactions if f"{run}-left-out" in str(t["path"])]
        # Both ends of the newer connection, and what the filler had too much.
        tried, left_out = told(small, "map_full_sessions", "map_full_bytes")
        assert tried >= 2
        assert left_out > 2 * 10 * 400
        filler.stop()
        newest = client()

        def room() -> bool:
            newest.get(f"/{run}-room/0")
            time.sleep(0.1)
            return bool(seen(small, newest.pid, f"/{run}-room/"))

        wait_until(room, WAIT_S, "sessions of who has ended to be removed")


def test_calls_larger_than_what_is_copied(small: Sensor, tmp_path: Path) -> None:
    """The rest of a call is counted. Heads are whole, and sizes exact but for chunks whose sizes are in the rest."""
    scenario = replace(BY_NAME["requests-threads-plain-50"], count=300)
    verdict = small.verdict(scenario.run(tmp_path, small.attached).calls)
    assert verdict.exact, verdict.report() + small.log()
    assert verdict.unbound == []
    assert {match.transaction["incomplete_reason"] for match in verdict.incomplete} == {"call_limit"}
    marked = [match for match in verdict.matched if "body-not-captured" in match.transaction["anomalies"]]
    assert len(marked) > 30
    for match in (*marked, *verdict.incomplete):
        # With its head, or the size of a chunk, ahead of it.
        assert max(match.call.request_size, match.call.response_size) > CALL_LIMIT - 600, match
    small.wait_for_report()
    assert small.status()["counters"]["kernel.call_limit_bytes"] > 100_000
