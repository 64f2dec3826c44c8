"""HTTP over unix sockets: names, both views, ends, limits, a proxy; and what must not be taken for it."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers import certificates
from tests.peers.curl import Curl
from tests.peers.plan import new_run
from tests.peers.process import unix_path, wait_until
from tests.peers.scenario import Scenario
from tests.peers.unix_proxy import unix_proxy
from tests.sensor import Sensor
from tests.truth import Transaction, compare

pytestmark = pytest.mark.kernel

RUN = new_run()
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    path = unix_path()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        yield listener
    Path(path).unlink()


def connect(listener: socket.socket) -> Pair:
    client = socket.socket(socket.AF_UNIX)
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


def ask(pair: Pair, path: str, response: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") -> None:
    client, server = pair
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    server.recv(65_536)
    server.sendall(response)
    client.recv(65_536)


def views(sensor: Sensor, paths: set[str], count: int) -> list[Transaction]:
    """The transactions about these paths, once there are so many."""

    def about(transactions: list[Transaction]) -> list[Transaction]:
        return [transaction for transaction in transactions if transaction["path"] in paths]

    return about(sensor.wait_until(lambda transactions: len(about(transactions)) >= count))


@pytest.mark.parametrize("name", ["path", "abstract", "pair", "both"])
def test_ends_are_named_as_they_are_bound(name: str, sensor: Sensor, listening: socket.socket) -> None:
    with ExitStack() as stack:
        bound = listening.getsockname()
        pair = connect(listening) if name == "path" else socket.socketpair()
        expected = {"path": ("", bound), "pair": ("", "")}.get(name)
        if expected is None:
            listener, client = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(2))
            listener.bind(f"\0server {RUN}/{name}")
            listener.listen()
            expected = ("", f"@server {RUN}/{name}")
            if name == "both":
                client.bind(f"\0client {RUN}")
                expected = (f"@client {RUN}", expected[1])
            client.connect(listener.getsockname())
            pair = (client, listener.accept()[0])
        for end in pair:
            stack.enter_context(end)
        path = f"/{RUN}/{name}"
        ask(pair, path)
        seen = views(sensor, {path}, 2)
    assert sorted(view["side"] for view in seen) == ["client", "server"]
    for view in seen:
        assert (view["client"], view["server"]) == tuple({"address": end, "port": None} for end in expected)
        assert (view["binding"], view["complete"], view["process"]["pid"]) == ("socket", True, os.getpid())


def test_both_views_of_each_connection_are_joined(sensor: Sensor, listening: socket.socket) -> None:
    """By what the ends have in common: all clients have the same name, and all ask for the same."""
    before = sensor.status()["counters"]["core.views_joined"]
    with ExitStack() as stack:
        pairs = [connect(listening) for _ in range(50)]
        for pair in pairs:
            for end in pair:
                stack.enter_context(end)
        for client, _ in pairs:
            client.sendall(f"GET /{RUN}/same HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        for n, (_, server) in enumerate(reversed(pairs)):
            server.recv(65_536)
            server.sendall(b"HTTP/1.1 %d OK\r\nContent-Length: 0\r\n\r\n" % (200 + n))
        for client, _ in pairs:
            client.recv(65_536)
        seen = views(sensor, {f"/{RUN}/same"}, 100)
    wait_until(lambda: sensor.status()["counters"]["core.views_joined"] >= before + 50, 20, "views to be joined")
    assert Counter(view["status"] for view in seen) == dict.fromkeys(range(200, 250), 2)


def test_a_response_that_ends_with_the_connection(sensor: Sensor, listening: socket.socket) -> None:
    """No event tells that a unix socket is closed; the other end reads it."""
    paths = {f"/{RUN}/until-close/{n}" for n in range(20)}
    for path in paths:
        client, server = connect(listening)
        with client, server:
            ask((client, server), path, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1000)
            server.close()
            assert client.recv(1) == b""
    for view in views(sensor, paths, 40):
        assert (view["response_body_size"], view["complete"]) == (1000, True), view


def test_half_of_a_connection_may_be_shut(sensor: Sensor, listening: socket.socket) -> None:
    """The end of the stream from an end that is open still: the other direction goes on."""
    path = f"/{RUN}/half"
    client, server = connect(listening)
    with client, server:
        client.sendall(f"POST {path} HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi".encode())
        client.shutdown(socket.SHUT_WR)
        while server.recv(65_536):
            pass
        server.sendall(b"HTTP/1.0 201 Created\r\n\r\n" + b"y" * 500)
        server.shutdown(socket.SHUT_WR)
        while client.recv(65_536):
            pass
        for view in views(sensor, {path}, 2):
            assert (view["status"], view["response_body_size"], view["complete"]) == (201, 500, True), view


def test_datagrams_and_sequenced_packets_are_left_alone(sensor: Sensor) -> None:
    for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        pair = socket.socketpair(socket.AF_UNIX, kind)
        with pair[0], pair[1]:
            ask(pair, f"/{RUN}/no-stream")
    pair = socket.socketpair()
    with pair[0], pair[1]:
        ask(pair, f"/{RUN}/after")
        views(sensor, {f"/{RUN}/after"}, 2)
    assert [view for view in sensor.transactions if view["path"] == f"/{RUN}/no-stream"] == []


def test_through_a_proxy_with_a_unix_socket_behind_it(sensor: Sensor, tmp_path: Path) -> None:
    """curl, nginx, uvicorn: four views of two calls each, and none mixed up."""
    scenario = Scenario("proxy-unix", "uvicorn", "curl", tls=False, address="unix", concurrency=20, count=300)
    with scenario.start(tmp_path / "peers") as run, unix_proxy(tmp_path / "nginx", run.address) as proxy:
        certificate = certificates.make(tmp_path / "certificate").certificate
        curl = Curl(tmp_path / "curl", proxy.base, certificate, "http/1.1", concurrency=20)
        client = curl.start()
        try:
            truth = curl.drive(client, run.requests)
        finally:
            client.stop()
        wait_until(lambda: len(run.server.calls()) >= len(run.requests), 20, "the calls to be logged")
        truth += run.server.calls()
        paths = {call.path for call in truth}
        seen = views(sensor, paths, 4 * len(paths))
    between = [view for view in seen if view["process"]["pid"] in proxy.pids]
    verdict = compare(truth, [view for view in seen if view not in between])
    assert verdict.passes(), verdict.report() + sensor.log()
    port, behind = {"address": "127.0.0.1", "port": proxy.port}, {"address": run.address, "port": None}
    expected: dict[str, Any] = {"server": (port, True), "client": (behind, True)}
    assert Counter(view["path"] for view in between) == dict.fromkeys(paths, 2)
    for view in between:
        assert (view["server"], view["complete"]) == expected[view["side"]]


def test_places_of_closed_sockets_are_used_again_and_further_open_ones_counted() -> None:
    """Neither end reads that the other has closed: nothing tells the kernel side."""
    with Sensor(settings=["capture.max_unix_connections=64"]) as small:
        paths = {f"/{RUN}/closed/{n}" for n in range(300)}
        for path in paths:
            pair = socket.socketpair()
            ask(pair, path)
            for end in pair:
                end.close()
        assert len(views(small, paths, 600)) == 600
        assert small.losses() == {}
        with ExitStack() as stack:
            pairs = [socket.socketpair() for _ in range(100)]
            for pair in pairs:
                for end in pair:
                    stack.enter_context(end)
            for n, pair in enumerate(pairs):
                ask(pair, f"/{RUN}/open/{n}")
            paths = {f"/{RUN}/open/{n}" for n in range(100)}
            seen = views(small, paths, 30)
            small.wait_for_report()
            losses = small.losses()
            assert losses["kernel.lost.map_full_connections"] >= 100
            # Of at least 68 pairs that had no room: both ends of a request with its path.
            assert losses["kernel.lost.map_full_bytes"] >= 68 * 2 * len(f"GET /{RUN}/open/0 HTTP/1.1")
            assert 30 <= len(views(small, paths, len(seen))) <= 64
        # All are closed now: there is room again.
        pair = socket.socketpair()
        with pair[0], pair[1]:
            ask(pair, f"/{RUN}/again")
            assert len(views(small, {f"/{RUN}/again"}, 2)) == 2


def test_they_can_be_left_out() -> None:
    with Sensor(settings=["capture.max_unix_connections=0"]) as without:
        pair = socket.socketpair()
        with pair[0], pair[1]:
            ask(pair, f"/{RUN}/left-out")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            with client, server:
                ask((client, server), f"/{RUN}/tcp")
        assert len(views(without, {f"/{RUN}/tcp"}, 2)) == 2
        assert [view for view in without.transactions if view["path"] == f"/{RUN}/left-out"] == []
