"""The live socket over real Unix sockets, with the server's loop turned by hand: no threads, no waiting."""

from __future__ import annotations

import os
import selectors
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.live import answers
from apisensor.live import server as module
from apisensor.live.connection import Asker
from apisensor.live.listening import LiveError, listen
from apisensor.live.server import LiveServer, Reply
from apisensor.live.status import Part, Status, decode
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Transaction
from tests.live.transactions import transaction

STATUS = Status(version="1.2.3", started=5.0, parts=[Part(name="core", pid=7)], counters={"kernel.lost.ring_full": 1})


class Loop:
    """A selector, turned until nothing is ready."""

    def __init__(self, path: Path, **limits: int) -> None:
        self.path = str(path / "live.sock")
        self.selector = selectors.DefaultSelector()
        self.later: list[tuple[bytes, Asker, Reply]] = []
        asked = {
            "status": answers.status(lambda: STATUS),
            "metrics": answers.metrics(lambda: "a_total 1\n"),
            "later": lambda *question: self.later.append(question),
        }
        self.server = LiveServer(listen(self.path), self.selector, asked, **limits)
        self.sockets: list[socket.socket] = []

    def turn(self, most: int = 1000) -> int:
        for turns in range(most):
            ready = self.selector.select(0)
            if not ready:
                return turns
            for key, mask in ready:
                key.data(mask)
        raise AssertionError("the loop never comes to rest")

    def connect(self, request: bytes | None = None) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        self.sockets.append(sock)
        sock.connect(self.path)
        sock.setblocking(False)
        if request is not None:
            sock.send(request)
        self.turn()
        return sock

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.server.close()
        assert not self.selector.get_map()
        self.selector.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Loop]]:
    loops: list[Loop] = []

    def start(**limits: int) -> Loop:
        loops.append(Loop(tmp_path, **limits))
        return loops[-1]

    yield start
    for loop in loops:
        loop.close()


def received(sock: socket.socket) -> list[dict[str, Any]]:
    """Every whole line that is there; what a line is cut off from is an error."""
    content = b""
    while True:
        try:
            piece = sock.recv(1 << 20)
        except BlockingIOError:
            break
        if not piece:
            break
        content += piece
    assert not content or content.endswith(b"\n")
    return [msgspec.json.decode(line) for line in content.splitlines()]


