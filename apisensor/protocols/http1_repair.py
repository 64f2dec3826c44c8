"""Heads that are not what RFC 9112 says, and that servers accept: put right, each with the anomaly that says so.

The parser is strict. Where it refuses a head of a connection that is in step, the head is looked at here, and what is
known of servers' leniency is written as it should have been; then it is parsed again. What a server makes of it is in
its response; that one may read another message than the next one does is how requests are smuggled.
"""

from __future__ import annotations

from typing import NamedTuple

from apisensor.protocols import anomalies

LONGEST = 16 * 1024
"""Bytes of a head that is put right. Servers refuse longer ones; it is joined again with each piece that comes."""

_BLANKS = b" \t"
_NOT_ASCII = bytes(range(0x80, 0x100))


class Repaired(NamedTuple):
    """A head put right, and what follows it."""

    data: bytes
    target: bytes
    """The request target as sent, where it had to be changed; else empty."""
    anomalies: list[str]


def repaired(data: bytes, *, request: bool) -> Repaired | None:
    """The data, which begins with a refused head, put right; None where nothing is known to put right.

    A head that is not complete has no data yet: b"", and the anomalies that it is known to have.
    """
    head, rest, bare = _divided(data)
    found: list[str] = []
    lines = head.split(b"\n")
    if bare or any(line[-1:] != b"\r" for line in (lines[:-1] if rest is None else lines)):
        found.append(anomalies.BARE_LINE_FEED)
    lines = [line.removesuffix(b"\r") for line in lines]
    start, target = _start_line(lines[0]) if request else (lines[0], b"")
    if target:
        found.append(anomalies.NON_ASCII_TARGET)
    fields: list[bytes] = [start]
    for line in lines[1:]:
        if line[:1] and line[:1] in _BLANKS:
            if len(fields) == 1:
                return None  # folded into the start line: nobody accepts that
            fields[-1] += b" " + line.strip(_BLANKS)
            _note(found, anomalies.FOLDED_FIELD)
            continue
        name, colon, value = line.partition(b":")
        if name[-1:] and name[-1:] in _BLANKS and (colon or line is lines[-1]):
            name = name.rstrip(_BLANKS)
            _note(found, anomalies.SPACE_BEFORE_COLON)
        fields.append(name + colon + value)
    if not found:
        return None
    if rest is None:
        return Repaired(b"", b"", found) if len(data) < LONGEST else None
    return Repaired(b"\r\n".join(fields) + b"\r\n\r\n" + rest, target, found)


def _divided(data: bytes) -> tuple[bytes, bytes | None, bool]:
    """The head without its last line feed and empty line; what follows, None if it is not complete; whether the empty
    line has no carriage return."""
    ends = [(at, len(end)) for end in (b"\n\r\n", b"\n\n") if (at := data.find(end, 0, LONGEST)) >= 0]
    if not ends:
        return data[:LONGEST], None, False
    at, size = min(ends)
    return data[:at], data[at + size :], size == 2


def _start_line(line: bytes) -> tuple[bytes, bytes]:
    """The request line with its target in ASCII, and the target as sent; empty where it is ASCII."""
    method, _, rest = line.partition(b" ")
    target, blank, version = rest.rpartition(b" ")
    if not blank:  # the line is not complete
        target, version = version, b""
    if len(target.translate(None, _NOT_ASCII)) == len(target):
        return line, b""
    plain = b"".join(b"%%%02X" % octet if octet >= 0x80 else bytes((octet,)) for octet in target)
    return b" ".join((method, plain, version)), target


def _note(found: list[str], anomaly: str) -> None:
    if anomaly not in found:
        found.append(anomaly)
