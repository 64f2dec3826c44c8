"""A client on curl_cffi: libcurl with BoringSSL, both linked into an extension module that still has their symbols.

Nothing in the module's name tells of TLS, so a sensor finds it when its process first sends TLS records: a handshake is
made before the client says that it is ready, and no call.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from curl_cffi import Curl, CurlHttpVersion, CurlInfo, CurlOpt

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog
from tests.truth import Call, End

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
VERSIONS = {"http/1.1": CurlHttpVersion.V1_1, "h2": CurlHttpVersion.V2TLS}

TOLD = (CurlInfo.RESPONSE_CODE, CurlInfo.LOCAL_IP, CurlInfo.LOCAL_PORT, CurlInfo.PRIMARY_IP, CurlInfo.PRIMARY_PORT)


def handle() -> Curl:
    made = Curl()
    made.setopt(CurlOpt.CAINFO, OPTIONS["certificate"].encode())
    made.setopt(CurlOpt.HTTP_VERSION, VERSIONS[OPTIONS["protocol"]])
    made.setopt(CurlOpt.PROXY, b"")
    made.setopt(CurlOpt.FORBID_REUSE, int(not OPTIONS["keep"]))
    return made


def call(curl: Curl, request: Request) -> None:
    received = 0

    def count(data: bytes) -> int:
        nonlocal received
        received += len(data)
        return len(data)

    content = request.content
    expected = "100-continue" if request.expect and OPTIONS["protocol"] == "http/1.1" else ""
    headers = [f"{name}: {value}".rstrip(" ").encode() for name, value in [*request.headers, ("Expect", expected)]]
    curl.setopt(CurlOpt.URL, (OPTIONS["base"] + request.path).encode())
    curl.setopt(CurlOpt.HTTPHEADER, headers)
    curl.setopt(CurlOpt.WRITEFUNCTION, count)
    curl.setopt(CurlOpt.HTTPGET, 1)
    curl.setopt(CurlOpt.NOBODY, int(request.method == "HEAD"))
    if content:
        curl.setopt(CurlOpt.POSTFIELDS, content)
        curl.setopt(CurlOpt.POSTFIELDSIZE, len(content))
    curl.setopt(CurlOpt.CUSTOMREQUEST, request.method.encode())
    curl.perform()
    known: dict[str, Any] = {info.name: curl.getinfo(info) for info in TOLD}
    LOG.append(
        Call(
            role="client",
            method=request.method,
            path=request.path,
            status=known["RESPONSE_CODE"],
            request_size=request.size,
            response_size=received,
            pid=os.getpid(),
            local=End(known["LOCAL_IP"].decode(), known["LOCAL_PORT"]),
            remote=End(known["PRIMARY_IP"].decode(), known["PRIMARY_PORT"]),
            protocol=OPTIONS["protocol"],
            tls=True,
            time=time.time(),
        )
    )


def work(share: list[Request]) -> None:
    curl = handle()
    for request in share:
        call(curl, request)
    curl.close()


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    first = handle()
    first.setopt(CurlOpt.URL, OPTIONS["base"].encode())
    first.setopt(CurlOpt.CONNECT_ONLY, 1)
    first.perform()
    first.close()
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, [planned[at::workers] for at in range(workers)]):
            pass


main()
