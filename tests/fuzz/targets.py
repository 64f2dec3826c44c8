"""The parsers that are fuzzed. Each takes any bytes, raises for none, asserts what must hold of what comes out."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.message import DecodeError, Message

from apisensor.content.codings import RATIO, RATIO_FROM, decoded
from apisensor.content.identifiers import FIELDS
from apisensor.content.inspector import Inspector
from apisensor.content.logins import LONGEST_USER, login_user
from apisensor.content.named_messages import NESTED, NamedMessages
from apisensor.events.model import Chunk, Direction, Event, Gap
from apisensor.inventory.inventory import Inventory
from apisensor.protocols.hpack_codec import HeaderBlockError, HeaderDecoder
from apisensor.redact.command_line import redact_command_line
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.replay.errors import ReplayError
from apisensor.replay.limits import ReplayLimits
from apisensor.replay.packets import PacketCapture
from apisensor.replay.recording import read_recording
from apisensor.replay.source import ByteSource, recognise
from apisensor.streams.limits import Limits
from apisensor.transactions.json_form import json_line
from apisensor.transactions.model import Exchange
from tests.content.exchanges import exchange
from tests.content.shop import message_class, shop
from tests.fuzz import inner
from tests.fuzz.flows import SMALL, analysed, events
from tests.inventory.calls import served

_LIMITS = Limits()


def flow(data: bytes) -> None:
    """HTTP/1 and HTTP/2 streams of both directions, with losses, under a worker's limits and under tight ones."""
    told = list(events(data))
    wide, in_step = analysed(told, _LIMITS)
    analysed(told, SMALL)
    cut, cut_in_step = analysed([part for event in told for part in _halves(event)], _LIMITS)
    if in_step and cut_in_step:  # then nothing depends on how the bytes of one call were cut into chunks
        assert [_outcome(found) for found in cut] == [_outcome(found) for found in wide]


def _halves(event: Event) -> list[Event]:
    if not isinstance(event, Chunk) or len(event.data) < 2:
        return [event]
    middle = len(event.data) // 2
    return [
        Chunk(event.time_ns, 7, 1, event.direction, event.position, event.data[:middle], False, event.call_start),
        Chunk(event.time_ns, 7, 1, event.direction, event.position + middle, event.data[middle:], False, False),
    ]


def _outcome(found: Exchange) -> tuple[object, ...]:
    if found.incomplete_reason is not None:  # how much of an unfinished head is known depends on the cut
        return found.incomplete_reason, found.stream_id
    request, response = found.request, found.response
    return (
        found.stream_id,
        (request.method, request.target, request.headers, request.body, request.body_size),
        response and (response.status, response.headers, response.body, response.body_size),
    )


def hpack(data: bytes) -> None:
    """Header blocks one after the other, each after its length in a byte: both decoders say the same or refuse."""
    late = bool(data[:1] > b"\x7f")
    decoders = [HeaderDecoder(4_000, 4_096, joined_late=late, compiled=compiled) for compiled in (True, False)]
    at = 1
    while at < len(data):
        block = data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
        found = []
        for decoder in decoders:
            with contextlib.suppress(HeaderBlockError):
                fields = decoder.decode(block)
                assert sum(len(name or b"") + len(value or b"") + 32 for name, value in fields) <= 4_000
                found.append(fields)
        if len(found) == 2:
            assert found[0] == found[1]
        else:  # one of them, or both, lost the table: from here on they know different entries
            return


def capture(data: bytes) -> None:
    """pcap and pcapng with all that is in them: link layers, tunnels, fragments, segments."""
    source = ByteSource(io.BytesIO(data).read, "fuzz")
    limits = ReplayLimits(connections=8, flow_bytes=5_000, total_bytes=20_000)
    reached: dict[tuple[int, Direction], int] = {}
    with contextlib.suppress(ReplayError):
        form = recognise(source)
        if form == "recording":
            return
        for event in PacketCapture(source, form, limits).events():
            if isinstance(event, Chunk | Gap):
                key = event.flow, event.direction
                assert event.position == reached.get(key, 0)
                length = len(event.data) if isinstance(event, Chunk) else event.length
                assert length
                reached[key] = event.position + length


def recording(data: bytes) -> None:
    """The sensor's own file."""
    source = ByteSource(io.BytesIO(data).read, "fuzz")
    with contextlib.suppress(ReplayError):
        if recognise(source) == "recording":
            for _ in read_recording(source):
                pass


