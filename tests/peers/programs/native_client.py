"""An HTTP/1.1 client that calls a TLS library directly (`native`): a thread for each call at once."""

from __future__ import annotations

import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import h11
import msgspec

from tests.peers.plan import Request
from tests.peers.programs.answer import CallLog
from tests.peers.programs.native import AnySession, OpenSsl, at_once, make, options_from, ready

OPTIONS = options_from(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000
ENCRYPTED = OPTIONS["library"] not in ("none", "sockets")
BASE = urlsplit(OPTIONS["base"])
Ends = tuple[Any, Any]
KEPT_CALLS = 25
"""Calls that a kept connection is used for: long enough to be kept, often enough another one."""


def connect() -> tuple[AnySession, Ends]:
    if BASE.scheme == "http+unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(unquote(BASE.netloc))
    elif OPTIONS["way"] == "unconnected":
        connection = socket.socket(socket.AF_INET)
    else:
        connection = socket.create_connection((BASE.hostname, BASE.port))
    at_once(connection)
    session = TLS.session(connection)
    return session, ends_of(session)


def ends_of(session: AnySession) -> Ends:
    return session.connection.getsockname(), session.connection.getpeername()


def call(session: AnySession, ends: Ends, http: h11.Connection, request: Request, last: bool) -> None:
    headers = [("Host", "localhost" if BASE.scheme == "http+unix" else BASE.netloc), *request.headers]
    if request.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif request.size:
        headers.append(("Content-Length", str(request.size)))
    if last:
        headers.append(("Connection", "close"))
    step = PIECE if request.chunked else max(request.size, 1)
    content = request.content
    pieces = [http.send(h11.Request(method=request.method, target=request.path, headers=headers))]
    pieces += [http.send(h11.Data(data=content[at : at + step])) for at in range(0, len(content), step)]
    pieces.append(http.send(h11.EndOfMessage()))
    for piece in pieces:
        if piece:
            session.write(piece)
    status = size = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(session.read(65_536))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            size += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            break
        elif isinstance(event, h11.ConnectionClosed):
            raise ConnectionResetError(request.path)
    LOG.write("client", request.method, request.path, status, (request.size, size), os.getpid(), ends, ENCRYPTED)


def work(share: list[Request]) -> None:
    kept = KEPT_CALLS if OPTIONS["keep"] else 1
    for start in range(0, len(share), kept):
        session, ends = connect()
        http = h11.Connection(h11.CLIENT)
        some = share[start : start + kept]
        for at, request in enumerate(some):
            last = at == len(some) - 1
            call(session, ends, http, request, last)
            if not last:
                http.start_next_cycle()
                if session.between():
                    ends = ends_of(session)
        session.close()


TLS = make(OPTIONS, None)
if isinstance(TLS, OpenSsl):
    TLS.to = (BASE.hostname or "", BASE.port or 0)


def main() -> None:
    lines = Path(OPTIONS["plan"]).read_bytes().splitlines()
    planned = [msgspec.json.decode(line, type=Request) for line in lines]
    workers = OPTIONS["concurrency"]
    ready()
    sys.stdin.readline()
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(work, [planned[at::workers] for at in range(workers)]):
            pass


main()
