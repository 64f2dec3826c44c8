"""websockets on both ends, captured by tcpdump: one transaction for each connection, with what the peers exchanged."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from apisensor.processes.replay import replay
from apisensor.transactions.model import Operation, Transaction

from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

CHAT = Subprotocol("chat.v2")
LARGE = "All work and no play makes Jack a dull boy. " * 3_000


def echo(connection: ServerConnection) -> None:
    for message in connection:
        if message == "go away":
            connection.close(1011, "no")
            return
        connection.send(message)


@pytest.mark.parametrize("compression", [None, "deflate"])
def test_messages_are_what_the_peers_exchanged(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "x.pcap"
    messages: list[str | bytes] = ["hello, I am joe@example.com", b"\0" * 5_000, LARGE, "hello again"]
    with serve(echo, "127.0.0.1", 0, subprotocols=[CHAT], compression=compression) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        port = server.socket.getsockname()[1]
        with tcpdump(path, f"tcp port {port}", "-i", "lo"):
            url = f"ws://127.0.0.1:{port}/chat?room=1"
            with connect(url, subprotocols=[CHAT], compression=compression, open_timeout=20) as client:
                for message in messages:
                    client.send(message)
                    assert client.recv(timeout=20) == message
                client.send(iter(["in ", "three ", "pieces"]))
                assert client.recv(timeout=20) == "in three pieces"
                client.ping().wait(20)
            with connect(url, subprotocols=[CHAT], compression=compression, open_timeout=20) as client:
                client.send("go away")
                with pytest.raises(ConnectionClosedError):
                    client.recv(timeout=20)
        server.shutdown()
        thread.join(20)
    told: list[Transaction] = []
    summary = replay(str(path), told.append)
    assert (summary.error, summary.losses, summary.incomplete) == (None, {}, {})
    first, second = told
    assert {(one.protocol, one.method, one.path, one.status) for one in told} == {
        ("websocket", "GET", "/chat?room=1", 101)
    }
    assert first.operations == [Operation("websocket", name="chat.v2")]
    assert second.operations == [Operation("websocket", name="chat.v2", error="1011")]
    sizes = [len(message) for message in messages] + [len("in three pieces")]
    assert first.messages is not None
    for one in (first.messages.request, first.messages.response):
        assert one is not None
        assert (one.count, one.reason, one.close_code) == (5, None, 1000)
        assert one.control is not None
        assert one.control >= 2
        if compression is None:
            assert (one.bytes, one.largest, one.compressed) == (sum(sizes), max(sizes), 0)
        else:
            assert one.compressed == 5
            assert one.bytes is not None
            assert one.bytes < sum(sizes) / 10
    found = {(one.kind, one.place): one.count for one in first.sensitive}
    assert found["email", "request.body"] == found["email", "response.body"] == 1
    assert second.messages is not None
    assert second.messages.response is not None
    assert (second.messages.response.count, second.messages.response.close_code) == (0, 1011)
