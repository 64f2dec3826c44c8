"""One connection to core's socket: what it asked for, and what waits until it reads."""

from __future__ import annotations

import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import msgspec

from apisensor.live import filters

SEND_BUFFERS = 64
"""Lines handed to the kernel at once."""
SEND_ROUNDS = 8
"""sendmsg calls for one client before the others have their turn."""

_encode = msgspec.json.Encoder().encode
_UCRED = struct.Struct("iII")
"""struct ucred: pid, uid, gid."""


class Asker(msgspec.Struct, frozen=True):
    """Who asks, as the kernel says (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int


def line_of(document: dict[str, Any]) -> bytes:
    """A line of JSON."""
    return _encode(document) + b"\n"


class Connection:
    """A client's end. It knows no selector: who has one watches `writing`."""

    __slots__ = (
        "_offset",
        "_queue",
        "asked",
        "dropped",
        "leaving",
        "queued",
        "ready",
        "sock",
        "waiting",
        "wanted",
        "writing",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.asked = bytearray()
        self.wanted: filters.Predicate | None = None
        """Set once it has subscribed."""
        self.waiting = False
        """Has asked; its answer may come later."""
        self.leaving = False
        """Answered; goes when the answer is written."""
        self.writing = False
        """Something waits for it."""
        self.queued = 0
        """Bytes that wait, those already sent of the first line included."""
        self.dropped = 0
        """Lines dropped and not yet told."""
        self.ready: Callable[[int], None]
        """What the selector calls."""
        self._queue: deque[bytes] = deque()
        self._offset = 0
        """Bytes of the first line that are sent."""

    def asker(self) -> Asker:
        """Who it is. Raises OSError."""
        pid, uid, _gid = _UCRED.unpack(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return Asker(pid, uid)

    def offer(self, line: bytes, most_bytes: int) -> bool:
        """Lets a line wait where there is room in so many bytes, and before it word of those there was none for.
        False: it is dropped."""
        if self.queued + len(line) > most_bytes:
            self.dropped += 1
            return False
        self._tell_dropped()
        self.queue(line)
        return True

    def queue(self, line: bytes) -> None:
        """Lets a line wait."""
        self._queue.append(line)
        self.queued += len(line)
        self.writing = True

    def write(self) -> bool:
        """Sends what the socket takes. True: nothing waits any more. Raises OSError."""
        for _ in range(SEND_ROUNDS):
            self._offset += self.sock.sendmsg(self._buffers(), (), socket.MSG_NOSIGNAL)
            while self._queue and self._offset >= len(self._queue[0]):
                line = self._queue.popleft()
                self._offset -= len(line)
                self.queued -= len(line)
            if not self._queue:
                self._tell_dropped()
                break
        self.writing = bool(self._queue)
        return not self.writing

    def close(self) -> None:
        """Ends it; what waits is dropped."""
        self.sock.close()
        self._queue.clear()

    def _tell_dropped(self) -> None:
        if self.dropped:
            count, self.dropped = self.dropped, 0
            self.queue(line_of({"kind": "dropped", "count": count}))

    def _buffers(self) -> Iterator[bytes | memoryview]:
        yield memoryview(self._queue[0])[self._offset :]
        yield from islice(self._queue, 1, SEND_BUFFERS)
