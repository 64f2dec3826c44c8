"""Sockets used directly, without TLS: each system call that moves their bytes, as sessions like those of `native`.

Where contents pass outside of user memory, or by io_uring, heads are still read and written:
what the sensor must not know of such a message is its content, and nothing else.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
from collections.abc import Callable
from typing import Any

_PREADV2, _PWRITEV2, _RECVMMSG, _SENDMMSG = 327, 328, 299, 307
_MSG_ZEROCOPY, _SO_ZEROCOPY, _MSG_WAITFORONE = 0x4000000, 60, 0x10000
CUT = 700
"""A buffer is given as several of this size, the last one longer."""
PIPE = 65_536
_libc = ctypes.CDLL(None, use_errno=True)


class Session:
    """read(2) and write(2)."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        self.library, self.connection = library, connection
        self.fd = connection.fileno()

    def read(self, size: int) -> bytes:
        """b"" at the end of the stream."""
        return os.read(self.fd, size)

    def some(self, data: bytes) -> int:
        """Writes some of it; returns how much."""
        return os.write(self.fd, data)

    def write(self, data: bytes) -> None:
        while data:
            data = data[self.some(data) :]

    def between(self) -> None:
        """What is done between two calls of a connection."""

    def close(self) -> None:
        self.connection.close()


class Peeking(Session):
    """send(2) and recv(2); everything is looked at before it is read."""

    def read(self, size: int) -> bytes:
        self.connection.recv(size, socket.MSG_PEEK)
        return self.connection.recv(size)

    def some(self, data: bytes) -> int:
        return self.connection.send(data)


class Messages(Session):
    """sendmsg(2) and recvmsg(2) with several buffers, the first of them empty."""

    def read(self, size: int) -> bytes:
        buffers = [bytearray(n) for n in (0, CUT, size - CUT)]
        n, _, _, _ = self.connection.recvmsg_into(buffers)
        return b"".join(buffers)[:n]

    def some(self, data: bytes) -> int:
        return self.connection.sendmsg([b"", data[:CUT], data[CUT:]])


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):
    """struct mmsghdr."""

    _fields_ = (("header", _Header), ("moved", ctypes.c_uint))


def _vectors(buffers: list[Any]) -> Any:
    return (_Vector * len(buffers))(*(_Vector(ctypes.addressof(one), ctypes.sizeof(one)) for one in buffers))


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Vectors(Session):
    """preadv2(2) and pwritev2(2) at offset -1; every second time readv(2) and writev(2)."""

    turn = 0

    def _move(self, number: int, plain: Callable[..., int], buffers: list[Any]) -> int:
        self.turn += 1
        if self.turn % 2:
            return plain(self.fd, buffers)
        whole = ctypes.c_long(-1)
        return _call(number, self.fd, ctypes.byref(_vectors(buffers)), len(buffers), whole, whole, 0)

    def read(self, size: int) -> bytes:
        buffers = [(ctypes.c_char * n)() for n in (CUT, size - CUT)]
        n = self._move(_PREADV2, os.readv, buffers)
        return b"".join(buffer.raw for buffer in buffers)[:n]

    def some(self, data: bytes) -> int:
        buffers = [(ctypes.c_char * len(part)).from_buffer_copy(part) for part in (data[:CUT], data[CUT:]) if part]
        return self._move(_PWRITEV2, os.writev, buffers)


