"""Heads that are not what RFC 9112 says, or not what llhttp knows, and that servers accept: put right, with an anomaly.

The parser is strict. Where it refuses a head of a connection that is in step, the head is looked at here, and what is
known of servers' leniency is written as it should have been; then it is parsed again. What a server makes of it is in
its response; that one may read another message than the next one does is how requests are smuggled.
"""

from __future__ import annotations

from typing import NamedTuple

from apisensor.protocols import anomalies
from apisensor.protocols.message import Field

LONGEST = 16 * 1024
"""Bytes of a head that is put right. Servers refuse longer ones; it is joined again with each piece that comes."""

_BLANKS = b" \t"
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""What a method may consist of (RFC 9110 section 5.6.2)."""
_TEXT = b"\t" + bytes(set(range(0x20, 0x100)) - {0x7F})
"""The same of a field's value (section 5.5)."""
_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_STAND_IN_FIELD = b"X", b":", b""
"""What the parser is given for a field line that is none."""
_METHODS = frozenset(b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH".split())
"""Methods that every parser knows."""
_STAND_IN = b"POST"
"""What the parser is given for a method that it may not know."""


class Repaired(NamedTuple):
    """A head put right, and what follows it."""

    data: bytes
    """Empty where the head is not complete yet."""
    method: bytes
    """The method as sent, where it had to be changed; else empty."""
    target: bytes
    """The request target as sent, where it had to be changed; else empty."""
    lengths: list[tuple[int, Field]]
    """Content-Length lines that had to be changed, as sent, each with its place among the lines."""
    malformed: list[tuple[int, Field]]
    """Lines that another stands in for, likewise."""
    anomalies: list[str]

    def as_sent(self, fields: list[Field]) -> None:
        """Make the lines that the parser told those that were sent."""
        for number, (place, field) in enumerate(self.lengths):
            fields[place : place + (number == 0)] = [field]  # the first one is there, the others were left out
        for place, field in self.malformed:
            fields[place] = field


def repaired(data: bytes, *, request: bool) -> Repaired | None:
    """The data, which begins with a refused head, put right; None where nothing is known to put right.

    A head that is not complete has no data yet: b"", and the anomalies that it is known to have.
    """
    head, rest, bare = _divided(data)
    complete = rest is not None
    found: list[str] = []
    lines = head.split(b"\n")
    if bare or any(line[-1:] != b"\r" for line in (lines if complete else lines[:-1])):
        found.append(anomalies.BARE_LINE_FEED)
    open_line = not complete and lines[-1][-1:] != b"\r"
    lines = [line.removesuffix(b"\r") for line in lines]
    start, method, target = _start_line(lines[0], len(lines) > 1 or complete) if request else (lines[0], b"", b"")
    if not target.isascii():
        found.append(anomalies.NON_ASCII_TARGET)
    fields: list[bytes] = [start]
    malformed: list[tuple[int, Field]] = []
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
        if name.lower() == b"transfer-encoding" and value.rstrip(b" ")[-1:] == b"\t":
            value = value.rstrip(_BLANKS)
            _note(found, anomalies.TAB_BEHIND_CODING)
        if _malformed(name, colon, value, may_go_on=open_line and line is lines[-1]):
            if b"\r" in line or name.lower() in _FRAMING:
                return None  # nobody can tell where the line ends, or the message
            malformed.append((len(fields) - 1, (name, value.strip(_BLANKS))))
            name, colon, value = _STAND_IN_FIELD
            _note(found, anomalies.MALFORMED_FIELD)
        fields.append(name + colon + value)
    lengths = _unite_lengths(fields, complete=complete)
    if lengths:
        found.append(anomalies.REPEATED_CONTENT_LENGTH)
    if not found and not method and not target:
        return None
    if rest is None:
        return Repaired(b"", b"", b"", [], [], found) if len(data) < LONGEST else None
    return Repaired(b"\r\n".join(fields) + b"\r\n\r\n" + rest, method, target, lengths, malformed, found)


def _divided(data: bytes) -> tuple[bytes, bytes | None, bool]:
    """The head without its last line feed and empty line; what follows, None if it is not complete; whether the empty
    line has no carriage return."""
    ends = [(at, len(end)) for end in (b"\n\r\n", b"\n\n") if (at := data.find(end, 0, LONGEST)) >= 0]
    if not ends:
        return data[:LONGEST], None, False
    at, size = min(ends)
    return data[:at], data[at + size :], size == 2


def _start_line(line: bytes, complete: bool) -> tuple[bytes, bytes, bytes]:
    """The request line as every parser takes it; the method and the target as sent, each empty where nothing had to be
    changed."""
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not b"HTTP/1.".startswith(version[:7]):
        if complete:
            return line, b"", b""
        target, version = rest, b""
    if target[:1] == b" " or target[-1:] == b" ":
        return line, b"", b""
    known = method in _METHODS or bool(method.translate(None, _TOKEN)) or not method
    plain = b"".join(b"%%%02X" % octet if octet >= 0x80 or octet == 0x20 else bytes((octet,)) for octet in target)
    if target and not well_formed(target, method):
        plain = b"/" + plain
    if known and plain == target:
        return line, b"", b""
    start = b" ".join((method if known else _STAND_IN, plain, version))
    return start, b"" if known else method, target if plain != target else b""


def well_formed(target: bytes, method: bytes) -> bool:
    """Whether a request target has a form of RFC 9112 section 3.2: a path, a URI, * or, of CONNECT, a host."""
    return target[:1] == b"/" or target == b"*" or b"://" in target or method == b"CONNECT"


def _malformed(name: bytes, colon: bytes, value: bytes, *, may_go_on: bool) -> bool:
    """Whether a field line is none (RFC 9112 section 5): no name, no colon, or other characters than they may have."""
    if not colon and (may_go_on or not name):
        return bool(name.translate(None, _TOKEN))
    return not name or not colon or bool(name.translate(None, _TOKEN) or value.translate(None, _TEXT))


def _unite_lengths(fields: list[bytes], *, complete: bool) -> list[tuple[int, Field]]:
    """Make Content-Length lines and members that agree one (RFC 9110 section 8.6), in place.

    Returns: the lines as sent; empty where there is nothing to unite, or where they differ.
    """
    places = [at for at, line in enumerate(fields) if at and line.partition(b":")[0].lower() == b"content-length"]
    values = [fields[at].partition(b":")[2].strip(_BLANKS) for at in places]
    members = [member.strip(_BLANKS) for value in values for member in value.split(b",")]
    if len(members) < 2:
        return []
    known = members if complete else members[:-1]  # the last one may go on
    if len(set(known)) != 1 or not known[0].isdigit():
        return []
    sent: list[tuple[int, Field]] = [
        (at - 1, (fields[at].partition(b":")[0], value)) for at, value in zip(places, values, strict=True)
    ]
    fields[places[0]] = b"%s: %s" % (fields[places[0]].partition(b":")[0], known[0])
    for at in reversed(places[1:]):
        del fields[at]
    return sent


def _note(found: list[str], anomaly: str) -> None:
    if anomaly not in found:
        found.append(anomaly)
