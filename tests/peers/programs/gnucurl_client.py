"""A client on Debian's libcurl with GnuTLS, which gives it transport functions of its own; a thread a connection."""

from __future__ import annotations

import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog
from tests.truth import Call, End

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])

# include/curl/curl.h: options take a long from 0, an object from 10000, a function from 20000 on; CURLINFO_*.
URL, HTTPHEADER, CUSTOMREQUEST, CAINFO, POSTFIELDS, PROXY = 10002, 10023, 10036, 10065, 10015, 10004
NOBODY, POSTFIELDSIZE, HTTP_VERSION, FORBID_REUSE, NOSIGNAL = 44, 60, 84, 75, 99
WRITEFUNCTION = 20011
RESPONSE_CODE, LOCAL_PORT, PRIMARY_PORT, LOCAL_IP, PRIMARY_IP = 0x200002, 0x20002A, 0x200028, 0x100029, 0x100020
VERSIONS = {"http/1.1": 2, "h2": 4}

CURL = ctypes.CDLL("libcurl-gnutls.so.4")
CURL.curl_easy_init.restype = ctypes.c_void_p
CURL.curl_slist_append.restype = ctypes.c_void_p
CURL.curl_easy_strerror.restype = ctypes.c_char_p
Writer = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)


class Handle:
    """An easy handle, which keeps its connection."""

    def __init__(self) -> None:
        self.handle = ctypes.c_void_p(CURL.curl_easy_init())
        self.received = 0
        self.writer = Writer(self._count)

    def _count(self, _data: Any, size: int, count: int, _user: Any) -> int:
        self.received += size * count
        return size * count

    def set(self, option: int, value: Any) -> None:
        if isinstance(value, int):
            value = ctypes.c_long(value)
        if (code := CURL.curl_easy_setopt(self.handle, option, value)) != 0:
            raise OSError(f"libcurl: option {option}: {CURL.curl_easy_strerror(code).decode()}")

    def get_long(self, info: int) -> int:
        value = ctypes.c_long()
        CURL.curl_easy_getinfo(self.handle, info, ctypes.byref(value))
        return value.value

    def get_text(self, info: int) -> str:
        value = ctypes.c_char_p()
        CURL.curl_easy_getinfo(self.handle, info, ctypes.byref(value))
        return (value.value or b"").decode()

    def call(self, request: Request) -> None:
        CURL.curl_easy_reset(self.handle)
        self.received = 0
        headers: Any = None
        # nginx answers no such expectation on HTTP/2, and libcurl would wait a second for it.
        expected = "100-continue" if request.expect and OPTIONS["protocol"] == "http/1.1" else ""
        for name, value in [*request.headers, ("Expect", expected)]:
            headers = ctypes.c_void_p(CURL.curl_slist_append(headers, f"{name}: {value}".rstrip(" ").encode()))
        self.set(URL, (OPTIONS["base"] + request.path).encode())
        self.set(HTTPHEADER, headers)
        self.set(CAINFO, OPTIONS["certificate"].encode())
        self.set(PROXY, b"")
        self.set(HTTP_VERSION, VERSIONS[OPTIONS["protocol"]])
        self.set(NOSIGNAL, 1)
        self.set(FORBID_REUSE, int(not OPTIONS["keep"]))
        self.set(WRITEFUNCTION, self.writer)
        content = request.content
        if request.method == "HEAD":
            self.set(NOBODY, 1)
        elif content:
            self.set(POSTFIELDSIZE, len(content))
            self.set(POSTFIELDS, content)
        self.set(CUSTOMREQUEST, request.method.encode())
        if (code := CURL.curl_easy_perform(self.handle)) != 0:
            raise OSError(f"libcurl: {request.path}: {CURL.curl_easy_strerror(code).decode()}")
        CURL.curl_slist_free_all(headers)
        call = Call(
            role="client",
            method=request.method,
            path=request.path,
            status=self.get_long(RESPONSE_CODE),
            request_size=request.size,
            response_size=self.received,
            pid=os.getpid(),
            local=End(self.get_text(LOCAL_IP), self.get_long(LOCAL_PORT)),
            remote=End(self.get_text(PRIMARY_IP), self.get_long(PRIMARY_PORT)),
            protocol=OPTIONS["protocol"],
            tls=OPTIONS["base"].startswith("https:"),
            time=0.0,
        )
        LOG.append(call)


def work(share: list[Request]) -> None:
    handle = Handle()
    for request in share:
        handle.call(request)
    CURL.curl_easy_cleanup(handle.handle)


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    CURL.curl_global_init(ctypes.c_long(3))
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, [planned[at::workers] for at in range(workers)]):
            pass


main()
