"""Which protocol do these first bytes of a direction speak?

The answers are strict: a flow may be joined anywhere, and what a body contains must not pass for a message. Nothing
here searches: data[0] is taken for the first byte of a message or frame, and either all that is there fits or not.
"""

from __future__ import annotations

import enum
from typing import Final

from apisensor.protocols.frames import frames_start

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113 section 3.4."""

_MAX_METHOD: Final = 32
"""Bytes of a method; the longest registered one is UPDATEREDIRECTREF (17)."""
_METHOD: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")
_TARGET: Final = bytes(set(range(0x21, 0x100)) - {0x7F})
"""What a target may consist of: no blank, no control character. Raw UTF-8 does occur."""
_ODD_TARGET: Final = _TARGET + b" "
_COMMON: Final = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE".split())
"""Methods behind which a connection's first target may be malformed (anomalies.MALFORMED_TARGET), as scanners and
careless clients send it."""
_VERSIONS: Final = (b" HTTP/1.1", b" HTTP/1.0")
_STATUS: Final = b"HTTP/1."
_TLS_TYPES: Final = frozenset((20, 21, 22, 23))


class Start(enum.Enum):
    """What a direction's bytes begin with."""

    MORE = enum.auto()
    """Nothing said against it yet; more bytes decide."""
    OTHER = enum.auto()
    REQUEST = enum.auto()
    """HTTP/1 request line."""
    RESPONSE = enum.auto()
    """HTTP/1 status line."""
    PREFACE = enum.auto()
    """HTTP/2 client preface."""
    FRAMES = enum.auto()
    """HTTP/2 frames, without knowing whose."""
    TLS = enum.auto()
    """A TLS record: this is ciphertext."""


def request_start(data: bytes, *, first: bool = False) -> Start:
    """REQUEST where data begins with an HTTP/1 request line; MORE where it may yet.

    Empty lines before it are allowed (RFC 9112 section 2.2), as servers take them: a line feed ends one.

    Args:
        first: They are the first bytes of a connection, and can be no content of anything: the target may be malformed.
    """
    begin = 0
    while data[begin : begin + 1] == b"\n" or data[begin : begin + 2] == b"\r\n":
        begin = data.index(b"\n", begin) + 1
    if data[begin:] in (b"", b"\r"):
        return Start.MORE
    blank = data.find(b" ", begin, begin + _MAX_METHOD + 1)
    method = data[begin:blank] if blank >= 0 else data[begin : begin + _MAX_METHOD + 1]
    if not method or not _METHOD.issuperset(method) or len(method) > _MAX_METHOD:
        return Start.OTHER
    if blank < 0:
        return Start.MORE
    end = data.find(b"\n", blank)
    if end < 0:
        line = data[blank + 1 :].removesuffix(b"\r")
        target, _, version = line.partition(b" ")
        fits = not target.translate(None, _TARGET) and b"HTTP/1.".startswith(version[:7]) and len(version) <= 8
        return Start.MORE if fits or (first and method in _COMMON and _no_control(line)) else Start.OTHER
    line = data[blank:end].removesuffix(b"\r")  # servers take a line feed alone (RFC 9112 section 2.2)
    target = line[1:-9]
    if line[-9:] not in _VERSIONS:
        return Start.OTHER
    if first and method in _COMMON and target.strip(b" ") and _no_control(target):
        return Start.REQUEST
    if target.translate(None, _TARGET):
        return Start.OTHER
    # RFC 9112 section 3.2: origin-form, asterisk-form, absolute-form, authority-form.
    fits = target[:1] == b"/" or target == b"*" or b"://" in target or (method == b"CONNECT" and b":" in target)
    return Start.REQUEST if fits else Start.OTHER


def _no_control(target: bytes) -> bool:
    """Whether there are no control characters in it."""
    return not target.translate(None, _ODD_TARGET)


def response_start(data: bytes) -> Start:
    """RESPONSE where data begins with an HTTP/1 status line; MORE where it may yet (RFC 9112 section 4)."""
    if len(data) < 13:
        pattern = _STATUS + data[7:8] + b" " + data[9:12]
        fits = pattern.startswith(data[:12]) and data[7:8] in b"01" and (data[9:12] or b"0").isdigit()
        return Start.MORE if fits else Start.OTHER
    fits = (
        data[:7] == _STATUS and data[7] in b"01" and data[8] == 0x20 and data[9:12].isdigit() and data[12] in b" \r\n"
    )
    return Start.RESPONSE if fits and data[9] != 0x30 else Start.OTHER


def preface_start(data: bytes) -> Start:
    """PREFACE where data begins with the HTTP/2 client preface; MORE where it may yet."""
    if data[: len(PREFACE)] == PREFACE:
        return Start.PREFACE
    return Start.MORE if PREFACE.startswith(data) else Start.OTHER


def frame_start(data: bytes) -> Start:
    """FRAMES where data is a plausible chain of HTTP/2 frames; MORE where it may yet be."""
    fits = frames_start(data)
    return Start.MORE if fits is None else Start.FRAMES if fits else Start.OTHER


def tls_start(data: bytes) -> Start:
    """TLS where data begins with a TLS record header (RFC 8446 section 5.1)."""
    if len(data) < 5 or data[0] not in _TLS_TYPES or data[1] != 3 or data[2] > 4:
        return Start.OTHER
    return Start.TLS if 0 < int.from_bytes(data[3:5], "big") <= 2**14 + 2048 else Start.OTHER


_STARTS: Final = (request_start, response_start, preface_start, tls_start, frame_start)


def identify(data: bytes, *, first: bool = False) -> Start:
    """The protocol that data begins with. MORE as long as one of them is possible and none is sure.

    Args:
        first: They are the first bytes of a connection.
    """
    more = False
    for start in _STARTS:
        verdict = start(data) if start is not request_start else request_start(data, first=first)
        if verdict is Start.MORE:
            more = True
        elif verdict is not Start.OTHER:
            return verdict
    return Start.MORE if more else Start.OTHER
