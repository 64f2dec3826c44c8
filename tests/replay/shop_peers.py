"""A server and a client of the shop (tests/content/protos), by grpcio: every kind of method, secrets in messages."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc

from tests.content.shop import message

PASSWORD = "correct horse battery"
TOKEN = "opaque, of no shape"
USER = "joe"


def _session() -> bytes:
    order = message("Order", id=4, note="for joe@example.com")
    return bytes(message("Session", access_token=TOKEN, orders=[order]).SerializeToString())


def _order(note: str) -> bytes:
    return bytes(message("Order", id=7, note=note).SerializeToString())


CREDENTIALS = bytes(message("Credentials", user_name=USER, password=PASSWORD, pin=1234).SerializeToString())
ORDERS = [_order("to ann@example.com"), _order("none"), _order("to bob@example.com")]


def _login(_request: bytes, _context: Any) -> bytes:
    return _session()


def _upload(requests: Iterator[bytes], _context: Any) -> bytes:
    for _ in requests:
        pass
    return _session()


def _list(_request: bytes, _context: Any) -> Iterator[bytes]:
    yield from ORDERS


def _chat(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    yield from requests


def _refuse(_request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "no")
    raise AssertionError


HANDLERS = {
    "Login": grpc.unary_unary_rpc_method_handler(_login),
    "Upload": grpc.stream_unary_rpc_method_handler(_upload),
    "List": grpc.unary_stream_rpc_method_handler(_list),
    "Chat": grpc.stream_stream_rpc_method_handler(_chat),
    "Refuse": grpc.unary_unary_rpc_method_handler(_refuse),
}


@contextmanager
def serving() -> Iterator[int]:
    """The server, while the body runs; its port."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.v1.Shop", HANDLERS),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def make_calls(port: int) -> None:
    """One call of each kind, one compressed, one of a method that no description has."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:

        def call(kind: str, method: str, argument: Any, **more: Any) -> Any:
            return getattr(channel, kind)(f"/shop.v1.Shop/{method}")(argument, timeout=20, **more)

        call("unary_unary", "Login", CREDENTIALS)
        call("unary_unary", "Login", CREDENTIALS * 20, compression=grpc.Compression.Gzip)
        call("stream_unary", "Upload", iter(ORDERS))
        assert len(list(call("unary_stream", "List", CREDENTIALS))) == 3
        assert len(list(call("stream_stream", "Chat", iter(ORDERS)))) == 3
        try:
            call("unary_unary", "Refuse", CREDENTIALS)
        except grpc.RpcError as refusal:
            assert refusal.code() is grpc.StatusCode.UNAUTHENTICATED  # noqa: PT017 - it is a failure of the call
        else:
            raise AssertionError("the call was not refused")


METHODS = {
    ("Login", "unary"): (
        ["user_name", "password", "pin"],
        [("password", "request.body", 2), ("token", "response.body", 1), ("email", "response.body", 1)],
    ),
    ("Upload", "client_streaming"): (
        ["id", "note"],
        [("email", "request.body", 2), ("token", "response.body", 1), ("email", "response.body", 1)],
    ),
    ("List", "server_streaming"): (
        ["user_name", "password", "pin"],
        [("password", "request.body", 2), ("email", "response.body", 2)],
    ),
    ("Chat", "bidirectional_streaming"): (
        ["id", "note"],
        [("email", "request.body", 2), ("email", "response.body", 2)],
    ),
    ("Refuse", None): (["1", "2", "3"], []),
}
"""Method and kind: fields, and sensitive data by kind, place and count. A second Login is compressed, of 20 messages
in one: the last values count for a reader of protobuf, all of them here."""
