"""Content codings (RFC 9110 section 8.4): from the captured beginning of a coded body to the beginning of its content.

Nothing here trusts the peer: output is limited in size and in ratio, decoders in memory (brotli's window is at most
16 MiB, zstd's is refused beyond 8 MiB). A body that is cut, by the capture limit or by a loss, is decoded as far as
it goes; of zstd that is up to the last whole block (128 KiB of content).
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable
from typing import Final

import brotli
import zstandard

DECODED_BYTES: Final = 256 << 10
"""Decoded bytes of one body that are looked at. Searching that much takes less than a millisecond."""
RATIO: Final = 100
"""Decoded bytes for each coded byte. JSON reaches 20, repetitive logs 60; deflate's most is 1,032 (a bomb)."""
RATIO_FROM: Final = 16 << 10
"""Decoded bytes up to which the ratio does not matter: a few hundred bytes of the same row are no attack."""
STACKED: Final = 3
"""Codings of one body. Two happen (a server and its proxy); more is somebody's experiment."""

_PIECE: Final = 4 << 10
"""Coded bytes given to a decoder at once. Where they turn out to be broken, only the last piece's output is lost."""
_WINDOW: Final = 8 << 20
"""Largest zstd window: what RFC 9659 section 3 allows in HTTP."""

SIZE_LIMIT: Final = "content-coding-size-limit"
RATIO_LIMIT: Final = "content-coding-ratio-limit"
COUNT_LIMIT: Final = "content-coding-count-limit"
UNKNOWN: Final = "content-coding-unknown"
INVALID: Final = "content-coding-invalid"

ANOMALIES: Final = {
    SIZE_LIMIT: f"a body decodes to more than {DECODED_BYTES:,} bytes; the rest was not looked at",
    RATIO_LIMIT: f"a body decodes to more than {RATIO} times its size (and more than {RATIO_FROM:,} bytes), as bombs "
    "do; the rest was not looked at",
    COUNT_LIMIT: f"a body has more than {STACKED} content codings; it was not looked at",
    UNKNOWN: "a body has a content coding that the sensor cannot decode; it was not looked at",
    INVALID: "a body is not what its Content-Encoding says, or ends too early; it was looked at as far as it goes",
}
"""name: what it says. docs/anomalies.md is tested against this table."""


class _End(enum.Enum):
    """How a decoder came to its end."""

    WHOLE = enum.auto()
    CUT = enum.auto()
    """The coded bytes ended first."""
    FULL = enum.auto()
    """There was more than the limit."""
    BROKEN = enum.auto()


_Result = tuple[bytes, _End]


def codings(value: bytes) -> tuple[str, ...]:
    """The codings that a Content-Encoding value names, in the order in which they were applied; at most STACKED + 1."""
    names = (name.strip().lower() for name in value.split(b",", 64))
    return tuple(name.decode("latin-1") for name in names if name not in (b"", b"identity"))[: STACKED + 1]


def decoded(body: bytes, applied: tuple[str, ...], whole: bool) -> tuple[bytes, str | None]:
    """The beginning of the content, and the anomaly that kept the rest back.

    Args:
        body: what was captured of the coded body.
        applied: its codings, as `codings` gives them.
        whole: all of the body was captured; else an early end or a break in it is the sensor's doing.
    """
    if len(applied) > STACKED:
        return b"", COUNT_LIMIT
    if not all(name in _DECODERS for name in applied):
        return b"", UNKNOWN
    ratio_limit = max(RATIO_FROM, RATIO * len(body))
    limit = min(DECODED_BYTES, ratio_limit)
    anomaly = None
    for name in reversed(applied):
        body, end = _DECODERS[name](body, limit)
        if end is _End.FULL:
            anomaly = anomaly or (RATIO_LIMIT if ratio_limit < DECODED_BYTES else SIZE_LIMIT)
        elif end is not _End.WHOLE and whole:
            anomaly = anomaly or INVALID
        whole = whole and end is _End.WHOLE
    return body, anomaly


def _inflate(body: bytes, limit: int, window_bits: int) -> _Result:
    """zlib's three forms. Members of gzip may follow each other (RFC 1952 section 2.2)."""
    found = bytearray()
    decoder = zlib.decompressobj(window_bits)
    at = 0
    while at < len(body):
        piece = body[at : at + _PIECE]
        try:
            found += decoder.decompress(piece, limit + 1 - len(found))
        except zlib.error:
            return bytes(found), _End.BROKEN
        if len(found) > limit:
            return bytes(found[:limit]), _End.FULL
        at += len(piece) - len(decoder.unused_data) - len(decoder.unconsumed_tail)
        if decoder.eof and at < len(body):
            if window_bits != _GZIP:
                return bytes(found), _End.BROKEN
            decoder = zlib.decompressobj(window_bits)
    return bytes(found), _End.WHOLE if decoder.eof else _End.CUT


_GZIP, _ZLIB, _RAW = 31, 15, -15


def _gzip(body: bytes, limit: int) -> _Result:
    return _inflate(body, limit, _GZIP)


def _deflate(body: bytes, limit: int) -> _Result:
    """zlib's form (RFC 1950), as RFC 9110 section 8.4.1.2 wants it, or the bare one that some servers send."""
    result = _inflate(body, limit, _ZLIB)
    return result if result[0] or result[1] is not _End.BROKEN else _inflate(body, limit, _RAW)


def _brotli(body: bytes, limit: int) -> _Result:
    """A decoder may hold output back that needs no more input: it is asked until it has none."""
    found = bytearray()
    decoder = brotli.Decompressor()
    at = 0
    while not decoder.is_finished():
        piece = b""
        if decoder.can_accept_more_data():
            piece = body[at : at + _PIECE]
            at += len(piece)
        try:
            text = decoder.process(piece, output_buffer_limit=_PIECE)
        except brotli.error:
            return bytes(found), _End.BROKEN
        found += text
        if len(found) > limit:
            return bytes(found[:limit]), _End.FULL
        if not piece and not text:
            return bytes(found), _End.CUT
    return bytes(found), _End.WHOLE if at == len(body) else _End.BROKEN


_ZSTD: Final = zstandard.ZstdDecompressor(max_window_size=_WINDOW)


def _zstd(body: bytes, limit: int) -> _Result:
    """Frames may follow each other (RFC 8878 section 3). The reader does not tell whether the last one is whole."""
    found = bytearray()
    with _ZSTD.stream_reader(body, read_size=_PIECE, read_across_frames=True) as reader:
        while len(found) <= limit:
            try:
                piece = reader.read(min(16 * _PIECE, limit + 1 - len(found)))
            except zstandard.ZstdError:
                return bytes(found), _End.BROKEN
            if not piece:
                return bytes(found), _End.WHOLE
            found += piece
    return bytes(found[:limit]), _End.FULL


_DECODERS: Final[dict[str, Callable[[bytes, int], _Result]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
"""Coding (IANA's registry of HTTP content codings): (coded, limit) -> decoded."""
