"""A server on grpcio, Python's gRPC: every method is answered as its name asks for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import msgspec

from tests.peers.programs.answer import CallLog, answer
from tests.peers.programs.grpc_messages import messages, size_of
from tests.truth import Call, End

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
STATUSES = {404: grpc.StatusCode.NOT_FOUND, 500: grpc.StatusCode.INTERNAL}


class Everything(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Every method there is."""

    def service(self, details: Any) -> Any:
        path = details.method

        def serve(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            received = size_of(list(requests))
            made = answer("POST", path)
            code = STATUSES.get(made.status, grpc.StatusCode.OK)
            sent = messages(made.content, made.chunked) if code is grpc.StatusCode.OK else []
            yield from sent
            _, host, port = context.peer().split(":")  # ipv4:127.0.0.1:40000
            LOG.append(
                Call(
                    role="server",
                    method="POST",
                    path=path,
                    status=200,
                    request_size=received,
                    response_size=size_of(sent),
                    pid=os.getpid(),
                    local=End(OPTIONS["address"], PORT),
                    remote=End(host, int(port)),
                    protocol="grpc",
                    tls=OPTIONS["tls"],
                    time=time.time(),
                    grpc_status=code.value[0],
                )
            )
            context.set_code(code)

        return grpc.stream_stream_rpc_method_handler(serve)


SERVER = grpc.server(ThreadPoolExecutor(64), [Everything()])
PLACE = f"{OPTIONS['address']}:0"
if OPTIONS["tls"]:
    PAIR = (Path(OPTIONS["key"]).read_bytes(), Path(OPTIONS["certificate"]).read_bytes())
    PORT = SERVER.add_secure_port(PLACE, grpc.ssl_server_credentials([PAIR]))
else:
    PORT = SERVER.add_insecure_port(PLACE)
SERVER.start()
print("ready", PORT, flush=True)
sys.stdin.read()
SERVER.stop(0)