def closed(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_subscribers_get_what_their_filter_lets_pass(make: Callable[..., Loop]) -> None:
    loop = make()
    everything = loop.connect(b'{"subscribe": {}}\n')
    failures = loop.connect(b'{"subscribe": {"status": ["5xx"]}}\n')
    loop.server.publish(transaction(status=200, path="/é\x1b"))
    loop.server.publish(transaction(status=503))
    loop.turn()
    first, ok, error = received(everything)
    assert first == {"kind": "subscribed", "schema": 1}
    assert ok == msgspec.json.decode(json_line(transaction(status=200, path="/é\x1b")))
    assert [line.get("status") for line in received(failures)] == [None, 503]
    assert error["status"] == 503
    assert loop.server.counters() == {
        "live.clients": 2,
        "live.subscribers": 2,
        "live.sent": 3,
        "live.dropped": 0,
        "live.refused": 0,
    }


def test_nothing_is_encoded_where_nobody_wants_it(make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make()
    calls: list[object] = []

    def counted(t: Transaction) -> bytes:
        calls.append(t)
        return json_line(t)

    monkeypatch.setattr(module, "json_line", counted)
    loop.server.publish(transaction())
    loop.connect(b'{"subscribe": {"status": ["5xx"]}}\n')
    loop.server.publish(transaction(status=200))
    assert not calls
    loop.connect(b'{"subscribe": {}}\n')
    loop.connect(b'{"subscribe": {}}\n')
    loop.server.publish(transaction(status=500))
    assert len(calls) == 1


def test_an_answer_may_come_later(make: Callable[..., Loop]) -> None:
    loop = make()
    sock = loop.connect(b'{"later": {"a": 1}}\n')
    sock.shutdown(socket.SHUT_WR)  # as `nc -U` does: it is still there to read
    assert loop.turn() == 0
    ((question, asker, reply),) = loop.later
    assert msgspec.json.decode(question) == {"a": 1}
    assert (asker.pid, asker.uid) == (os.getpid(), os.getuid())
    reply({"kind": "result", "done": True})
    loop.turn()
    assert received(sock) == [{"kind": "result", "done": True}]
    assert loop.server.counters()["live.clients"] == 0


def test_an_answer_that_comes_when_its_asker_has_gone_goes_nowhere(make: Callable[..., Loop]) -> None:
    loop = make()
    loop.connect(b'{"later": 1}\n').close()
    loop.later[0][2]({"kind": "result"})
    loop.turn()
    assert loop.server.counters()["live.clients"] == 0
    loop.later[0][2]({"kind": "result"})
    loop.turn()


def test_who_waits_for_an_answer_is_not_turned_out_for_others(make: Callable[..., Loop]) -> None:
    loop = make(max_clients=1)
    waiting = loop.connect(b'{"later": 1}\n')
    refused = loop.connect()
    assert received(refused)[0]["kind"] == "error"
    loop.later[0][2]({"kind": "result"})
    loop.turn()
    assert received(waiting) == [{"kind": "result"}]


def test_metrics_are_text(make: Callable[..., Loop]) -> None:
    assert received(make().connect(b'{"metrics": true}\n')) == [{"kind": "metrics", "text": "a_total 1\n"}]


def test_findings_come_to_every_subscriber(make: Callable[..., Loop]) -> None:
    loop = make()
    sock = loop.connect(b'{"subscribe": {"status": ["5xx"]}}\n')
    loop.server.publish_finding(b'{"kind":"finding","id":"1"}\n')
    loop.turn()
    assert [line["kind"] for line in received(sock)] == ["subscribed", "finding"]


def test_status_is_one_document_and_ends(make: Callable[..., Loop]) -> None:
    loop = make()
    sock = loop.connect(b'{"status": true}\n')
    (line,) = received(sock)
    assert line["kind"] == "status"
    assert decode(msgspec.json.encode(line)) == STATUS
    assert closed(sock)
    assert loop.server.counters()["live.clients"] == 0


def test_a_half_closed_end_still_gets_its_answer(make: Callable[..., Loop]) -> None:
    loop = make()
    sock = socket.socket(socket.AF_UNIX)
    loop.sockets.append(sock)
    sock.connect(loop.path)
    sock.sendall(b'{"status": true}')
    sock.shutdown(socket.SHUT_WR)
    sock.setblocking(False)
    loop.turn()
    assert received(sock)[0]["version"] == "1.2.3"


def test_a_request_may_come_byte_by_byte(make: Callable[..., Loop]) -> None:
    loop = make()
    sock = loop.connect()
    for byte in b'{"subscribe": {"method": ["GET"]}}\n':
        assert not received(sock)
        sock.send(bytes([byte]))
        loop.turn()
    assert received(sock)[0]["kind"] == "subscribed"


@pytest.mark.parametrize(
    ("request_line", "said"),
    [
        (b"\n", "not understood"),
        (b"GET / HTTP/1.1\r\n", "not understood"),
        (b"\xff\xfe\n", "not understood"),
        (b"{}\n", "ask for"),
        (b'{"status": false}\n', "not understood"),
        (b'{"status": 1}\n', "not understood"),
        (b'{"subscribe": []}\n', "filter is not valid"),
        (b'{"subscribe": {"x": 1}}\n', "filter is not valid"),
        (b'{"subscribe": {"status": ["9xx"]}}\n', "allowed are"),
        (b'{"reveal": true}\n', "ask for one of"),
        (b"[" * 60_000 + b"\n", "not understood"),
        (b"x" * (module.REQUEST_BYTES + 1), "longer than"),
    ],
)
def test_a_wrong_request_is_told_so_and_ends(make: Callable[..., Loop], request_line: bytes, said: str) -> None:
    loop = make()
    sock = loop.connect(request_line)
    (line,) = received(sock)
    assert line["kind"] == "error"
    assert said in line["message"]
    assert closed(sock)
    assert loop.server.counters()["live.clients"] == 0


@given(content=st.binary(max_size=300), half_close=st.booleans())
def test_no_client_disturbs_the_others(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, half_close: bool
) -> None:
    loop = Loop(tmp_path_factory.mktemp("live"))
    try:
        good = loop.connect(b'{"subscribe": {}}\n')
        bad = loop.connect(content)
        if half_close:
            bad.shutdown(socket.SHUT_WR)
        loop.turn()
        bad.close()
        loop.turn()
        loop.server.publish(transaction())
        loop.turn()
        assert [line["kind"] for line in received(good)] == ["subscribed", "transaction"]
        assert loop.server.counters()["live.subscribers"] == 1
    finally:
        loop.close()


def test_a_slow_reader_loses_whole_lines_and_is_told(make: Callable[..., Loop]) -> None:
    loop = make(queue_bytes=100_000)
    slow = loop.connect(b'{"subscribe": {}}\n')
    quick = loop.connect(b'{"subscribe": {"status": ["2xx"]}}\n')
    total, got = 2_000, 0
    for _ in range(total):
        loop.server.publish(transaction())
        loop.turn()
        got += sum(line["kind"] == "transaction" for line in received(quick))
    assert got == total
    lines = []
    for _ in range(100):
        lines += received(slow)
        loop.turn()
    sent = sum(line["kind"] == "transaction" for line in lines)
    dropped = sum(line["count"] for line in lines if line["kind"] == "dropped")
    assert dropped > 0
    assert sent + dropped == total
    assert loop.server.counters()["live.dropped"] == dropped
    assert lines[-1]["kind"] == "dropped"  # told although nothing more was published
    loop.server.publish(transaction())
    loop.turn()
    assert received(slow)[0]["kind"] == "transaction"


def test_a_subscriber_that_goes_is_forgotten(make: Callable[..., Loop]) -> None:
    loop = make(queue_bytes=1 << 20)
    sock = loop.connect(b'{"subscribe": {}}\n')
    for _ in range(500):
        loop.server.publish(transaction())
    sock.close()
    loop.turn()
    assert loop.server.counters()["live.clients"] == 0
    loop.server.publish(transaction())


def test_idlers_make_room_and_subscribers_stay(make: Callable[..., Loop]) -> None:
    loop = make(max_clients=2)
    subscriber = loop.connect(b'{"subscribe": {}}\n')
    idler = loop.connect()
    asker = loop.connect(b'{"subscribe": {}}\n')
    assert closed(idler)
    refused = loop.connect()
    assert received(refused)[0]["message"] == "too many subscribers (settings live.max_clients)"
    loop.server.publish(transaction())
    loop.turn()
    assert len(received(subscriber)) == len(received(asker)) == 2
    assert loop.server.counters()["live.refused"] == 2


def test_out_of_descriptors_the_loop_comes_to_rest(make: Callable[..., Loop], monkeypatch: pytest.MonkeyPatch) -> None:
    loop = make()
    good = loop.connect(b'{"subscribe": {}}\n')

    class Exhausted:
        """Stands for the listening socket of a process without a free descriptor but the spare one."""

        def __init__(self, listening: socket.socket) -> None:
            self.listening = listening
            self.failed = False

        def accept(self) -> Any:
            if not self.failed:
                self.failed = True
                raise OSError(24, "Too many open files")
            return self.listening.accept()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.listening, name)

    listening = loop.server._listening
    monkeypatch.setattr(loop.server, "_listening", Exhausted(listening))
    turned_away = loop.connect()
    assert closed(turned_away)
    monkeypatch.setattr(loop.server, "_listening", listening)
    loop.server.publish(transaction())
    loop.turn()
    assert received(good)[-1]["kind"] == "transaction"
    assert loop.server.counters()["live.refused"] == 1


def test_the_socket_is_closed_to_others_and_has_its_group(tmp_path: Path) -> None:
    path = str(tmp_path / "live.sock")
    before = os.umask(0o022)
    try:
        listening = listen(path, os.getgid())
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    found = os.stat(path)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert found.st_gid == os.getgid()
    listening.close()


def test_a_dead_sensors_socket_is_replaced_and_a_living_ones_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "live.sock")
    listen(path).close()
    living = listen(path)
    with pytest.raises(LiveError, match="already running"):
        listen(path)
    living.close()


def test_what_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    path.write_text("mine")
    with pytest.raises(LiveError, match="is not a socket"):
        listen(str(path))
    assert path.read_text() == "mine"
    with pytest.raises(LiveError, match="No such file"):
        listen(str(tmp_path / "none" / "live.sock"))
    with pytest.raises(LiveError, match="too long"):
        listen(str(tmp_path / ("x" * 200)))
