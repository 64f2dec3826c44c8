"""A client on `requests`: OpenSSL on the socket itself, one session a thread, kept connections or new ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog

OPTIONS: dict[str, Any] = msgspec.json.decode(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000


class PlainConnection(HTTPConnection):
    """Tells each response which connection it came over: urllib3 forgets it with the last byte of content."""

    ends: tuple[Any, Any]

    def connect(self) -> None:
        super().connect()
        self.ends = (self.sock.getsockname(), self.sock.getpeername())

    def getresponse(self) -> Any:
        response: Any = super().getresponse()
        response.ends = self.ends
        return response


class TlsConnection(PlainConnection, HTTPSConnection):
    """The same over TLS."""


class PlainPool(HTTPConnectionPool):
    ConnectionCls = PlainConnection


class TlsPool(HTTPSConnectionPool):
    ConnectionCls = TlsConnection


class Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}


class Session(requests.Session):
    """Takes no response for a redirect: requests would read the content of one even where it must not follow it."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        return None


def _session() -> requests.Session:
    session = Session()
    session.verify = OPTIONS["certificate"]
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter(pool_connections=1, pool_maxsize=1))
    return session


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


def _call(session: requests.Session, request: Request) -> None:
    headers = dict(request.headers)
    if not OPTIONS["keep"]:
        headers["Connection"] = "close"
    content: Any = _pieces(request.content) if request.chunked else request.content
    response = session.request(
        request.method,
        OPTIONS["base"] + request.path,
        data=content or None,
        headers=headers,
        stream=True,
        allow_redirects=False,
    )
    ends = response.raw.ends
    response_size = sum(len(piece) for piece in response.raw.stream(65_536, decode_content=False))
    response.close()
    sizes = (request.size, response_size)
    tls = OPTIONS["base"].startswith("https:")
    LOG.write("client", request.method, request.path, response.status_code, sizes, os.getpid(), ends, tls)


def _work(share: list[Request]) -> None:
    if not OPTIONS["keep"]:
        # Not every server says that it closes; a session of its own never meets a connection that is about to go.
        for request in share:
            with _session() as session:
                _call(session, request)
        return
    with _session() as session:
        for request in share:
            _call(session, request)


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(_work, [planned[at::workers] for at in range(workers)]):
            pass


main()
