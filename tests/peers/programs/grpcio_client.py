"""A client on grpcio, Python's gRPC: threads that share a channel; a planned path is the name of a method."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import msgspec

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog
from tests.peers.programs.grpc_messages import messages, size_of
from tests.truth import Call, End

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
BASE = urlsplit(OPTIONS["base"])


def call(channel: grpc.Channel, request: Request) -> None:
    sent = messages(request.content, request.chunked)
    received: list[bytes] = []
    answers = channel.stream_stream(request.path)(iter(sent))
    try:
        received.extend(answers)
    except grpc.RpcError:
        """Its status is told below."""
    LOG.append(
        Call(
            role="client",
            method="POST",
            path=request.path,
            status=200,
            request_size=size_of(sent),
            response_size=size_of(received),
            pid=os.getpid(),
            local=End("", 0),
            remote=End("", 0),
            protocol="grpc",
            tls=BASE.scheme == "https",
            time=time.time(),
            grpc_status=answers.code().value[0],
        )
    )


def open_channel(options: list[tuple[str, int]]) -> grpc.Channel:
    if BASE.scheme == "http":
        return grpc.insecure_channel(BASE.netloc, options)
    trusted = grpc.ssl_channel_credentials(Path(OPTIONS["certificate"]).read_bytes())
    return grpc.secure_channel(BASE.netloc, trusted, options)


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    with open_channel([("grpc.enable_http_proxy", 0)]) as channel:
        print("ready", flush=True)
        sys.stdin.readline()
        with ThreadPoolExecutor(OPTIONS["concurrency"]) as pool:
            for _ in pool.map(lambda request: call(channel, request), planned):
                pass


main()
