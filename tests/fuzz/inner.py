"""Parsers by themselves, without the connection around them that `targets` has: what is deep inside is reached sooner.

However bytes are cut, the same is made of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Hashable
from unittest.mock import patch

import msgspec
from elftools.elf import elffile

from apisensor.content.graphql import selections
from apisensor.content.grpc_messages import VISITED, Messages
from apisensor.content.identifiers import ACTION_BYTES, FIELDS, NAME_BYTES, OPERATIONS
from apisensor.content.inspector import Inspector
from apisensor.enrich.cgroup import membership
from apisensor.enrich.service import LONGEST, service_name
from apisensor.finder.answer import Found
from apisensor.finder.functions import ROLES
from apisensor.finder.symbols import find_functions, find_hints, find_version
from apisensor.protocols.counted import Counter
from apisensor.protocols.event_stream import EventCounter
from apisensor.protocols.grpc import TRAILER_BYTES, TRAILER_COUNT, MessageCounter, TextCounter
from apisensor.protocols.http1_chunks import ChunkError, Chunks
from apisensor.protocols.message import Message
from apisensor.protocols.proxy import LOOKED_AT, header_length
from apisensor.protocols.websocket import WebSocketReader
from apisensor.redact.trace_context import LONGEST_STATE, traceparent, tracestate
from apisensor.streams.limits import Limits
from tests.content.exchanges import exchange
from tests.fuzz.elf import KeptStructs

_ROOM = 300
"""Octets kept of a WebSocket's text, or of a chunked body."""


def _however_cut(data: bytes, step: int, read: Callable[[list[bytes]], Hashable]) -> None:
    whole = read([data])
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert read(pieces) == whole


def websocket(data: bytes) -> None:
    """Frames of one direction: whose they are, what was agreed and how they are cut is in the first two bytes."""
    if len(data) < 2:
        return
    agreed = b"permessage-deflate" + b"; client_no_context_takeover; server_no_context_takeover" * (data[0] >> 2 & 1)

    def read(pieces: list[bytes]) -> Hashable:
        reader = WebSocketReader(of_client=bool(data[0] & 1), room=_ROOM)
        reader.negotiated(agreed if data[0] & 2 else None)
        for piece in pieces:
            reader.feed(piece)
        text = b"".join(reader.text)
        assert len(text) <= _ROOM
        return reader.passed(None), text, reader.size, tuple(reader.anomalies)

    _however_cut(data[2:], data[1] % 40 + 1, read)


_COUNTERS: list[Callable[[], Counter]] = [
    MessageCounter,
    lambda: MessageCounter(web=True),
    TextCounter,
    EventCounter,
]


def counters(data: bytes) -> None:
    """Messages of gRPC, both forms of gRPC-Web, events: which, how they are cut, and a hole, are in the first bytes."""
    if len(data) < 4:
        return
    make = _COUNTERS[data[0] & 3]
    body = data[4:]

    def read(pieces: list[bytes]) -> Hashable:
        counter = make()
        for piece in pieces:
            counter.feed(piece)
        trailers = tuple(counter.trailers)
        assert len(trailers) <= TRAILER_COUNT
        assert sum(len(name or b"") + len(value or b"") for name, value in trailers) <= TRAILER_BYTES + len(body)
        found = counter.passed(None)
        return found, trailers if found.reason is None else ()

    _however_cut(body, data[1] % 40 + 1, read)
    holed, whole = make(), make()
    begin, end = sorted((data[2] % (len(body) + 1), data[3] % (len(body) + 1)))
    holed.feed(body[:begin])
    if end > begin:
        holed.skip(end - begin, "ring_full")
    holed.feed(body[end:])
    whole.feed(body)
    found, truth = holed.passed(None), whole.passed(None)
    # What is still told after a hole is what was there. What was in the hole may have been no message.
    assert found == truth or found.count is None or truth.reason is not None or found.reason is not None


_ENCODINGS = (None, b"gzip", b"deflate", b"zstd")


def protobuf(data: bytes) -> None:
    """Messages without their description; coding and form are in the first byte."""
    if not data:
        return
    encoding, body = _ENCODINGS[data[0] & 3], data[1:]
    found = Messages()
    found.read(body, encoding, text_form=bool(data[0] & 4))
    assert len(found.fields) <= FIELDS
    assert len(found.texts) <= VISITED + len(body)
    if encoding is None:
        assert sum(map(len, found.texts)) <= len(body)


