"""io_uring by its system calls (include/uapi/linux/io_uring.h), one operation at a time."""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import struct
import time
from typing import Any, Final, NamedTuple

_SETUP, _ENTER, _REGISTER = 425, 426, 427
_ENTRIES = 8
_ENTRY = 64
"""Bytes of a struct io_uring_sqe."""
_ENTRIES_AT = 0x10000000
_FIXED_FILE, _LINK, _ASYNC, _SELECT, _SKIP = (1 << bit for bit in (0, 2, 4, 5, 6))
"""IOSQE_*: the descriptor is a place in a table of the ring; the next one waits for this one; a worker thread of the
kernel does it; it takes a buffer that was provided; its success is not told."""
_POLL_FIRST, _MULTISHOT = 1, 2
_REGISTER_BUFFERS, _REGISTER_FILES = 0, 2
_MORE, _NOTICE = 2, 8
_WAIT_ALL = 0x100
_DONE_SECONDS = 60.0
_LOOKS, _PAUSE = 20, 0.0002
"""How often it is looked at once whether an operation is done, and the pause before each further look, seconds: the
kernel wakes a thread that sleeps, to do the operation on its way out of that system call."""
_STALE = b"GET /stale/from/another/call HTTP/1.1\r\nHost: stale\r\n\r\n"
_GROUP, _PROVIDED, _PROVIDED_SIZE = 7, 4, 20_000
_REGISTERED = 65_536

OP_NOP, OP_READV, OP_WRITEV, OP_READ_FIXED, OP_WRITE_FIXED = 0, 1, 2, 4, 5
OP_SENDMSG, OP_RECVMSG, OP_READ, OP_WRITE, OP_SEND, OP_RECV, OP_SPLICE, OP_PROVIDE = 9, 10, 22, 23, 26, 27, 30, 31
OP_SEND_ZC = 47


class Operation(NamedTuple):
    """One of those that move a socket's bytes, and how it is asked for."""

    code: int
    flags: int = 0
    options: int = 0
    """The field ioprio."""


SEND: Final = (
    *(Operation(code) for code in (OP_SEND_ZC, OP_SEND, OP_SENDMSG, OP_WRITE, OP_WRITEV)),
    *(Operation(OP_SEND, flags) for flags in (_ASYNC, _FIXED_FILE, _SKIP, _FIXED_FILE | _ASYNC)),
    Operation(OP_SEND, 0, _POLL_FIRST),
)
"""The first one, with zero copy, is not for unix sockets."""
RECEIVE: Final = (
    *(Operation(code) for code in (OP_RECV, OP_RECVMSG, OP_READ, OP_READV)),
    *(Operation(OP_RECV, flags) for flags in (_ASYNC, _FIXED_FILE, _SELECT, _FIXED_FILE | _ASYNC)),
    *(Operation(OP_RECV, 0, _POLL_FIRST), Operation(OP_RECVMSG, _SELECT)),
    Operation(OP_RECV, _SELECT, _MULTISHOT),
)
"""The last one goes on by itself."""
PAGES: Final = (Operation(OP_WRITE_FIXED), Operation(OP_READ_FIXED))
"""From and to a buffer that is registered."""
_VECTORS: Final = (OP_READV, OP_WRITEV)
_MESSAGES: Final = (OP_SENDMSG, OP_RECVMSG)
_FILES: Final = (*_VECTORS, OP_READ, OP_WRITE, OP_READ_FIXED, OP_WRITE_FIXED)
_PARTS: Final = 3
"""A buffer is given as so many where there may be several."""
_libc = ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"io_uring: {os.strerror(ctypes.get_errno())}")
    return result


class _Done(NamedTuple):
    """A struct io_uring_cqe."""

    number: int
    result: int
    flags: int


