"""What a proxy sends before the client's first byte is passed over; what follows is read as if it came first."""

from __future__ import annotations

import pytest

from apisensor.protocols.proxy import header_length
from apisensor.transactions.analyzer import Count
from tests.transactions.conversation import RECEIVE, SEND, Sensor, http1_calls, http1_request, http1_truth, of_exchange

VERSION_2 = b"\r\n\r\n\x00\r\nQUIT\n"
HEADERS = {
    "1, IPv4": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    "1, IPv6": b"PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
    "1, unknown": b"PROXY UNKNOWN\r\n",
    "2, IPv4": VERSION_2 + b"\x21\x11\x00\x0c" + bytes(12),
    "2, local": VERSION_2 + b"\x20\x00\x00\x00",
    "2, with a TLV": VERSION_2 + b"\x21\x11\x00\x14" + bytes(12) + b"\x02\x00\x05GET /",
}
TRUTHS = [http1_truth(0, method=b"POST", body=20), http1_truth(1)]


@pytest.mark.parametrize("case", HEADERS)
def test_its_length(case: str) -> None:
    header = HEADERS[case]
    for end in range(1, len(header)):
        assert header_length(header[:end]) is None
    assert header_length(header) == header_length(header + b"GET / HTTP/1.1") == len(header)


@pytest.mark.parametrize(
    "data",
    [
        *(b"GET / HTTP/1.1\r\n", b"P", b"POST / HTTP/1.1\r\n", b"PROXY /a HTTP/1.1\r\n", b"PRI * HTTP/2.0\r\n\r\n"),
        *(b"\r\n\r\nGET", b"PROXY TCP4 " + b"1" * 200, VERSION_2 + b"\x11\x11\x00\x00"),
    ],
)
def test_what_is_none(data: bytes) -> None:
    assert header_length(data) == (None if data == b"P" else 0)


@pytest.mark.parametrize("case", HEADERS)
def test_whole_byte_by_byte_and_at_every_split_point(case: str) -> None:
    header = HEADERS[case]
    first = header + http1_request(TRUTHS[0])
    _, *others = http1_calls(TRUTHS)
    cuts = [[first], [bytes((octet,)) for octet in first]]
    cuts += [[first[:at], first[at:]] for at in range(1, len(first))]
    for pieces in cuts:
        for call_start in (True, False):
            sensor = Sensor()
            sensor.open()
            for number, piece in enumerate(pieces):
                sensor.call(SEND, piece, call_start=call_start or not number)
            sensor.calls(others)
            assert [of_exchange(one) for one in sensor.out] == TRUTHS
            assert [one.incomplete_reason for one in sensor.out] == [None, None]
            assert sensor.count(Count.NOT_HTTP_BYTES) == len(header)
            assert sensor.count(Count.FLOWS_JOINED_LATE) == 0


def test_what_follows_may_be_pipelined() -> None:
    # Requests in one call are taken for content where the beginning was missed: a header is no part of what was missed.
    sensor = Sensor()
    sensor.open()
    requests = [http1_request(truth) for truth in (http1_truth(2), http1_truth(3))]
    sensor.call(SEND, HEADERS["1, IPv4"] + b"".join(requests))
    for way, data in http1_calls([http1_truth(2), http1_truth(3)]):
        if way is RECEIVE:
            sensor.call(way, data)
    assert [of_exchange(one) for one in sensor.out] == [http1_truth(2), http1_truth(3)]


def test_ciphertext_behind_it_is_ciphertext() -> None:
    sensor = Sensor()
    sensor.open()
    sensor.call(SEND, HEADERS["2, IPv4"] + b"\x16\x03\x01\x00\x05hello")
    assert sensor.count(Count.FLOWS_CIPHERTEXT) == 1
