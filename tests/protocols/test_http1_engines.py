"""llhttp and h11 say the same of what both accept; where they differ, it is listed here."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.protocols import http1_h11, http1_llhttp
from apisensor.protocols.http1_engine import DUPLICATE_LENGTH, Engine

LLHTTP, H11 = http1_llhttp.ENGINE, http1_h11.ENGINE


class Heard(msgspec.Struct):
    """One message, as a parser told it."""

    first: tuple[Any, ...] = ()
    """Method, target, version; or the status."""
    fields: list[tuple[bytes, bytes]] = []
    trailers: list[tuple[bytes, bytes]] = []
    body: bytes = b""
    headed: bool = False
    ended: bool = False


class Listener:
    """Keeps what a parser tells."""

    def __init__(self, engine: Engine, requests: bool) -> None:
        self.messages: list[Heard] = []
        self.refused: str | None = None
        self.rest: bytes | None = None
        """What followed a switch."""
        self._engine = engine
        self._url = b""
        self._requests = requests
        self._parser = engine.request(self) if requests else engine.response(self)

    def feed(self, *pieces: bytes) -> Listener:
        for piece in pieces:
            if self.refused is not None or self.rest is not None:
                break
            try:
                self._parser.feed_data(piece)
            except self._engine.switched as switch:
                self.rest = piece[switch.args[0] :]
            except self._engine.refused as refusal:
                self.refused = str(refusal)
        return self

    def on_message_begin(self) -> None:
        self._url = b""
        self.messages.append(Heard())

    def on_url(self, piece: bytes) -> None:
        self._url += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        heard = self.messages[-1]
        (heard.trailers if heard.headed else heard.fields).append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        heard, parser = self.messages[-1], self._parser
        heard.headed = True
        if self._requests:
            heard.first = (parser.get_method(), self._url, parser.get_http_version())
        else:
            heard.first = (parser.get_status_code(),)

    def on_body(self, piece: bytes) -> None:
        self.messages[-1].body += piece

    def on_message_complete(self) -> None:
        self.messages[-1].ended = True


def heard(engine: Engine, requests: bool, *pieces: bytes) -> Listener:
    return Listener(engine, requests).feed(*pieces)


TOKEN = st.text("abcXYZ019-_!~", min_size=1, max_size=8).map(str.encode)
VALUE = st.text('abc ,;=/:"()\t09é', max_size=20).map(lambda text: text.strip(" \t").encode())
NAME = TOKEN.filter(lambda name: name.lower() not in (b"host", b"te"))
FIELDS = st.lists(st.tuples(NAME, VALUE), max_size=5)
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"])
TARGET = st.sampled_from([b"/", b"/a?b=c&d", b"*", b"http://host.example/path?x", b"/%7E/;p"])
STATUS = st.sampled_from([200, 201, 301, 404, 500, 204, 304, 100, 103])
BODY = st.binary(max_size=60)
BLANK = st.sampled_from([b"", b" "])
SPACE = st.sampled_from([b"", b" ", b"  ", b"\t"])


def chunked(pieces: list[bytes], extension: bytes, trailers: list[tuple[bytes, bytes]]) -> bytes:
    chunks = b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces if piece)
    return chunks + b"0\r\n" + b"".join(b"%s: %s\r\n" % field for field in trailers) + b"\r\n"


@st.composite
def message(draw: st.DrawFn, requests: bool) -> bytes:
    """A valid message with its own framing."""
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    if requests:
        head = b"%s %s HTTP/%s\r\n" % (draw(METHOD), draw(TARGET), version)
        fields, bodiless = [(b"Host", b"host.example")], False
    else:
        status = draw(STATUS)
        head = b"HTTP/%s %d %s\r\n" % (version, status, draw(st.sampled_from([b"OK", b"Not Found", b""])))
        fields, bodiless = [], status < 200 or status in (204, 304)
    fields += draw(FIELDS)
    content = b""
    if not bodiless:
        if version == b"1.1" and draw(st.booleans()):
            fields.append((draw(st.sampled_from([b"Transfer-Encoding", b"transfer-encoding"])), b"chunked"))
            extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"']))
            content = chunked(draw(st.lists(BODY, max_size=3)), extension, draw(FIELDS))
        elif not requests or draw(st.booleans()):
            content = draw(BODY)
            fields.append((draw(st.sampled_from([b"Content-Length", b"content-length"])), b"%d" % len(content)))
    lines = (
        b"%s:%s%s%s\r\n" % (name, draw(SPACE), value, draw(SPACE if value != b"chunked" else BLANK))
        for name, value in fields
    )
    return draw(st.sampled_from([b"", b"", b"\r\n"])) + head + b"".join(lines) + b"\r\n" + content


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in itertools.pairwise(at)]


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.lists(st.integers(0, 10_000), max_size=6))
def test_valid_messages_are_the_same_to_both_however_they_are_cut(
    data: st.DataObject, requests: bool, cuts: list[int]
) -> None:
    messages = data.draw(st.lists(message(requests), min_size=1, max_size=3))
    stream = b"".join(messages)
    truth = heard(LLHTTP, requests, stream)
    assert truth.refused is None
    assert len(truth.messages) == len(messages)
    assert all(one.ended for one in truth.messages)
    for engine in (LLHTTP, H11):
        found = heard(engine, requests, *pieces(stream, cuts))
        assert (found.refused, found.messages) == (None, truth.messages)


@settings(max_examples=50, deadline=None)
@given(st.data(), st.booleans())
def test_valid_messages_byte_by_byte(data: st.DataObject, requests: bool) -> None:
    stream = data.draw(message(requests))
    truth = heard(LLHTTP, requests, stream).messages
    for engine in (LLHTTP, H11):
        assert heard(engine, requests, *(bytes((octet,)) for octet in stream)).messages == truth


@settings(max_examples=300, deadline=None)
@given(st.data(), st.booleans(), st.integers(0, 10_000), st.integers(0, 255), st.sampled_from(["set", "add", "drop"]))
def test_a_changed_octet_is_the_same_to_both_where_both_accept_it(
    data: st.DataObject, requests: bool, at: int, octet: int, how: str
) -> None:
    stream = data.draw(message(requests))
    at %= len(stream)
    changed = stream[:at] + (b"" if how == "drop" else bytes((octet,))) + stream[at + (how != "add") :]
    one, other = heard(LLHTTP, requests, changed), heard(H11, requests, changed)
    if one.refused is None and other.refused is None and one.rest is None and other.rest is None:
        ended = [[told for told in listener.messages if told.ended] for listener in (one, other)]
        assert ended[0] == ended[1]


@pytest.mark.parametrize(
    ("stream", "rest"),
    [
        (b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16\x03\x01", b"\x16\x03\x01"),
        (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00", b"\x81\x00"),
    ],
)
def test_what_follows_a_request_to_switch_is_left_alone(stream: bytes, rest: bytes) -> None:
    for engine in (LLHTTP, H11):
        for split in range(1, len(stream) - len(rest)):
            found = heard(engine, True, stream[:split], stream[split:])
            assert found.rest == rest
            assert [told.ended for told in found.messages] == [True]


def test_what_follows_a_granted_switch_is_left_alone() -> None:
    stream = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"
    for engine in (LLHTTP, H11):
        assert heard(engine, False, stream).rest == b"\x81\x00"


def test_a_body_that_lasts_until_the_end_is_told_as_it_comes() -> None:
    for engine in (LLHTTP, H11):
        (told,) = heard(engine, False, b"HTTP/1.1 200 OK\r\n\r\nab", b"cd").messages
        assert (told.body, told.ended) == (b"abcd", False)


REQUEST = b"POST / HTTP/1.1\r\nHost: h\r\n"
DIFFERENCES = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", LLHTTP),
    "two hosts": (REQUEST + b"Host: h\r\n\r\n", LLHTTP),
    "equal lengths": (REQUEST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", H11),
    "equal lengths in a line": (REQUEST + b"Content-Length: 1, 1\r\n\r\na", H11),
    "two codings": (REQUEST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", LLHTTP),
    "a method nobody knows": (b"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", H11),
    "line feed alone": (b"GET / HTTP/1.1\nHost: h\n\n", H11),
    "a folded line": (REQUEST + b"X: a\r\n b\r\n\r\n", H11),
}
"""What is sent, and who accepts it."""


def test_a_tab_behind_chunked_makes_it_another_coding_to_llhttp() -> None:
    stream = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n1\r\na\r\n0\r\n\r\n"
    assert [told.body for told in heard(H11, False, stream).messages] == [b"a"]
    assert [told.body for told in heard(LLHTTP, False, stream).messages] == [b"1\r\na\r\n0\r\n\r\n"]


@pytest.mark.parametrize("case", DIFFERENCES)
def test_differences(case: str) -> None:
    stream, accepts = DIFFERENCES[case]
    for engine in (LLHTTP, H11):
        found = heard(engine, True, stream)
        complete = found.refused is None and [told.ended for told in found.messages] == [True]
        assert complete is (engine is accepts), (engine, found.refused, found.messages)


def test_lengths_that_differ_are_refused_by_both_in_the_same_words() -> None:
    stream = REQUEST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
    assert {heard(engine, True, stream).refused for engine in (LLHTTP, H11)} == {DUPLICATE_LENGTH}


def test_without_httptools_h11_takes_its_place() -> None:
    program = (
        "import sys; sys.modules['httptools'] = None\n"
        "from apisensor.transactions.analyzer import ENGINE\n"
        "from apisensor.protocols.http1_h11 import ENGINE as H11\n"
        "assert ENGINE is H11\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
