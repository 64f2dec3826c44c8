"""What tshark makes of a capture: every HTTP/1 and HTTP/2 exchange, from its JSON, in a form that can be compared.

tshark dissects frame by frame; what belongs together is put together here, by the rules of the RFCs alone: responses
answer requests in order (RFC 9112 section 9.3), frames of a stream are one exchange (RFC 9113 section 8.1).
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

Pairs = list[tuple[str, Any]]
"""A JSON object whose names may repeat: tshark writes one for each occurrence of a field."""

End = tuple[str, int]
"""Address and port."""

Connection = tuple[End, End]
"""Who asked, and who was asked."""

PROTOCOLS = ("http", "http2", "grpc", "websocket")


class Told(msgspec.Struct, gc=False, order=True, frozen=True):
    """One exchange, as tshark or as the sensor tells it."""

    client_port: int
    stream_id: int
    """0 for HTTP/1."""
    method: str
    """Empty: no request was seen."""
    path: str
    status: int
    """0: no response."""
    request_headers: tuple[tuple[str, str], ...]
    response_headers: tuple[tuple[str, str], ...]
    request_size: int
    response_size: int


def _headers(headers: list[list[str | None]] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name or "", (value or "").strip()) for name, value in headers or ())


def of_replay(line: dict[str, Any]) -> Told:
    """A transaction of the command line, in the form that is compared."""
    return Told(
        line["client"]["port"],
        line["stream_id"] or 0,
        line["method"] or "",
        line["path"] or "",
        line["status"] or 0,
        _headers(line["request_headers"]),
        _headers(line["response_headers"]),
        line["request_body_size"],
        line["response_body_size"] or 0,
    )


class Unit(msgspec.Struct, gc=False):
    """One protocol data unit of a capture."""

    stream: int
    """tshark's number of the TCP connection."""
    source: End
    destination: End
    protocol: str
    """One of PROTOCOLS."""
    tree: Any


class _Message(msgspec.Struct, gc=False):
    first: str = ""
    """Method or status."""
    path: str = ""
    headers: list[tuple[str, str]] = []
    size: int = 0


def every(tree: Any, name: str) -> Iterator[Any]:
    """All values of a field, at any depth, in order."""
    if isinstance(tree, list):
        for item in tree:
            if isinstance(item, tuple):
                if item[0] == name:
                    yield item[1]
                else:
                    yield from every(item[1], name)
            else:
                yield from every(item, name)


def text(tree: Any, name: str) -> str | None:
    """The first value of a field."""
    return next((value for value in every(tree, name) if isinstance(value, str)), None)


def _objects(value: Any) -> list[Any]:
    """One object is a list of pairs; several of one name are a list of objects."""
    return [value] if not value or isinstance(value[0], tuple) else list(value)


def dissected(path: Path, decode_as: Mapping[int, str], *, octets: bool = False) -> list[Unit]:
    """The protocol data units of a capture, in order; nothing that tshark decrypts with keys in the file.

    Args:
        decode_as: Port: "http" or "http2", what its connections speak.
        octets: Have tshark tell the octets of each field, too. Content that ends with the connection can be measured
            only so; the output is several times as long.
    """
    layers = " ".join(("ip", "ipv6", "tcp", *PROTOCOLS))
    command = ["tshark", "-n", "-r", str(path), "-Y", f"tcp and not tls and ({' or '.join(PROTOCOLS)})"]
    command += ["-J", layers]
    # Bodies are measured, not read: decoding them costs time and hides their length.
    command += ["-o", "http.decompress_body:FALSE", "-o", "tcp.reassemble_out_of_order:TRUE"]
    command += ["-T", "json", "--no-duplicate-keys", *(["-x"] if octets else [])]
    for port, protocol in decode_as.items():
        command += ["-d", f"tcp.port=={port},{protocol}"]
    done = subprocess.run(command, check=True, capture_output=True)
    frames = json.loads(done.stdout.decode(errors="replace"), object_pairs_hook=lambda pairs: pairs, strict=False)
    return [unit for frame in frames for unit in _units(dict(dict(frame)["_source"])["layers"])]


def _units(layers: Pairs) -> Iterator[Unit]:
    """Of one frame. Of headers around each other, in tunnels, the innermost count."""
    addresses, ends, stream = ["", ""], [("", 0), ("", 0)], -1
    for name, value in layers:
        if name in ("ip", "ipv6"):
            inner = _objects(value)[-1]
            addresses = [text(inner, f"{name}.{way}") or "" for way in ("src", "dst")]
        elif name == "tcp":
            inner = _objects(value)[-1]
            ports = [int(text(inner, f"tcp.{way}port") or 0) for way in ("src", "dst")]
            ends = list(zip(addresses, ports, strict=True))
            stream = int(text(inner, "tcp.stream") or 0)
        elif name in PROTOCOLS:
            for tree in _objects(value):
                yield Unit(stream, ends[0], ends[1], name, tree)


