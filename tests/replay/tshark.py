"""What tshark makes of a capture: every HTTP/1 and HTTP/2 exchange, from its JSON, in a form that can be compared.

tshark dissects frame by frame; what belongs together is put together here, by the rules of the RFCs alone: responses
answer requests in order (RFC 9112 section 9.3), frames of a stream are one exchange (RFC 9113 section 8.1).
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

Pairs = list[tuple[str, Any]]
"""A JSON object whose names may repeat: tshark writes one for each occurrence of a field."""


class Told(msgspec.Struct, gc=False, order=True, frozen=True):
    """One exchange, as tshark or as the sensor tells it."""

    client_port: int
    stream_id: int
    """0 for HTTP/1."""
    method: str
    path: str
    status: int
    """0: no response."""
    request_headers: tuple[tuple[str, str], ...]
    response_headers: tuple[tuple[str, str], ...]
    request_size: int
    response_size: int


class _Message(msgspec.Struct, gc=False):
    first: str = ""
    """Method or status."""
    path: str = ""
    headers: list[tuple[str, str]] = []
    size: int = 0


def _every(tree: Any, name: str) -> Iterator[Any]:
    """All values of a field, at any depth, in order."""
    if isinstance(tree, list):
        for item in tree:
            if isinstance(item, tuple):
                if item[0] == name:
                    yield item[1]
                else:
                    yield from _every(item[1], name)
            else:
                yield from _every(item, name)


def _text(tree: Any, name: str) -> str | None:
    return next((value for value in _every(tree, name) if isinstance(value, str)), None)


def _objects(value: Any) -> list[Any]:
    """One object is a list of pairs; several of one name are a list of objects."""
    return [value] if not value or isinstance(value[0], tuple) else list(value)


def dissected(path: Path, decode_as: dict[int, str]) -> list[tuple[int, int, int, str, Any]]:
    """The protocol data units of a capture, in order: (TCP stream, source port, destination port, "http" or "http2",
    the unit). `decode_as` says what a port's connections speak."""
    command = ["tshark", "-n", "-r", str(path), "-Y", "http or http2", "-J", "tcp http http2"]
    # Bodies are measured, not read: decoding them costs time and hides their length.
    command += ["-o", "http.decompress_body:FALSE", "-T", "json", "--no-duplicate-keys"]
    for port, protocol in decode_as.items():
        command += ["-d", f"tcp.port=={port},{protocol}"]
    done = subprocess.run(command, check=True, capture_output=True)
    out = []
    for frame in json.loads(done.stdout, object_pairs_hook=lambda pairs: pairs):
        layers = dict(dict(frame)["_source"])["layers"]
        tcp = next(value for name, value in layers if name == "tcp")
        ends = [int(_text(tcp, name) or 0) for name in ("tcp.stream", "tcp.srcport", "tcp.dstport")]
        for name, value in layers:
            if name in ("http", "http2"):
                out += [(ends[0], ends[1], ends[2], name, unit) for unit in _objects(value)]
    return out


def _lines(unit: Any, name: str) -> list[tuple[str, str]]:
    out = []
    for value in _every(unit, name):
        for line in [value] if isinstance(value, str) else value:
            field, _, content = line.rstrip("\r\n").partition(":")
            out.append((field, content.strip()))
    return out


def _content(unit: Any, headers: Iterable[tuple[str, str]], without: bool) -> int:
    """Bytes of content of an HTTP/1 message after transfer coding is removed."""
    chunks = [int(size) for size in _every(unit, "http.chunk_size")]
    if chunks:
        return sum(chunks)
    length = next((value for name, value in headers if name.lower() == "content-length"), "0")
    return 0 if without else int(length)


def _http1(units: Sequence[tuple[int, int, int, str, Any]]) -> Iterator[Told]:
    # A message is dissected when its last byte is there, and a server may answer before that: the order of requests and
    # the order of responses are known, that between them is not.
    requests: dict[int, list[tuple[int, _Message]]] = defaultdict(list)
    answers: dict[int, list[Any]] = defaultdict(list)
    for stream, source, _, _, unit in units:
        if (method := _text(unit, "http.request.method")) is not None:
            headers = _lines(unit, "http.request.line")
            path = _text(unit, "http.request.uri") or ""
            requests[stream].append((source, _Message(method, path, headers, _content(unit, headers, False))))
        elif (code := _text(unit, "http.response.code")) is not None and (code[0] != "1" or code == "101"):
            answers[stream].append((code, unit))
    for stream, asked in requests.items():
        for (port, request), answer in itertools.zip_longest(asked, answers[stream]):
            response = _Message()
            if answer is not None:
                code, unit = answer
                headers = _lines(unit, "http.response.line")
                without = request.first == "HEAD" or code in ("204", "304")
                response = _Message(code, "", headers, _content(unit, headers, without))
            yield _told(port, 0, request, response)


def _told(port: int, stream_id: int, request: _Message, response: _Message) -> Told:
    return Told(
        port,
        stream_id,
        request.first,
        request.path,
        int(response.first or 0),
        tuple(request.headers),
        tuple(response.headers),
        request.size,
        response.size,
    )


_DATA, _PUSH_PROMISE, _CONTINUATION, _PADDED = "0", "5", "9", 0x08


def _http2(units: Sequence[tuple[int, int, int, str, Any]], servers: Iterable[int]) -> Iterator[Told]:
    messages: dict[tuple[int, int], tuple[int, _Message, _Message]] = {}
    for stream, source, destination, _, unit in units:
        for frame in (one for value in _every(unit, "http2.stream") for one in _objects(value)):
            number, kind = _text(frame, "http2.streamid"), _text(frame, "http2.type")
            if number is None or number == "0":
                continue
            answers = source in servers
            promised = _text(frame, "http2.push_promise.promised_stream_id") if kind == _PUSH_PROMISE else None
            key = stream, int(promised or number)
            port = destination if answers else source
            _, request, response = messages.setdefault(key, (port, _Message(headers=[]), _Message(headers=[])))
            message = request if promised or not answers else response
            if kind == _DATA:
                padding = int(_text(frame, "http2.pad_length") or 0)
                padded = int(_text(frame, "http2.flags") or "0", 16) & _PADDED
                message.size += int(_text(frame, "http2.length") or 0) - (padding + 1 if padded else 0)
                continue
            fields = [
                (str(_text(field, "http2.header.name")), str(_text(field, "http2.header.value") or ""))
                for value in _every(frame, "http2.header")
                for field in _objects(value)
            ]
            pseudo = {name: value for name, value in fields if name.startswith(":")}
            if not pseudo and kind != _CONTINUATION:  # trailers
                continue
            if pseudo.get(":status", "").startswith("1"):
                continue
            message.first = pseudo.get(":method") or pseudo.get(":status") or message.first
            message.path = pseudo.get(":path", message.path)
            message.headers += [(name, value) for name, value in fields if not name.startswith(":")]
    for (_, stream_id), (port, request, response) in messages.items():
        if request.first or response.first:
            yield _told(port, stream_id, request, response)


def exchanges(path: Path, decode_as: dict[int, str]) -> list[Told]:
    """Every exchange of a capture, sorted.

    Args:
        decode_as: Port of a server: "http" or "http2".
    """
    units = dissected(path, decode_as)
    http1 = [unit for unit in units if unit[3] == "http"]
    http2 = [unit for unit in units if unit[3] == "http2"]
    return sorted([*_http1(http1), *_http2(http2, decode_as)])
