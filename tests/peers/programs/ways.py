"""The ways in which native peers use sockets directly."""

from __future__ import annotations

import socket
from collections.abc import Callable

from tests.peers.programs import sockets, uring_sockets
from tests.peers.programs.sockets import Session


class Sockets:
    """Stands where a TLS library does."""

    def __init__(self, server: bool, way: str) -> None:
        self.server, self.way = server, way

    def session(self, connection: socket.socket) -> Session:
        return WAYS[self.way](self, connection)


WAYS: dict[str, Callable[[Sockets, socket.socket], Session]] = {
    "read-write": Session,
    "send-recv": sockets.Peeking,
    "messages": sockets.Messages,
    "vectors": sockets.Vectors,
    "several": sockets.Several,
    "zero-copy": sockets.ZeroCopy,
    "splice": sockets.Elsewhere,
    "sendfile": sockets.SendFile,
    "uring": uring_sockets.ByUring,
    "uring-alone": uring_sockets.UringAlone,
    "uring-pages": uring_sockets.UringPages,
    "uring-splice": uring_sockets.UringSplice,
    "uring-at-times": uring_sockets.UringAtTimes,
}
