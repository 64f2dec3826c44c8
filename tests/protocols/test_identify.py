"""What the first bytes of a direction are taken for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apisensor.protocols.identify import PREFACE, Start, identify

SETTINGS = bytes.fromhex("00000c 04 00 00000000 000300000064 000400010000")

BEGINNINGS = [
    (b"GET / HTTP/1.1\r\n", Start.REQUEST),
    (b"GET /a?b=c HTTP/1.0\r\nHost: x\r\n\r\n", Start.REQUEST),
    (b"\r\nPOST /a HTTP/1.1\r\n", Start.REQUEST),
    (b"OPTIONS * HTTP/1.1\r\n", Start.REQUEST),
    (b"CONNECT a:443 HTTP/1.1\r\n", Start.REQUEST),
    (b"M-SEARCH * HTTP/1.1\r\n", Start.REQUEST),
    (b"GET http://a/b HTTP/1.1\r\n", Start.REQUEST),
    ("GET /\N{LATIN SMALL LETTER A WITH DIAERESIS} HTTP/1.1\r\n".encode(), Start.REQUEST),
    (b"HTTP/1.1 200 OK\r\n", Start.RESPONSE),
    (b"HTTP/1.0 404 \r\n", Start.RESPONSE),
    (b"HTTP/1.1 200\r\n\r\n", Start.RESPONSE),
    (PREFACE, Start.PREFACE),
    (PREFACE + SETTINGS, Start.PREFACE),
    (SETTINGS, Start.FRAMES),
    (b"\n\r\n\nGET / HTTP/1.1\r\n", Start.REQUEST),
    (bytes.fromhex("000004 08 00 00000000 00010000"), Start.FRAMES),
    (bytes.fromhex("160301 0100 01") + bytes(300), Start.TLS),
    (bytes.fromhex("170303 0020") + bytes(32), Start.TLS),
]

FIRST = [
    b"GET . HTTP/1.0\r\n",
    b"POST a/b?c HTTP/1.1\r\n",
    b"GET /a;cat /etc/passwd| HTTP/1.1\n",
    b"GET    /a HTTP/1.1\r\n",
    b"GET /  HTTP/1.1\r\n",
]
"""Request lines, where nothing was before them."""

OTHERS = [
    b"get / HTTP/1.1\r\n",
    b"GET / HTTP/1.1 \r\n",
    b"GET / HTTP/2.0\r\n",
    b"GET / HTTP/1.2\r\n",
    b"GET /\r\n",
    b"GET / \x01 HTTP/1.1\r\n",
    b"GET HTTP/1.1\r\n",
    b"GET   HTTP/1.1\r\n",
    b"CONNECT a HTTP/1.1\r\n",
    b"REQUEST a b HTTP/1.1\r\n",
    b"GET key\r\n",
    b"OPTIONS rtsp://a/b RTSP/1.0\r\n",
    b"HTTP/1.1 20x OK\r\n",
    b"HTTP/1.1 099 OK\r\n",
    b"HTTP/1.12200 OK\r\n",
    b"SSH-2.0-OpenSSH_9.2p1\r\n",
    b"*1\r\n$4\r\nPING\r\n",
    b"\x00\x00\x00\x08\x04\xd2\x16\x2f\x00",  # a PostgreSQL SSLRequest and one octet
    b"A !!! HTTP/1.0\r\n",
    bytes(64),
    b"EHLO example\r\n",
    b"a body that says GET / HTTP/1.1\r\n",
    b'{"method": "GET / HTTP/1.1"}',
]


@pytest.mark.parametrize(("data", "start"), BEGINNINGS)
def test_recognised(data: bytes, start: Start) -> None:
    assert identify(data) is start


@pytest.mark.parametrize("data", FIRST)
def test_malformed_targets_are_recognised_where_they_come_first(data: bytes) -> None:
    assert identify(data) is Start.OTHER
    assert identify(data, first=True) is Start.REQUEST
    for end in range(1, len(data)):
        assert identify(data[:end], first=True) in (Start.MORE, Start.REQUEST), data[:end]


@pytest.mark.parametrize("data", OTHERS)
@pytest.mark.parametrize("first", [True, False])
def test_something_else(data: bytes, first: bool) -> None:
    assert identify(data, first=first) is Start.OTHER


@pytest.mark.parametrize(("data", "start"), [(d, s) for d, s in BEGINNINGS if s is not Start.TLS])
def test_a_prefix_is_never_taken_for_something_else(data: bytes, start: Start) -> None:
    for end in range(1, len(data)):
        assert identify(data[:end]) in (Start.MORE, start), data[:end]


@given(st.binary(max_size=64))
def test_random_bytes_are_http_only_where_the_grammar_says_so(data: bytes) -> None:
    start = identify(data)
    request = re.match(
        rb"(\r?\n)*[A-Z_-]{1,32} (/[^\x00-\x20\x7f]*|\*|[^\x00-\x20\x7f]*:[^\x00-\x20\x7f]*) HTTP/1\.[01]\r\n", data
    )
    response = re.match(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r]", data)
    assert start is not Start.REQUEST or request
    assert start is not Start.RESPONSE or response
    assert start is not Start.PREFACE or data.startswith(PREFACE)
