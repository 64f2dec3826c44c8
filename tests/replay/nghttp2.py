"""What nghttp2's own tools say of their connections: the output of `nghttp -v` and `nghttpd -v`, as exchanges.

Both print each frame. The fields of one that was sent stand behind it, those of one that was received before it. The
server begins lines with the connection's number.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

import msgspec

Fields = tuple[tuple[str, str], ...]

_OF_SERVER = re.compile(r"\[id=(\d+)\] (.*)")
_FRAME = re.compile(r"\[ *[\d.]+\] (send|recv) (\w+) frame <length=(\d+), flags=0x[0-9a-f]+, stream_id=(\d+)>")
_RECEIVED = re.compile(r"\[ *[\d.]+\] recv \(stream_id=\d+(?:, sensitive)?\) (.*)")
_PADDING = re.compile(r"\(padlen=(\d+)")
_INDENT = " " * 10


class Told(msgspec.Struct, gc=False, order=True, frozen=True):
    """One exchange."""

    stream_id: int
    method: str
    path: str
    status: int
    request_headers: Fields
    response_headers: Fields
    request_trailers: Fields
    response_trailers: Fields
    request_size: int
    response_size: int


class _Side(msgspec.Struct, gc=False):
    """What one direction of a stream carried."""

    blocks: list[list[tuple[str, str]]] = []
    size: int = 0


def connections(log: str, *, of_server: bool) -> list[list[Told]]:
    """The connections of a log, each with its exchanges in the order of their streams; pushed ones left out."""
    lines: dict[str, list[str]] = defaultdict(list)
    number = ""
    for line in log.splitlines():
        found = _OF_SERVER.match(line)
        if found:
            number = found[1]
        if not of_server or number:
            lines[number].append(found[2] if found else line)
    return [_exchanges(own, "recv" if of_server else "send") for own in lines.values()]


def _exchanges(lines: Iterable[str], asking: str) -> list[Told]:
    streams: dict[int, dict[str, _Side]] = defaultdict(lambda: {"send": _Side(), "recv": _Side()})
    waiting: list[tuple[str, str]] = []
    """Fields received, whose frame is yet to be told."""
    current: tuple[str, _Side] | None = None
    """The frame that indented lines are about."""
    for line in lines:
        if found := _RECEIVED.match(line):
            waiting.append(_field(found[1]))
        elif found := _FRAME.match(line):
            way, kind, length, stream = found[1], found[2], int(found[3]), int(found[4])
            side = streams[stream][way]
            current = kind, side
            if kind == "HEADERS":
                side.blocks.append(waiting if way == "recv" else [])
                waiting = []
            elif kind == "DATA":
                side.size += length
            else:
                waiting = [] if kind == "PUSH_PROMISE" else waiting
        elif current is not None and line.startswith(_INDENT):
            kind, side = current
            text = line.removeprefix(_INDENT)
            if found := _PADDING.match(text):
                side.size -= int(found[1]) if kind == "DATA" else 0
            elif kind == "HEADERS" and text[0] not in ";(":
                side.blocks[-1].append(_field(text))
    return [
        _told(stream, sides[asking], sides["recv" if asking == "send" else "send"])
        for stream, sides in sorted(streams.items())
        if stream % 2 and sides[asking].blocks
    ]


def _field(text: str) -> tuple[str, str]:
    name, _, value = text[1:].partition(": ")
    return text[0] + name, value


def _told(stream: int, asked: _Side, answered: _Side) -> Told:
    head, *trailers = asked.blocks
    answer, *behind = [block for block in answered.blocks if not dict(block).get(":status", "2").startswith("1")]
    pseudo, status = dict(head), int(dict(answer)[":status"])
    fields = [_regular(head), _regular(answer), *(_regular(rest[0]) if rest else () for rest in (trailers, behind))]
    sections = fields[0], fields[1], fields[2], fields[3]
    return Told(stream, pseudo[":method"], pseudo[":path"], status, *sections, asked.size, answered.size)


def _regular(block: list[tuple[str, str]]) -> Fields:
    return tuple(field for field in block if field[0][0] != ":")