class Several(Session):
    """sendmmsg(2) and recvmmsg(2): messages of several buffers, and more messages than there are bytes for."""

    def _messages(self, parts: list[list[Any]]) -> Any:
        self.kept = [_vectors(part) for part in parts]
        return (_Message * len(parts))(*(_Message(_Header(None, 0, one, len(one))) for one in self.kept))

    def read(self, size: int) -> bytes:
        parts = [[(ctypes.c_char * n)() for n in (100, 300)] for _ in range(3)]
        parts.append([(ctypes.c_char * (size - 1200))()])
        messages = self._messages(parts)
        n = _call(_RECVMMSG, self.fd, ctypes.byref(messages), len(parts), _MSG_WAITFORONE, None)
        read = [b"".join(buffer.raw for buffer in part) for part in parts]
        return b"".join(data[: message.moved] for data, message in zip(read[:n], messages[:n], strict=True))

    def some(self, data: bytes) -> int:
        parts = [data[:CUT], data[CUT : 2 * CUT], data[2 * CUT :]]
        cut = [(part[:50], part[50:]) for part in parts if part]
        buffers = [[(ctypes.c_char * len(one)).from_buffer_copy(one) for one in part if one] for part in cut]
        messages = self._messages(buffers)
        n = _call(_SENDMMSG, self.fd, ctypes.byref(messages), len(buffers), 0)
        return sum(message.moved for message in messages[:n])


class ZeroCopy(Session):
    """send(2) with MSG_ZEROCOPY: the kernel sends the pages themselves and tells on the error queue when it is done."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        super().__init__(library, connection)
        connection.setsockopt(socket.SOL_SOCKET, _SO_ZEROCOPY, 1)

    def read(self, size: int) -> bytes:
        # The other end waits until this one has acknowledged: by itself the kernel would put that off for 40 ms.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().read(size)

    def some(self, data: bytes) -> int:
        n = self.connection.send(data, _MSG_ZEROCOPY)
        waiting = select.poll()
        waiting.register(self.fd, 0)  # POLLERR is always told
        if not waiting.poll(20_000):
            raise OSError("no notice on the error queue")
        self.connection.recvmsg(1, 512, socket.MSG_ERRQUEUE)
        return n


class Elsewhere(Session):
    """Heads by send(2) and recv(2), contents as `take` and `give` do; with chunked coding all of it as heads."""

    def __init__(self, library: Any, connection: socket.socket) -> None:
        super().__init__(library, connection)
        self.starts = True
        self.elsewhere = False
        self.kept_from, self.kept_to = os.pipe()

    def take(self, size: int) -> bytes:
        """splice(2) from the socket."""
        n = os.splice(self.fd, self.kept_to, min(size, PIPE))
        return os.read(self.kept_from, n) if n else b""

    def give(self, data: bytes) -> int:
        """splice(2) to the socket."""
        n = os.write(self.kept_to, data[:PIPE])
        left = n
        while left:
            left -= os.splice(self.kept_from, self.fd, left)
        return n

    def read(self, size: int) -> bytes:
        if not self.starts:
            return self.take(size) if self.elsewhere else self.connection.recv(size)
        while b"\r\n\r\n" not in (seen := self.connection.recv(size, socket.MSG_PEEK)):
            if not seen:
                return b""
        head = self.connection.recv(seen.index(b"\r\n\r\n") + 4)
        self.starts = head.startswith(b"HTTP/1.1 100")
        self.elsewhere = b"chunked" not in head.lower()
        return head

    def write(self, data: bytes) -> None:
        chunked = data.split(b"\r\n", 1)[0].strip(b"0123456789abcdefABCDEF") == b""
        if chunked or data.startswith((b"HTTP/1.1 ", *(name + b" /" for name in _METHODS))):
            self.connection.sendall(data)
            return
        while data:
            data = data[self.give(data) :]

    def between(self) -> None:
        self.starts = True

    def close(self) -> None:
        super().close()
        os.close(self.kept_from)
        os.close(self.kept_to)


_METHODS = (b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"HEAD", b"OPTIONS")


class SendFile(Elsewhere):
    """sendfile(2) from a file in memory; contents are received by recv(2)."""

    def take(self, size: int) -> bytes:
        return self.connection.recv(size)

    def give(self, data: bytes) -> int:
        file = os.memfd_create("content")
        try:
            os.write(file, data)
            return os.sendfile(self.fd, file, 0, len(data))
        finally:
            os.close(file)
