"""A beginning that comes in small pieces is read like any other, and looked at a bounded number of times."""

from __future__ import annotations

import pytest

from apisensor.protocols.identify import Start
from apisensor.transactions.candidate import _LOOKED, WAIT, Candidate
from tests.transactions.conversation import RECEIVE, SEND, Sensor


@pytest.mark.parametrize("call_start", [False, True])
def test_a_long_request_line_byte_by_byte(call_start: bool) -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    target = b"/" + b"x" * 5_000
    for at, byte in enumerate(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
        sensor.call(SEND, bytes((byte,)), call_start=call_start or not at)
    ended = sensor.now
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert found.incomplete_reason is None
    assert (found.request.target, found.request.headers) == (target, [(b"Host", b"a")])
    assert (found.request.start_ns, found.request.end_ns) == (2_000, ended)


def test_a_proxy_header_byte_by_byte() -> None:
    sensor = Sensor()
    sensor.open(from_start=True)
    header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11" + (20_000).to_bytes(2, "big") + b"\n" * 20_000
    for at, byte in enumerate(header + b"GET /a HTTP/1.1\r\n\r\n"):
        sensor.call(SEND, bytes((byte,)), call_start=not at)
    sensor.call(RECEIVE, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    (found,) = sensor.out
    assert (found.request.target, found.incomplete_reason) == (b"/a", None)


@pytest.mark.parametrize("piece", [b"x", b"\n", b"\r\n"])
def test_looks_are_rationed(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def identify(data: bytes, *, first: bool) -> Start:  # noqa: ARG001
        read.append(len(data))
        return Start.MORE

    monkeypatch.setattr("apisensor.transactions.candidate.identify", identify)
    candidate = Candidate()
    while candidate.size < WAIT:
        assert candidate.look(piece) is Start.MORE
        candidate.add(piece, candidate.size, False)
    assert 0 < sum(read) < _LOOKED + 4 * WAIT
    assert b"".join(data for data, _, _ in candidate.take()) == piece * (WAIT // len(piece))
    assert candidate.size == 0
