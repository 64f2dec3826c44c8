"""Each coding whole, cut, broken and stacked; bombs in bounded memory."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from apisensor.content import codings
from apisensor.content.codings import DECODED_BYTES, RATIO, RATIO_FROM, STACKED, decoded
from apisensor.content.inspector import Inspector
from apisensor.transactions.model import Header
from tests.content.exchanges import JSON, exchange
from tests.peers.process import ROOT

inspect = Inspector().inspect


def _raw_deflate(text: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-15)
    return coder.compress(text) + coder.flush()


CODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", _raw_deflate),
    "br": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
}
TEXT = b"".join(b'{"n": %d, "hash": "%08x"}\n' % (n, zlib.crc32(b"%d" % n)) for n in range(3000))
LONG = b"".join(b'{"n": %d, "hash": "%08x"}\n' % (n, zlib.crc32(b"%d" % n)) for n in range(7_800))


@pytest.fixture(params=CODERS)
def coder(request: pytest.FixtureRequest) -> tuple[str, Callable[[bytes], bytes]]:
    return CODERS[request.param]


def test_whole(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = coder
    for text in (b"x", b"joe@example.com", TEXT):
        assert decoded(encode(text), (name,), True) == (text, None)


def test_cut_is_looked_into_as_far_as_it_goes(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = coder
    body = encode(LONG)
    assert len(LONG) < DECODED_BYTES
    text, anomaly = decoded(body[: len(body) * 3 // 4], (name,), False)
    assert anomaly is None
    assert len(text) > len(LONG) // 4
    assert LONG.startswith(text)


def test_an_early_end_of_a_whole_body_is_said(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = coder
    _, anomaly = decoded(encode(TEXT)[:-9], (name,), True)
    # The zstd reader does not tell a cut frame from a whole one.
    assert anomaly == (None if name == "zstd" else codings.INVALID)


def test_an_early_end_is_said_of_a_message_that_ended_and_of_no_other() -> None:
    line = (b"Content-Encoding", b"gzip")
    cut = exchange([line], [line], body=gzip.compress(TEXT)[:-9], response_body=gzip.compress(TEXT)[:-9])
    assert inspect(cut).anomalies == [codings.INVALID]
    for reason in ("request_not_finished", "segment_missing"):
        assert inspect(msgspec.structs.replace(cut, incomplete_reason=reason)).anomalies == []
    answered = msgspec.structs.replace(cut, incomplete_reason="response_not_finished")
    assert inspect(answered).anomalies == [codings.INVALID]  # of the request
    answered.request.body = gzip.compress(TEXT)
    answered.request.body_size = len(answered.request.body)
    assert inspect(answered).anomalies == []


def test_broken(coder: tuple[str, Callable[[bytes], bytes]]) -> None:
    name, encode = coder
    body = encode(LONG)
    middle = len(body) * 3 // 4
    # zstd reads a whole block before it says anything; what zlib takes for codes must not reach the size limit.
    junk = b"\xff\x00broken" * (20_000 if name == "zstd" else 20)
    text, anomaly = decoded(body[:middle] + junk, (name,), True)
    assert anomaly == codings.INVALID
    assert len(text) > 50_000
    assert LONG[:50_000] == text[:50_000]
    assert decoded(b"plain text that nobody coded " * 20, (name,), True) == (b"", codings.INVALID)
    assert decoded(b"plain text that nobody coded " * 20, (name,), False) == (b"", None)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_follow_each_other(name: str) -> None:
    encode = CODERS[name][1]
    assert decoded(encode(b"one ") + encode(b"two"), (name,), True) == (b"one two", None)


@pytest.mark.parametrize("name", CODERS)
def test_what_follows_the_end_is_no_part_of_it(name: str) -> None:
    coding, encode = CODERS[name]
    text, anomaly = decoded(encode(b"content") + b"and more", (coding,), True)
    assert anomaly == codings.INVALID
    assert text in (b"content", b"")


@pytest.mark.parametrize("name", CODERS)
def test_bombs_are_bounded(name: str) -> None:
    """100 MB in a few hundred bytes to 100 KB, alone and coded twice."""
    coding, encode = CODERS[name]
    bomb = encode(bytes(100_000_000))
    for body, applied in ((bomb, (coding,)), (encode(bomb), (coding, coding))):
        tracemalloc.start()
        text, anomaly = decoded(body, applied, True)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        limit = min(DECODED_BYTES, max(RATIO_FROM, RATIO * len(body)))
        assert len(text) <= limit
        assert anomaly == (codings.SIZE_LIMIT if limit == DECODED_BYTES else codings.RATIO_LIMIT)
        assert peak < 4 * DECODED_BYTES
    assert decoded(encode(TEXT * 4), (coding,), True) == ((TEXT * 4)[:DECODED_BYTES], codings.SIZE_LIMIT)


def test_a_large_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    coder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = coder.compress(b"x" * 1000) + coder.flush()
    assert decoded(body, ("zstd",), True) == (b"", codings.INVALID)


def test_stacked() -> None:
    body = brotli.compress(gzip.compress(zlib.compress(TEXT)))
    assert decoded(body, ("deflate", "gzip", "br"), True) == (TEXT, None)
    assert decoded(body, ("gzip",) * (STACKED + 1), True) == (b"", codings.COUNT_LIMIT)
    assert decoded(body, ("gzip", "aes128gcm"), True) == (b"", codings.UNKNOWN)


def test_names() -> None:
    assert codings.codings(b" GZip , identity,, br") == ("gzip", "br")
    assert len(codings.codings(b"gzip," * 10_000)) == STACKED + 1
    assert codings.codings(b"identity") == ()


@settings(deadline=None)
@given(
    st.binary(max_size=3000), st.lists(st.sampled_from(["gzip", "deflate", "br", "zstd"]), max_size=3), st.booleans()
)
def test_any_bytes(body: bytes, applied: list[str], whole: bool) -> None:
    text, _ = decoded(body, tuple(applied), whole)
    assert len(text) <= max(RATIO_FROM, RATIO * len(body), len(body))


@settings(deadline=None)
@given(st.binary(max_size=300), st.lists(st.sampled_from(sorted(CODERS)), max_size=3), st.integers(0, 400))
def test_what_was_coded_comes_back(text: bytes, names: list[str], cut: int) -> None:
    body = text
    for name in names:
        body = CODERS[name][1](body)
    applied = tuple(CODERS[name][0] for name in names)
    assert decoded(body, applied, True) == (text, None) or not text
    assert text.startswith(decoded(body[:cut], applied, False)[0])


@pytest.mark.parametrize("name", CODERS)
def test_coded_bodies_are_searched(name: str) -> None:
    coding, encode = CODERS[name]
    body = encode(b'{"user": "joe", "password": "x", "mail": "joe@example.com"}')
    headers: list[Header] = [JSON, (b"Content-Encoding", coding.encode())]
    for lines in (headers, headers[::-1]):
        for _ in range(2):  # the second time with the lines remembered
            insight = inspect(exchange(lines, lines, body=body, response_body=body))
            assert insight.login_user == b"joe"
            assert insight.anomalies == []
            assert {(found.place, found.kind) for found in insight.sensitive} == {
                (f"{message}.body", kind) for message in ("request", "response") for kind in ("password", "email")
            }


_SEALED = """
import json, os, sys
from apisensor.content.inspector import Inspector
from apisensor.transactions.model import Header
from apisensor.processes.privileges import become
from apisensor.processes.sandbox import seal
from tests.content.exchanges import JSON, exchange
from tests.content.test_codings import CODERS, LONG
bodies = {name: (coding, encode(LONG + b"joe@example.com")) for name, (coding, encode) in CODERS.items()}
become("nobody")
seal()
found = {}
for name, (coding, body) in bodies.items():
    insight = Inspector().inspect(exchange([JSON, (b"Content-Encoding", coding.encode())], body=body))
    found[name] = [insight.anomalies, [finding.kind for finding in insight.sensitive]]
os.write(1, json.dumps(found).encode())
"""


@pytest.mark.kernel
def test_decoders_work_in_the_sandbox() -> None:
    done = subprocess.run([sys.executable, "-c", _SEALED], cwd=ROOT, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {name: [[], ["email"]] for name in CODERS}


def test_codings_of_several_lines_add_up() -> None:
    body = brotli.compress(gzip.compress(b'"joe@example.com"'))
    headers: list[Header] = [(b"Content-Encoding", b"gzip"), JSON, (b"content-encoding", b"br")]
    assert [found.kind for found in inspect(exchange(headers, body=body)).sensitive] == ["email"]
    too_many: list[Header] = [JSON, *[(b"Content-Encoding", b"gzip")] * 2000]
    assert inspect(exchange(too_many, too_many, body=body, response_body=body)).anomalies == [codings.COUNT_LIMIT]


def test_what_is_no_text_is_not_decoded() -> None:
    headers: list[Header] = [(b"Content-Type", b"image/svg"), (b"Content-Encoding", b"gzip")]
    assert inspect(exchange(headers, body=b"broken")).anomalies == [codings.INVALID]
    headers[0] = (b"Content-Type", b"image/png")
    assert inspect(exchange(headers, body=b"broken")).anomalies == []
