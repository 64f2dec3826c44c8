"""io_uring by its system calls (include/uapi/linux/io_uring.h), one operation at a time."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import time
from typing import Any

_SETUP, _ENTER = 425, 426
_ENTRIES = 4
_ENTRY = 64
"""Bytes of a struct io_uring_sqe."""
_ENTRIES_AT = 0x10000000
_ASYNC = 1 << 4
"""IOSQE_ASYNC: a worker thread of the kernel does it."""
_DONE_SECONDS = 20.0
_STALE = b"GET /stale/from/another/call HTTP/1.1\r\nHost: stale\r\n\r\n"

OP_READV, OP_WRITEV, OP_SENDMSG, OP_RECVMSG, OP_READ, OP_WRITE, OP_SEND, OP_RECV = 1, 2, 9, 10, 22, 23, 26, 27
SEND = ((OP_SEND, 0), (OP_SENDMSG, 0), (OP_WRITE, 0), (OP_WRITEV, 0), (OP_SEND, _ASYNC))
RECEIVE = ((OP_RECV, 0), (OP_RECVMSG, 0), (OP_READ, 0), (OP_READV, 0), (OP_RECV, _ASYNC))
"""(operation, flags)."""
_VECTORS = (OP_READV, OP_WRITEV)
_MESSAGES = (OP_SENDMSG, OP_RECVMSG)
_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"io_uring: {os.strerror(ctypes.get_errno())}")
    return result


class Uring:
    """A ring of a few entries. Raises OSError where the kernel has none to give."""

    def __init__(self) -> None:
        parameters = ctypes.create_string_buffer(120)  # struct io_uring_params
        self.fd = _call(_SETUP, _ENTRIES, parameters)
        entries, completions = struct.unpack_from("II", parameters)
        # Offsets: of the submissions from byte 40 on (head, tail, ring_mask, ring_entries, flags, dropped, array), of
        # the completions from byte 80 on (head, tail, ring_mask, ring_entries, overflow, cqes).
        self.tail_at, self.array_at = (struct.unpack_from("I", parameters, 40 + 4 * n)[0] for n in (1, 6))
        self.done_head_at, self.done_tail_at, self.done_at = (
            struct.unpack_from("I", parameters, 80 + 4 * n)[0] for n in (0, 1, 5)
        )
        self.mask, self.done_mask = entries - 1, completions - 1
        # One mapping holds both rings (IORING_FEAT_SINGLE_MMAP, kernel 5.4).
        size = max(self.array_at + 4 * entries, self.done_at + 16 * completions)
        self.ring = mmap.mmap(self.fd, size, mmap.MAP_SHARED)
        self.entries = mmap.mmap(self.fd, entries * _ENTRY, mmap.MAP_SHARED, offset=_ENTRIES_AT)
        self.elsewhere = os.open("/dev/null", os.O_WRONLY)

    def _u32(self, at: int) -> int:
        return int(struct.unpack_from("I", self.ring, at)[0])

    def _do(self, operation: tuple[int, int], fd: int, buffer: Any, size: int) -> int:
        """Submits one operation, makes other system calls until it is done, and returns its result."""
        code, flags = operation
        address = ctypes.addressof(buffer)
        vector = (ctypes.c_uint64 * 2)(address, size)
        message = (ctypes.c_uint64 * 7)(0, 0, ctypes.addressof(vector), 1, 0, 0, 0)
        where, length = (address, size)
        if code in _VECTORS:
            where, length = ctypes.addressof(vector), 1
        elif code in _MESSAGES:
            where, length = ctypes.addressof(message), 1
        tail = self._u32(self.tail_at)
        at = tail & self.mask
        # opcode, flags, ioprio, fd, offset, address, length, flags of the operation, user_data
        self.entries[at * _ENTRY : (at + 1) * _ENTRY] = struct.pack(
            "BBHiQQIIQ24x", code, flags, 0, fd, (1 << 64) - 1 if code in (*_VECTORS, OP_READ, OP_WRITE) else 0,
            where, length, 0, tail,
        )  # fmt: skip
        struct.pack_into("I", self.ring, self.array_at + 4 * at, at)
        struct.pack_into("I", self.ring, self.tail_at, tail + 1)
        _call(_ENTER, self.fd, 1, 0, 0, None, 0)
        deadline = time.monotonic() + _DONE_SECONDS
        while self._u32(self.done_tail_at) == (head := self._u32(self.done_head_at)):
            os.write(self.elsewhere, _STALE)
            if time.monotonic() > deadline:
                raise OSError("io_uring: not done in time")
        result = int(struct.unpack_from("i", self.ring, self.done_at + 16 * (head & self.done_mask) + 8)[0])
        struct.pack_into("I", self.ring, self.done_head_at, head + 1)
        if result < 0:
            raise OSError(-result, f"io_uring operation {code}: {os.strerror(-result)}")
        return result

    def send(self, operation: tuple[int, int], fd: int, data: bytes) -> int:
        """Returns how many of the bytes were sent."""
        buffer = (ctypes.c_char * len(data)).from_buffer_copy(data)
        return self._do(operation, fd, buffer, len(data))

    def receive(self, operation: tuple[int, int], fd: int, size: int) -> bytes:
        """b"" at the end of the stream."""
        buffer = (ctypes.c_char * size)()
        return buffer.raw[: self._do(operation, fd, buffer, size)]

    def close(self) -> None:
        self.ring.close()
        self.entries.close()
        os.close(self.elsewhere)
        os.close(self.fd)
