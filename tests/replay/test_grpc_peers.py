"""grpcio on both ends, captured by tcpdump: every call is reported with the messages that its peers exchanged."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from apisensor.processes.replay import replay
from apisensor.protocols.counted import Passed
from apisensor.transactions.model import Transaction

from .tcpdump import needs_tcpdump, tcpdump

pytestmark = needs_tcpdump

SERVICE = "test.v1.Echo"
LARGE = b"z" * 300_000


def fail(request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you, joe@example.com")
    return request


def one(request: bytes, _context: Any) -> bytes:
    return request


def joined(requests: Iterator[bytes], _context: Any) -> bytes:
    return b"".join(requests)


def three(request: bytes, _context: Any) -> Iterator[bytes]:
    yield from (request, request * 2, b"")


def each(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    yield from requests


HANDLERS = {
    "One": grpc.unary_unary_rpc_method_handler(one),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Joined": grpc.stream_unary_rpc_method_handler(joined),
    "Three": grpc.unary_stream_rpc_method_handler(three),
    "Each": grpc.stream_stream_rpc_method_handler(each),
}


def passed(*sizes: int) -> Passed:
    return Passed("grpc", len(sizes), sum(sizes), max(sizes, default=0), 0)


def test_messages_are_what_the_peers_exchanged(tmp_path: Path) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    path = tmp_path / "x.pcap"
    with tcpdump(path, f"tcp port {port}", "-i", "lo"), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call(kind: str, method: str, argument: Any, **more: Any) -> Any:
            return getattr(channel, kind)(f"/{SERVICE}/{method}")(argument, timeout=20, **more)

        call("unary_unary", "One", b"\x0a\x03abc")
        call("unary_unary", "One", LARGE)
        call("unary_unary", "One", b"c" * 5_000, compression=grpc.Compression.Gzip)
        call("stream_unary", "Joined", iter([b"ab", b"", b"cde"]))
        assert len(list(call("unary_stream", "Three", b"xy"))) == 3
        assert len(list(call("stream_stream", "Each", iter([b"1", LARGE, b"22"])))) == 3
        with pytest.raises(grpc.RpcError) as refusal:
            call("unary_unary", "Fail", b"x")
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    server.stop(None).wait()
    told: list[Transaction] = []
    summary = replay(str(path), told.append)
    assert (summary.error, summary.losses, summary.incomplete) == (None, {}, {})
    compressed = told.pop(2)
    found = []
    for transaction in told:
        assert transaction.messages is not None
        (spoken,) = transaction.operations
        found.append((spoken, transaction.messages.request, transaction.messages.response))
    size = len(LARGE)
    assert [(one.fields, two, three) for one, two, three in found[:2]] == [
        (["1"], passed(5), passed(5)), ([], passed(size), passed(size))
    ]  # fmt: skip
    kinds = [(one.kind, one.name, one.error) for one, _, _ in found]
    assert kinds == [
        ("unary", f"{SERVICE}/One", None),
        ("unary", f"{SERVICE}/One", None),
        ("client_streaming", f"{SERVICE}/Joined", None),
        ("server_streaming", f"{SERVICE}/Three", None),
        ("bidirectional_streaming", f"{SERVICE}/Each", None),
        (None, f"{SERVICE}/Fail", "PERMISSION_DENIED"),
    ]
    assert [counts for _, *counts in found[2:]] == [
        [passed(2, 0, 3), passed(5)],
        [passed(2), passed(2, 4, 0)],
        [passed(1, size, 2), passed(1, size, 2)],
        [passed(1), passed()],
    ]
    fields = [*(told[-1].response_headers or []), *told[-1].response_trailers]
    message = next(value for name, value in fields if name == "grpc-message")
    assert message is not None
    assert "joe" not in message
    assert message.startswith("not you, j***@")
    assert compressed.messages is not None
    asked = compressed.messages.request
    assert asked is not None
    assert asked.count == asked.compressed == 1
    assert asked.bytes is not None
    assert asked.bytes < 200
