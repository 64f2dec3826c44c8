"""Sockets used through io_uring, as sessions like those of `sockets`."""

from __future__ import annotations

import os
import socket
from typing import Any

from tests.peers.programs.sockets import CUT, PIPE, Elsewhere, Session
from tests.peers.programs.uring import PAGES, RECEIVE, SEND, Uring


class ByUring(Elsewhere):
    """io_uring: its operations on sockets in turn, without the receive that goes on by itself. A receive waits until
    the ring does it while the thread is on its way out of another system call."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        super().__init__(library, connection)
        self.uring = Uring(self.fd)
        self.turn = 0

    def take(self, size: int) -> bytes:
        self.turn += 1
        return self.uring.receive(RECEIVE[self.turn % (len(RECEIVE) - 1)], size)

    def give(self, data: bytes) -> int:
        self.turn += 1
        return self.uring.send(SEND[self.turn % len(SEND)], data)

    def close(self) -> None:
        super().close()
        self.uring.close()


class UringPages(ByUring):
    """Buffers that are registered, and every second time, where it is sent, a chain of operations."""

    def take(self, size: int) -> bytes:
        return self.uring.receive(PAGES[1], size)

    def give(self, data: bytes) -> int:
        self.turn += 1
        if self.turn % 2:
            return self.uring.send(PAGES[0], data)
        parts = [data[:CUT], data[CUT : 2 * CUT], data[2 * CUT :]]
        return self.uring.send_in_chain([part for part in parts if part])


class UringSplice(ByUring):
    """io_uring's splice from the socket; contents are sent by send(2)."""

    def take(self, size: int) -> bytes:
        n = self.uring.splice(self.kept_to, min(size, PIPE))
        return os.read(self.kept_from, n) if n else b""

    def give(self, data: bytes) -> int:
        return self.connection.send(data)


class UringAlone(Session):
    """Nothing but io_uring, each of its operations in turn."""

    receives = RECEIVE

    def __init__(self, library: Any, connection: socket.socket) -> None:
        super().__init__(library, connection)
        self.uring = Uring(self.fd)
        self.turn = 0
        self.sends = SEND[1:] if connection.family == socket.AF_UNIX else SEND

    def read(self, size: int) -> bytes:
        self.turn += 1
        return self.uring.receive(self.receives[self.turn % len(self.receives)], size)

    def some(self, data: bytes) -> int:
        self.turn += 1
        return self.uring.send(self.sends[self.turn % len(self.sends)], data)

    def close(self) -> None:
        super().close()
        self.uring.close()


class UringAtTimes(UringAlone):
    """write(2) and read(2), but what is sent in some calls of a connection, what is received in others, and all of
    others, by io_uring."""

    receives = RECEIVE[:-1]
    call = 0

    def read(self, size: int) -> bytes:
        return super().read(size) if AT_TIMES[self.call % len(AT_TIMES)] & 2 else os.read(self.fd, size)

    def some(self, data: bytes) -> int:
        return super().some(data) if AT_TIMES[self.call % len(AT_TIMES)] & 1 else os.write(self.fd, data)

    def between(self) -> None:
        self.call += 1


AT_TIMES = (0, 1, 0, 2, 0, 3)
"""By the number of a call on its connection: 1 what is sent, 2 what is received, passes by io_uring."""
