"""The client against the real server, which turns in a thread, and against servers that are none."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from apisensor.live import client as module
from apisensor.live.client import LiveClient
from apisensor.live.filters import Filter
from apisensor.live.listening import LiveError
from apisensor.live.public import Dropped, PublicTransaction, view
from apisensor.live.status import Status
from tests.live.sensor import Sensor
from tests.live.transactions import transaction


@pytest.fixture
def sensor(tmp_path: Path) -> Iterator[Sensor]:
    with Sensor(str(tmp_path / "live.sock")) as running:
        yield running


def test_status(sensor: Sensor) -> None:
    with LiveClient(sensor.path) as client:
        assert client.status() == sensor.status


def test_subscription(sensor: Sensor) -> None:
    with LiveClient(sensor.path) as client:
        client.subscribe(Filter(status=["5xx"]))
        for status in (200, 500, 404, 502):
            sensor.publish(transaction(status=status))
        lines = client.lines()
        first, second = next(lines), next(lines)
        assert first[1] == view(transaction(status=500))
        assert first[0].endswith(b"\n")
        assert isinstance(second[1], PublicTransaction)
        assert second[1].status == 502
        sensor.stop()
        assert list(lines) == []


def test_the_servers_words_reach_the_user(sensor: Sensor) -> None:
    with LiveClient(sensor.path) as client, pytest.raises(LiveError, match="refused: status '9': allowed are"):
        client.subscribe(Filter(status=["9"]))


def test_no_sensor(tmp_path: Path) -> None:
    with pytest.raises(LiveError, match=r"no sensor is running on this node .*: start it with `apisensor run`"):
        LiveClient(str(tmp_path / "live.sock"))
    with pytest.raises(LiveError, match="no sensor is running"):
        LiveClient(str(tmp_path / "none" / "live.sock"))
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "live.sock"))
    dead.close()
    with pytest.raises(LiveError, match="no sensor is running"):
        LiveClient(str(tmp_path / "live.sock"))


@pytest.mark.parametrize(
    ("group", "said"),
    [(0, "be root$"), (65534, "be root, or a member of the group nogroup"), (54321, "the group 54321")],
)
def test_no_permission(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, group: int, said: str) -> None:
    """What a user without the right is told; the kernel's refusal itself is tested where commands run as nobody."""

    class Found:
        st_gid = group

    monkeypatch.setattr(os, "stat", lambda _: Found())
    assert module._why_not(str(tmp_path), PermissionError(13, "Permission denied")).endswith(said.rstrip("$"))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "closed the connection"),
        (b"hello\n", "another version"),
        (b'{"kind": "future"}\n', "another version"),
        (b'{"kind": "status"}\n', "another version"),
        (b'{"kind": "error", "message": "full\\u001b[31m"}\n', "refused: full"),
        (b"\xff\n", "another version"),
    ],
)
@pytest.mark.parametrize("ask", ["status", "subscribe"])
def test_whatever_answers_is_one_line(tmp_path: Path, answer: bytes, said: str, ask: str) -> None:
    path = str(tmp_path / "live.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)

        def serve() -> None:
            sock, _ = listening.accept()
            with sock:
                sock.sendall(answer)
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        asked: dict[str, Callable[[LiveClient], object]] = {
            "status": LiveClient.status,
            "subscribe": lambda client: client.subscribe(Filter()),
        }
        with LiveClient(path) as client, pytest.raises(LiveError, match=said) as caught:
            asked[ask](client)
        thread.join(10)
    assert "\n" not in str(caught.value)


def test_a_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.05)
    path = str(tmp_path / "live.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1)
        with LiveClient(path) as client, pytest.raises(LiveError, match="does not answer"):
            client.status()


def test_drops_are_told(tmp_path: Path) -> None:
    with Sensor(str(tmp_path / "live.sock"), queue_bytes=10_000) as sensor, LiveClient(sensor.path) as client:
        client.subscribe(Filter())
        for _ in range(3_000):
            sensor.publish(transaction())
        seen = dropped = 0
        for _, event in client.lines():
            if isinstance(event, Dropped):
                dropped += event.count
            else:
                seen += 1
            if seen + dropped == 3_000:
                break
        assert dropped > 0


def test_the_tests_sensor_ends_its_thread(tmp_path: Path) -> None:
    with Sensor(str(tmp_path / "live.sock")) as sensor:
        pass
    assert not sensor.thread.is_alive()
    assert isinstance(sensor.selector, selectors.BaseSelector)
    assert isinstance(sensor.status, Status)
    assert os.path.exists(sensor.path)
