"""What the server itself refuses, on raw connections; and when it rests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from apisensor.sections import Settings, Web
from apisensor.web import serving
from apisensor.web.listening import listen, place
from tests.web.page import TOKEN, Page


@pytest.fixture(scope="module")
def quick() -> Iterator[Page]:
    """A page that waits for nothing."""
    patch = pytest.MonkeyPatch()
    patch.setattr(serving, "HEAD_SECONDS", 0.3)
    with Page(empty=True) as page:
        yield page
    patch.undo()


def connected(page: Page) -> socket.socket:
    return socket.create_connection(("127.0.0.1", page.port), 10)


def received(sock: socket.socket) -> bytes:
    whole = b""
    while piece := sock.recv(65_536):
        whole += piece
    return whole


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: "])
def test_a_head_that_does_not_end(quick: Page, sent: bytes) -> None:
    with connected(quick) as sock:
        sock.sendall(sent)
        assert received(sock) == b""


def test_a_second_head_that_does_not_end(quick: Page) -> None:
    host = f"Host: 127.0.0.1:{quick.port}\r\n".encode()
    with connected(quick) as sock:
        sock.sendall(b"GET /static/icon.svg HTTP/1.1\r\n" + host + b"\r\nGET / HTTP/1.1\r\n")
        answer = received(sock)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_answered_connection_is_kept(quick: Page) -> None:
    request = f"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1:{quick.port}\r\n\r\n".encode()
    with connected(quick) as sock:
        for _ in range(2):
            sock.sendall(request)
            assert sock.recv(65_536).startswith(b"HTTP/1.1 200")
            sock.settimeout(2 * serving.HEAD_SECONDS)
            with pytest.raises(TimeoutError):
                received(sock)
            sock.settimeout(10)


def test_a_head_that_is_too_long(quick: Page) -> None:
    with connected(quick) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * (serving.HEAD_BYTES + 1))
        assert received(sock).startswith(b"HTTP/1.1 400")


def test_what_is_no_http(quick: Page) -> None:
    with connected(quick) as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
        assert received(sock).startswith(b"HTTP/1.1 400")


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "MAX_CONNECTIONS", 2)
    with Page(empty=True) as page, connected(page) as first, connected(page) as second:
        for sock in (first, second):
            sock.sendall(f"GET /static/icon.svg HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        answers = {sock.recv(12) for sock in (first, second)}
    assert b"HTTP/1.1 503" in answers


def test_nothing_is_logged(capfd: pytest.CaptureFixture[str]) -> None:
    with Page(empty=True) as page, connected(page) as sock:
        sock.sendall(f"GET /login?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        assert sock.recv(12) == b"HTTP/1.1 303"
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("visited", [False, True])
def test_it_rests_when_nobody_is_there(monkeypatch: pytest.MonkeyPatch, visited: bool) -> None:
    for name, value in {"UNVISITED_SECONDS": 1e9 if visited else 0.2, "VISITED_SECONDS": 0.2}.items():
        monkeypatch.setattr(serving, name, value)
    listening = listen(Settings(web=Web(port=0)))
    rests = threading.Event()

    def rest() -> None:
        rests.set()
        server.should_exit = True

    server = serving.RestingServer(serving.configuration(PlainTextResponse("here")), rest)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        if visited:
            with httpx.Client(base_url=f"http://127.0.0.1:{place(listening)[1]}") as client:
                assert client.get("/").text == "here"
                assert not rests.wait(3 * serving.VISITED_SECONDS)  # the connection is kept
        assert rests.wait(20)
    finally:
        server.should_exit = True
        thread.join()