class Uring:
    """A ring of a few entries, for one socket. Raises OSError where the kernel has none to give."""

    def __init__(self, fd: int) -> None:
        self.socket = fd
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
        self.number = 0
        self.kept: list[Any] = []
        """What the kernel may still look at."""
        self.provided = (ctypes.c_char * (_PROVIDED * _PROVIDED_SIZE))()
        self.registered = (ctypes.c_char * _REGISTERED)()
        self.shots: int | None = None
        """The number of the receive that goes on by itself."""
        _call(_REGISTER, self.fd, _REGISTER_FILES, ctypes.byref(ctypes.c_int(fd)), 1)
        vector = (ctypes.c_uint64 * 2)(ctypes.addressof(self.registered), _REGISTERED)
        _call(_REGISTER, self.fd, _REGISTER_BUFFERS, ctypes.byref(vector), 1)
        self._provide(0, _PROVIDED)

    def _u32(self, at: int) -> int:
        return int(struct.unpack_from("I", self.ring, at)[0])

    def _enter(self, *fields: tuple[int, ...]) -> int:
        """Submits operations; returns the number of the last one."""
        for code, flags, options, fd, offset, address, length, further, group, *source in fields:
            tail = self._u32(self.tail_at)
            at = tail & self.mask
            self.number += 1
            entry = (code, flags, options, fd, offset, address, length, further, self.number, group, *(source or [0]))
            # opcode, flags, ioprio, fd, off, addr, len, flags of the operation, user_data, buf_index, splice_fd_in
            self.entries[at * _ENTRY : (at + 1) * _ENTRY] = struct.pack("BBHiQQIIQH2xi16x", *entry)
            struct.pack_into("I", self.ring, self.array_at + 4 * at, at)
            struct.pack_into("I", self.ring, self.tail_at, tail + 1)
        _call(_ENTER, self.fd, len(fields), 0, 0, None, 0)
        return self.number

    def _wait(self) -> _Done:
        """Makes other system calls until an operation is done. Raises OSError where it failed, but for want of buffers
        of the receive that goes on: that has ended then."""
        deadline, looks = time.monotonic() + _DONE_SECONDS, 0
        while self._u32(self.done_tail_at) == (head := self._u32(self.done_head_at)):
            os.write(self.elsewhere, _STALE)
            looks += 1
            if looks > _LOOKS:
                time.sleep(_PAUSE)  # the threads of both ends share two processors, and each end's one lock
            if time.monotonic() > deadline:
                raise OSError("io_uring: not done in time")
        done = _Done(*struct.unpack_from("QiI", self.ring, self.done_at + 16 * (head & self.done_mask)))
        struct.pack_into("I", self.ring, self.done_head_at, head + 1)
        if done.result < 0 and (done.number, done.result) != (self.shots, -errno.ENOBUFS):
            raise OSError(-done.result, f"io_uring: {os.strerror(-done.result)}")
        return done

    def _provide(self, first: int, count: int) -> None:
        """Gives these of the provided buffers to the kernel, once more."""
        address = ctypes.addressof(self.provided) + first * _PROVIDED_SIZE
        number = self._enter((OP_PROVIDE, 0, 0, count, first, address, _PROVIDED_SIZE, 0, _GROUP))
        assert self._wait().number == number

    def _ask(self, operation: Operation, buffer: Any, size: int) -> tuple[int, ...]:
        """The fields of an operation's entry."""
        code, flags, options = operation
        address = where = ctypes.addressof(buffer)
        length = size
        if code in (*_VECTORS, *_MESSAGES):
            many = 1 if flags & _SELECT else _PARTS
            step = max(size // many, 1)
            cuts = [min(step * part, size) for part in range(many)] + [size]
            parts = [(address + begin, end - begin) for begin, end in itertools.pairwise(cuts)]
            vectors = (ctypes.c_uint64 * (2 * many))(*(number for part in parts for number in part))
            message = (ctypes.c_uint64 * 7)(0, 0, ctypes.addressof(vectors), many, 0, 0, 0)
            self.kept = [vectors, message]
            where, length = (ctypes.addressof(vectors), many) if code in _VECTORS else (ctypes.addressof(message), 1)
        offset = (1 << 64) - 1 if code in _FILES else 0
        fd = 0 if flags & _FIXED_FILE else self.socket
        if flags & _SELECT and code not in _MESSAGES:
            where, length = 0, 0 if options & _MULTISHOT else size
        further = _WAIT_ALL if flags & _SKIP else 0
        return code, flags, options, fd, offset, where, length, further, _GROUP if flags & _SELECT else 0

    def send(self, operation: Operation, data: bytes) -> int:
        """Returns how many of the bytes were sent."""
        buffer = (ctypes.c_char * len(data)).from_buffer_copy(data)
        if operation.code == OP_WRITE_FIXED:
            data = data[:_REGISTERED]
            ctypes.memmove(self.registered, data, len(data))
            buffer = self.registered
        asked = self._ask(operation, buffer, len(data))
        if operation.flags & _SKIP:
            # What follows it in a chain tells that it is over; all of it was sent then.
            self._enter((asked[0], asked[1] | _LINK, *asked[2:]), (OP_NOP, *([0] * 8)))
            self._wait()
            return len(data)
        number = self._enter(asked)
        done = self._wait()
        if done.flags & _MORE:  # with zero copy another one tells that the pages are free
            assert self._wait().flags & _NOTICE
        assert done.number == number
        return done.result

    def send_in_chain(self, parts: list[bytes]) -> int:
        """Sends one behind the other, all submitted at once."""
        buffers = [(ctypes.c_char * len(part)).from_buffer_copy(part) for part in parts]
        asked = [self._ask(Operation(OP_SEND, _LINK), buffer, len(buffer)) for buffer in buffers]
        asked = [(*one[:7], _WAIT_ALL, one[8]) for one in asked]
        asked[-1] = (asked[-1][0], 0, *asked[-1][2:])
        self._enter(*asked)
        return sum(self._wait().result for _ in parts)

    def receive(self, operation: Operation, size: int) -> bytes:
        """b"" at the end of the stream."""
        if self.shots is not None and (data := self._next_shot(self._wait())) is not None:
            return data
        buffer = (ctypes.c_char * size)() if operation.code != OP_READ_FIXED else self.registered
        self.kept = [buffer]
        number = self._enter(self._ask(operation, buffer, min(size, _PROVIDED_SIZE)))
        if operation.options & _MULTISHOT:
            self.shots = number
            return self._next_shot(self._wait()) or b""
        done = self._wait()
        assert done.number == number
        return self._taken(done) if operation.flags & _SELECT else buffer.raw[: done.result]

    def _next_shot(self, done: _Done) -> bytes | None:
        """None: it has ended, and the stream has not."""
        assert done.number == self.shots
        if not done.flags & _MORE:
            self.shots = None
        return self._taken(done) if done.result >= 0 else None

    def _taken(self, done: _Done) -> bytes:
        """What lies in the provided buffer that was taken; it is provided again."""
        if not done.result:
            return b""
        taken = done.flags >> 16
        data = self.provided.raw[taken * _PROVIDED_SIZE : taken * _PROVIDED_SIZE + done.result]
        if self.shots is None:
            self._provide(taken, 1)
        else:
            self._give_back(taken)
        return data

    def _give_back(self, taken: int) -> None:
        """Among completions of the receive that goes on."""
        address = ctypes.addressof(self.provided) + taken * _PROVIDED_SIZE
        self._enter((OP_PROVIDE, _SKIP, 0, 1, taken, address, _PROVIDED_SIZE, 0, _GROUP))

    def splice(self, pipe: int, size: int) -> int:
        """Moves so many bytes from the socket to a pipe at most; a worker thread of the kernel does it."""
        nowhere = (1 << 64) - 1  # neither has offsets
        self._enter((OP_SPLICE, 0, 0, pipe, nowhere, nowhere, size, 0, 0, self.socket))
        return self._wait().result

    def close(self) -> None:
        self.ring.close()
        self.entries.close()
        os.close(self.elsewhere)
        os.close(self.fd)
