"""Asks the kernel for BPF features by trying them: bpf(2), nothing else, nothing left behind."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct

SYSCALL = {"x86_64": 321, "aarch64": 280}
MAP_CREATE, PROG_LOAD, LINK_CREATE = 0, 5, 28
MAP_TYPE_RINGBUF = 27
PROG_TYPE_KPROBE = 2
TRACE_UPROBE_MULTI = 48
PAGE = 4096

RETURN_ZERO = struct.pack("=BBhi", 0xB7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
"""r0 = 0; exit"""


def _bpf(command: int, attributes: bytes) -> int:
    """The call's result: a descriptor. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    attr = ctypes.create_string_buffer(attributes, len(attributes))
    result: int = libc.syscall(SYSCALL[platform.machine()], command, attr, len(attributes))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def has_ring_buffer() -> bool:
    """BPF_MAP_TYPE_RINGBUF (5.8). Raises OSError where bpf(2) is not permitted."""
    try:
        os.close(_bpf(MAP_CREATE, struct.pack("=IIII", MAP_TYPE_RINGBUF, 0, 0, PAGE)))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def has_uprobe_multi() -> bool:
    """uprobe_multi links (6.6). Raises OSError where bpf(2) is not permitted.

    A link to a directory cannot be: a kernel that knows the link type says that the file is bad (EBADF), any other
    that the type is (EINVAL).
    """
    instructions = ctypes.create_string_buffer(RETURN_ZERO, len(RETURN_ZERO))
    license_text = ctypes.create_string_buffer(b"GPL")
    program = _bpf(
        PROG_LOAD,
        struct.pack(
            "=IIQQIIQII16sII",
            PROG_TYPE_KPROBE,
            len(RETURN_ZERO) // 8,
            ctypes.addressof(instructions),
            ctypes.addressof(license_text),
            0,
            0,
            0,
            0,
            0,
            b"",
            0,
            TRACE_UPROBE_MULTI,
        ),
    )
    path = ctypes.create_string_buffer(b"/")
    offset = ctypes.c_uint64(0)
    try:
        os.close(
            _bpf(
                LINK_CREATE,
                struct.pack(
                    "=IIIIQQQQIII4x",
                    program,
                    0,
                    TRACE_UPROBE_MULTI,
                    0,
                    ctypes.addressof(path),
                    ctypes.addressof(offset),
                    0,
                    0,
                    1,
                    0,
                    0,
                ),
            )
        )
    except OSError as error:
        return error.errno == errno.EBADF
    finally:
        os.close(program)
    return True