_TYPES = (
    *(b"application/json", b"application/graphql", b"text/xml", b"application/soap+xml"),
    *(b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b", b"application/grpc-web-text"),
    b"application/graphql-response+json",
)


def operations(data: bytes) -> None:
    """Both bodies of a call, of a type that the first byte names; the second one begins behind two line feeds."""
    if not data:
        return
    asked, _, answered = data[1:].partition(b"\n\n")
    kind = b"Content-Type", _TYPES[data[0] & 7]
    raw = exchange([kind], [kind], target=b"/graphql", body=asked, response_body=answered, request={"method": b"POST"})
    found = Inspector().inspect(raw).operations
    if found is not None:
        assert 0 < len(found.spoken) <= OPERATIONS + 1
        for one in found.spoken:
            assert len(one.fields) <= FIELDS
            for name in (one.name, one.target, *one.fields):
                assert name is None or 0 < len(name) <= max(NAME_BYTES, ACTION_BYTES)


def graphql(data: bytes) -> None:
    """A document."""
    found = selections(data)
    assert len(found) <= OPERATIONS
    for one in found:
        assert len(one.fields) <= FIELDS
        assert all(name in data for name in (*one.fields, one.name or b""))


_LENGTHS = (28, 44, 50, 106, 107, 108, LOOKED_AT - 1, LOOKED_AT, LOOKED_AT + 1, 300)


def proxy(data: bytes) -> None:
    """The header before everything: once its length is known, more bytes do not change it."""
    known: int | None = None
    for end in sorted({*range(20), *_LENGTHS, len(data)}):
        if end > len(data):
            break
        length = header_length(data[:end])
        assert known is None or length == known
        assert length is None or length <= end
        assert length == header_length(data[:end][:LOOKED_AT], end)
        known = length if end else None


_TIGHT = Limits(header_bytes=200, header_count=8)


def chunks(data: bytes) -> None:
    """The chunked coding; how it is cut is in the first byte."""
    if not data:
        return

    def read(pieces: list[bytes]) -> Hashable:
        message = Message(0, 0)
        message.room = _ROOM
        reader = Chunks(message, _TIGHT)
        used, refused = 0, False
        for piece in pieces:
            try:
                used += 0 if reader.ended else reader.read(piece)
            except ChunkError:
                refused = True
                break
        body = b"".join(message.body)
        assert len(body) <= _ROOM
        assert len(message.trailers) <= _TIGHT.header_count
        return (True,) if refused else (reader.ended, used, body, message.body_size, tuple(message.trailers))

    _however_cut(data[1:], data[0] % 40 + 1, read)


def elf(data: bytes) -> None:
    """A file of a container, as the finder gets it; its answer can be sent and is what capture expects."""
    for ask in (find_functions, find_version, find_hints):
        with patch.object(elffile, "ELFStructs", KeptStructs):
            found = ask(io.BytesIO(data))
        assert msgspec.json.decode(msgspec.json.encode(found), type=Found) == found
        assert found.offsets.keys() <= ROLES.keys()
        assert found.returns.keys() <= found.offsets.keys()
        assert all(0 <= offset < len(data) for offset in found.offsets.values())
        assert all(0 <= at < len(data) for places in found.returns.values() for at in places)


def process(data: bytes) -> None:
    """What a process says of itself: cgroup, two variables, executable and arguments, apart by form feeds."""
    parts = [*data.decode(errors="replace").split("\f", 40), "", "", "", ""]
    cgroup, name, attributes, executable, *arguments = parts
    found = membership(cgroup)
    said = service_name(name, attributes, found.unit, executable, arguments)
    assert said is None or 0 < len(said) <= LONGEST


def trace(data: bytes) -> None:
    """traceparent and tracestate, field by field."""
    values = tuple(data.split(b"\n"))
    for parent in (traceparent(values), traceparent(values[:1])):
        assert parent is None or (len(parent.trace_id), len(parent.parent_id)) == (32, 16)
    assert len(tracestate(values)) <= LONGEST_STATE


TARGETS: dict[str, Callable[[bytes], None]] = {
    "websocket": websocket,
    "counters": counters,
    "protobuf": protobuf,
    "operations": operations,
    "graphql": graphql,
    "proxy": proxy,
    "chunks": chunks,
    "elf": elf,
    "process": process,
    "trace": trace,
}
