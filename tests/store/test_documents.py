"""The form of stored documents, which every later version has to read."""

from __future__ import annotations

from typing import Any

import msgspec
import zstandard

from apisensor.events.model import Address
from apisensor.protocols.counted import Passed
from apisensor.store.documents import Decoder, sample
from apisensor.transactions.json_form import public
from apisensor.transactions.model import Auth, Messages, Operation, Process, Tls, Transaction
from tests.store.rows import NOW_NS, call

FULL = call(
    7, login_identity="ab" * 16, grpc_status=3, parent_span_id="00000000000000bb", request_trailers=[("a", "b")],
    response_trailers=[(None, "c")], client=Address("@name", None, 2), auth=Auth("bearer", "cd" * 16),
    anomalies=["bare_lf"], incomplete_reason="limit", stream_id=5, route="/users/{id}", trace_state="v=1",
    operations=[Operation("graphql", "query", "q", "t", ["f"], "e", "limit")],
    messages=Messages(Passed("grpc", 1, 2, 3, 4, 5, 6, "cut"), None), tls=Tls("openssl", "3.0.11"),
    process=Process(1, "/x", "x -y", "u", "c", "p", "service-1", "go"),
)  # fmt: skip

WRITTEN: list[Any] = [
    "0000000000000007", "http/1.1", "server", "GET", "https", "api.example.com", "/users/7?limit=5",
    b'[["host","api.example.com"],["x-request-id","538454127b096493"]]', b'[["content-type","application/json"]]',
    [["a", "b"]], [[None, "c"]], 200, 3, 0, 1234, ["@name", None, 2], ["192.0.2.7", 443, 0],
    {"scheme": "bearer", "identity": "cd" * 16}, [{"kind": "email", "place": "request.query", "count": 1}], "set_fd",
    4242, 7_000_000_000, 12_345_678, 10_000_000, "00000000000000000000000000000007", "0000000000000007",
    "00000000000000bb", ["bare_lf"], "limit", 5, "1f", "2f", True,
    {"library": "openssl", "library_version": "3.0.11"},
    {
        "pid": 1, "executable": "/x", "command_line": "x -y", "user": "u", "container": "c", "pod": "p",
        "service": "service-1", "runtime": "go",
    },
    "/users/{id}", 1, "v=1", "ab" * 16, NOW_NS,
    [
        {
            "protocol": "graphql", "kind": "query", "name": "q", "target": "t", "fields": ["f"], "error": "e",
            "reason": "limit",
        }
    ],
    {
        "request": {
            "protocol": "grpc", "count": 1, "bytes": 2, "largest": 3, "compressed": 4, "control": 5, "close_code": 6,
            "reason": "cut",
        },
        "response": None,
    },
]  # fmt: skip
"""FULL as version 2 of the tables keeps it. New fields go to the end and have a default: this stays."""


def read(content: bytes) -> bytes:
    return Decoder(lambda _: None).json(zstandard.compress(content))


def test_what_was_written_is_read_for_ever() -> None:
    assert read(msgspec.msgpack.encode(WRITTEN)) == msgspec.json.encode(public(FULL))


def test_it_is_written_so() -> None:
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(FULL))
    assert written[: len(WRITTEN)] == WRITTEN
    assert len(WRITTEN) == len(Transaction.__struct_fields__)


def test_json_of_version_1_is_given_as_it_is() -> None:
    content = msgspec.json.encode({**public(FULL), "schema": 0})
    assert read(content) == content


def test_a_sample_has_nothing_of_whose_call_it_was() -> None:
    learnt = sample(FULL)
    assert b"/users/{id}" in learnt
    private = (
        b"0000000000000007", b"/users/7", b"@name", b"192.0.2.7", b"abab", b"cdcd", b"00000000000000bb", b"x -y",
        b'api.example.com\xb0', msgspec.msgpack.encode(NOW_NS), msgspec.msgpack.encode(7_000_000_000), b"1f", b"2f",
    )  # fmt: skip
    assert [text for text in private if text in learnt] == []