_CODINGS = ("gzip", "deflate", "br", "zstd")


def codings(data: bytes) -> None:
    """A coded body: which codings, and whether it is whole, is in the first byte."""
    if data:
        first = data[0]
        applied = tuple(_CODINGS[first >> shift & 3] for shift in range(0, 2 * (first >> 6), 2))
        body = data[1:]
        text, _ = decoded(body, applied, bool(first & 1))
        assert len(text) <= max(RATIO_FROM, RATIO * len(body), len(body))


def login(data: bytes) -> None:
    """A login body: JSON, form or multipart."""
    user = login_user(data)
    assert user is None or 0 < len(user) <= LONGEST_USER


_LITERALS = 4
_ENDPOINTS = 50


def routes(data: bytes) -> None:
    """Paths, one a line, each seen twice: what is learnt stays bounded, and is found again."""
    inventory = Inventory(_ENDPOINTS, _LITERALS)
    calls = [served(path) for path in data.decode(errors="replace").splitlines()]
    for call in calls:
        inventory.observe(call)
    for call in calls:
        inventory.route(call)
        assert call.route is None or call.route.startswith(("/", "*"))
    made = inventory.flush().endpoints
    assert len(made) <= _ENDPOINTS


def described(data: bytes) -> None:
    """Messages of gRPC by a description: the type in the first byte, then the body. What protobuf finds is found."""
    descriptions = shop()
    names = sorted(descriptions.types)
    name = names[data[0] % len(names)] if data else names[0]
    body = data[1:]
    found = NamedMessages(descriptions, descriptions.types[name])
    found.read(body, b"gzip", text_form=False)
    assert len(found.fields) <= FIELDS
    message = body[5 : 5 + int.from_bytes(body[1:5], "big")]
    if not found.whole or body[:1] != b"\0" or all(text in message for text in found.texts):
        return  # cut, compressed, or read by numbers
    with contextlib.suppress(DecodeError, UnicodeDecodeError):
        ours = Counter(_texts(json.loads(found.texts[0], object_pairs_hook=list)))
        assert Counter(_strings(message_class(name).FromString(message))) <= ours


def _texts(value: Any) -> Iterator[str]:
    """Strings of a JSON document, whose objects are lists of pairs."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for _, held in value:
            yield from _texts(held)


def _strings(message: Any, depth: int = 0) -> Iterator[str]:
    """Strings in a message, as far as the sensor goes. What an Any holds is octets for protobuf."""
    if depth >= NESTED or message.DESCRIPTOR.full_name == "google.protobuf.Any":
        return
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            values = list(value.values())
        else:
            values = list(value) if field.is_repeated else [value]
        for one in values:
            if isinstance(one, str):
                yield from [one] if one else []  # of a map entry also where there is none
            elif isinstance(one, Message):
                yield from _strings(one, depth + 1)


CANARY = b"Zc4n4ryQ7w8x9"
"""A token that must never come out."""


def redaction(data: bytes) -> None:
    """A target, fields and a body, lines of one input; beside them a credential, which nothing may make appear."""
    lines = data.split(b"\n", 12)
    head, body = lines[:10], b"\n".join(lines[10:])
    fields = [(name, value) for name, _, value in (line.partition(b":") for line in head[1:])]
    raw = exchange(
        [*fields[:4], (b"Authorization", b"Bearer " + CANARY), *fields[4:]],
        [*fields, (b"Set-Cookie", b"session=" + CANARY)],
        target=head[0],
        body=body,
        response_body=body[::-1],
    )
    insight = Inspector().inspect(raw)
    line = json_line(Redactor(bytes(32), IdSource(b"seed")).transaction(raw, insight))
    assert CANARY not in line
    json.loads(line)


def command_line(data: bytes) -> None:
    """Arguments of a process, as /proc gives them."""
    redact_command_line(data.split(b"\0")).encode()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "http1": flow,
    "http2": flow,
    "hpack": hpack,
    "capture": capture,
    "recording": recording,
    "codings": codings,
    "login": login,
    "routes": routes,
    "described": described,
    "redaction": redaction,
    "command_line": command_line,
    **inner.TARGETS,
}
"""By name. http1 and http2 differ in what they start from (seeds.py)."""