def _lines(tree: Any, name: str) -> list[tuple[str, str]]:
    out = []
    for value in every(tree, name):
        for line in [value] if isinstance(value, str) else value:
            field, _, content = line.rstrip("\r\n").partition(":")
            out.append((field, content.strip()))
    return out


def _content(tree: Any, headers: Iterable[tuple[str, str]], without: bool) -> int:
    """Bytes of content of an HTTP/1 message after transfer coding is removed."""
    if (octets := next(every(tree, "http.file_data_raw"), None)) is not None:
        return int(octets[2])
    chunks = [int(size) for size in every(tree, "http.chunk_size")]
    if chunks:
        return sum(chunks)
    length = next((value for name, value in headers if name.lower() == "content-length"), "0")
    return 0 if without else int(length)


def _http1(units: Iterable[Unit]) -> Iterator[tuple[Connection, Told]]:
    # A message is dissected when its last byte is there, and a server may answer before that: the order of requests and
    # the order of responses are known, that between them is not.
    connections: dict[int, Connection] = {}
    requests: dict[int, list[_Message]] = defaultdict(list)
    answers: dict[int, list[Any]] = defaultdict(list)
    for unit in units:
        tree = unit.tree
        if (method := text(tree, "http.request.method")) is not None:
            headers = _lines(tree, "http.request.line")
            path = text(tree, "http.request.uri") or ""
            connections[unit.stream] = unit.source, unit.destination
            requests[unit.stream].append(_Message(method, path, headers, _content(tree, headers, False)))
        elif (code := text(tree, "http.response.code")) is not None and (code[0] != "1" or code == "101"):
            connections.setdefault(unit.stream, (unit.destination, unit.source))
            answers[unit.stream].append((code, tree))
    for stream, connection in connections.items():
        for request, answer in itertools.zip_longest(requests[stream], answers[stream]):
            asked, response = request or _Message(), _Message()
            if answer is not None:
                code, tree = answer
                headers = _lines(tree, "http.response.line")
                without = asked.first == "HEAD" or code in ("204", "304")
                response = _Message(code, "", headers, _content(tree, headers, without))
            yield connection, _told(connection, 0, asked, response)


def _told(connection: Connection, stream_id: int, request: _Message, response: _Message) -> Told:
    return Told(
        connection[0][1],
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


def _clients(units: Iterable[Unit]) -> dict[int, Connection]:
    """Who of each connection asks: who sends the preface or, where that was not captured, a method."""
    found: dict[int, Connection] = {}
    for unit in units:
        methods = (value for value in every(unit.tree, "http2.header.name") if value == ":method")
        if text(unit.tree, "http2.magic") is not None or any(methods):
            found.setdefault(unit.stream, (unit.source, unit.destination))
    return found


def _http2(units: Sequence[Unit]) -> Iterator[tuple[Connection, Told]]:
    clients = _clients(units)
    messages: dict[tuple[int, int], tuple[_Message, _Message]] = {}
    for unit in units:
        if unit.stream not in clients:
            continue
        answers = unit.source == clients[unit.stream][1]
        for frame in (one for value in every(unit.tree, "http2.stream") for one in _objects(value)):
            number, kind = text(frame, "http2.streamid"), text(frame, "http2.type")
            if number is None or number == "0":
                continue
            promised = text(frame, "http2.push_promise.promised_stream_id") if kind == _PUSH_PROMISE else None
            key = unit.stream, int(promised or number)
            request, response = messages.setdefault(key, (_Message(headers=[]), _Message(headers=[])))
            message = request if promised or not answers else response
            if kind == _DATA:
                padding = int(text(frame, "http2.pad_length") or 0)
                padded = int(text(frame, "http2.flags") or "0", 16) & _PADDED
                message.size += int(text(frame, "http2.length") or 0) - (padding + 1 if padded else 0)
                continue
            fields = [
                (str(text(field, "http2.header.name")), str(text(field, "http2.header.value") or ""))
                for value in every(frame, "http2.header")
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
    for (stream, stream_id), (request, response) in messages.items():
        if request.first or response.first:
            yield clients[stream], _told(clients[stream], stream_id, request, response)


def connections(units: Sequence[Unit]) -> list[tuple[Connection, Told]]:
    """Every exchange of a capture, with the connection that it took."""
    http1 = [unit for unit in units if unit.protocol == "http"]
    http2 = [unit for unit in units if unit.protocol == "http2"]
    return [*_http1(http1), *_http2(http2)]


def exchanges(path: Path, decode_as: Mapping[int, str]) -> list[Told]:
    """Every exchange of a capture, sorted.

    Args:
        decode_as: Port of a server: "http" or "http2".
    """
    return sorted(told for _, told in connections(dissected(path, decode_as)))
