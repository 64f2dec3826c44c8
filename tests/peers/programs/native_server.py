"""An HTTP/1.1 server that calls a TLS library directly (`native`): a thread, or a process, for each connection."""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
import threading
from typing import Any

import h11

from tests.peers.programs.answer import CallLog, answer
from tests.peers.programs.native import AnySession, at_once, listen, make, options_from, ready

OPTIONS = options_from(sys.argv[1])
LOG = CallLog(OPTIONS["log"])
PIECE = 10_000
ENCRYPTED = OPTIONS["library"] not in ("none", "sockets")
TLS = make(OPTIONS, OPTIONS["key"])


def serve(session: AnySession) -> None:
    """Answers until the client has enough."""
    ends = (session.connection.getsockname(), session.connection.getpeername())
    http = h11.Connection(h11.SERVER)
    request: Any = None
    size = 0
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            if http.they_are_waiting_for_100_continue:
                session.write(http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
            http.receive_data(session.read(65_536))
        elif isinstance(event, h11.Request):
            request, size = event, 0
        elif isinstance(event, h11.Data):
            size += len(event.data)
        elif isinstance(event, h11.EndOfMessage):
            respond(session, ends, http, request, size)
            if http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()
            if session.between():
                ends = (session.connection.getsockname(), session.connection.getpeername())
        else:
            return


def respond(session: AnySession, ends: Any, http: h11.Connection, request: h11.Request, size: int) -> None:
    method, path = request.method.decode(), request.target.decode()
    made = answer(method, path)
    headers = list(made.headers)
    if made.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif made.status not in (204, 304) and method != "HEAD":
        headers.append(("Content-Length", str(len(made.content))))
    pieces = [http.send(h11.Response(status_code=made.status, headers=headers))]
    step = PIECE if made.chunked else max(len(made.content), 1)
    pieces += [http.send(h11.Data(data=made.content[at : at + step])) for at in range(0, len(made.content), step)]
    pieces.append(http.send(h11.EndOfMessage()))
    for piece in pieces:
        if piece:
            session.write(piece)
    sizes = (size, len(made.content))
    LOG.write("server", method, path, made.status, sizes, os.getpid(), ends, ENCRYPTED)


def connected(connection: socket.socket) -> None:
    try:
        session = TLS.session(connection)
        serve(session)
        session.close()
    except OSError as error:
        print(error, file=sys.stderr)
        connection.close()


def in_thread(connection: socket.socket) -> None:
    threading.Thread(target=connected, args=(connection,), daemon=True).start()


def in_child(connection: socket.socket) -> None:
    """The process that accepts makes the handshake too; a child of it goes on with the session."""
    try:
        session = TLS.session(connection)
    except OSError as error:
        print(error, file=sys.stderr)
        return
    if os.fork() == 0:
        status = 1
        try:
            serve(session)
            session.close()
            status = 0
        finally:
            os._exit(status)
    connection.close()


def passing() -> Any:
    """Another process serves: it is passed each accepted connection."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        while True:
            _, ancillary, _, _ = theirs.recvmsg(1, socket.CMSG_SPACE(4))
            if not ancillary:
                os._exit(0)
            descriptor = array.array("i", ancillary[0][2])[0]
            in_thread(socket.socket(fileno=descriptor))
    theirs.close()

    def give(connection: socket.socket) -> None:
        socket.send_fds(ours, [b"x"], [connection.fileno()])
        connection.close()

    return give


def main() -> None:
    listener, port = listen(OPTIONS["address"])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    take = {"threads": lambda: in_thread, "fork": lambda: in_child, "pass": passing}[OPTIONS["serving"]]()
    ready(port)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            at_once(connection)
            take(connection)

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


main()
