"""The standard recording is what its description says, and what independent parsers read from it."""

from __future__ import annotations

import json
from collections import defaultdict

import h2.config
import h2.connection
import h2.events
import h11

from apisensor.events.model import Bind, Chunk, Direction
from bench import standard_recording
from bench.standard_recording import CONNECTIONS, CONTENT_BYTES, Protocol, events, exchanges

COUNT = 3_000


def test_it_has_the_promised_shape() -> None:
    calls = list(exchanges(COUNT))
    assert {len(call.request_headers) + 1 for call in calls} == {8}
    assert {len(call.response_headers) for call in calls} == {7}
    assert len({call.connection for call in calls}) == CONNECTIONS
    for call in calls:
        for content in (call.request, call.response):
            assert CONTENT_BYTES[0] <= len(content) <= CONTENT_BYTES[1]
            json.loads(content)
    templates = {tuple(s for s in call.path.split("/") if not s.isdigit()) for call in calls}
    assert len(templates) == 50
    tokens = {dict(call.request_headers)["Authorization"] for call in calls}
    assert 2_000 < len(tokens) <= standard_recording.TOKENS
    assert 0.05 < sum(b"@" in call.response for call in calls) / COUNT < 0.15


def test_it_is_the_same_every_time() -> None:
    for protocol in ("http/1.1", "h2"):
        assert list(events(50, protocol)) == list(events(50, protocol))
    assert list(events(50)) != list(events(50, seed=1))


def _directions(protocol: Protocol) -> dict[int, tuple[bytes, bytes]]:
    """Flow: what was received and sent, put together by position. Checks that positions join."""
    streams: dict[int, list[bytearray]] = defaultdict(lambda: [bytearray(), bytearray()])
    bound = set()
    last = 0
    for event in events(COUNT, protocol):
        assert isinstance(event, Bind | Chunk)
        if isinstance(event, Bind):
            bound.add(event.flow)
            continue
        stream = streams[event.flow][event.direction]
        assert event.flow in bound
        assert event.position == len(stream)
        assert event.time_ns > last
        stream += event.data
        last = event.time_ns
    return {flow: (bytes(pair[Direction.RECEIVE]), bytes(pair[Direction.SEND])) for flow, pair in streams.items()}


def test_http1_reads_back_with_h11() -> None:
    seen = 0
    for received, sent in _directions("http/1.1").values():
        server, client = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
        server.receive_data(received)
        client.receive_data(sent)
        while not isinstance(request := server.next_event(), type(h11.NEED_DATA)):
            assert isinstance(request, h11.Request)
            while not isinstance(server.next_event(), h11.EndOfMessage):
                pass
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
            client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
            response = client.next_event()
            assert isinstance(response, h11.Response)
            assert response.status_code == 200
            while not isinstance(client.next_event(), h11.EndOfMessage):
                pass
            client.start_next_cycle()
            seen += 1
    assert seen == COUNT


def test_http2_reads_back_with_h2() -> None:
    seen = 0
    for received, _ in _directions("h2").values():
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        server.initiate_connection()
        for event in server.receive_data(received):
            if isinstance(event, h2.events.RequestReceived):
                assert len(event.headers) == 3 + 8
            seen += isinstance(event, h2.events.StreamEnded)
    assert seen == COUNT
