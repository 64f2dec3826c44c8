"""How a part gives up what it does not need. docs/privileges.md lists who keeps what, and why."""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import signal
import struct

from apisensor.processes.capabilities import NUMBERS

FATAL = 2
"""Exit status of a part that would end the same way if it were started again; it has said why."""
WRITE_FAILED = 100
"""Added to the error number: exit status of a part that could not write the recording. `run` says so, once."""

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 8, 24, 38
_SYS_CAPGET, _SYS_CAPSET = 125, 126
_CAPABILITY_VERSION_3 = 0x20080522


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}): {os.strerror(ctypes.get_errno())}")


def become(user: str, capabilities: tuple[str, ...] = ()) -> None:
    """Becomes `user`, keeping only these capabilities, as far as it has them; nothing that is executed later can gain
    any. `run` has looked for those without which it makes no sense (rights.py).

    Raises OSError, and KeyError where there is no such user. Call it before any thread is started.
    """
    entry = pwd.getpwnam(user)
    for number in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, number)
        except OSError as error:
            if error.errno == errno.EINVAL:
                break  # past the last capability of this kernel
            raise
    os.setgroups([])
    _prctl(_PR_SET_KEEPCAPS, int(bool(capabilities)))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    _set_capabilities(capabilities)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _set_capabilities(names: tuple[str, ...]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    sets = ctypes.create_string_buffer(24)
    if libc.syscall(_SYS_CAPGET, header, sets):
        raise OSError(ctypes.get_errno(), f"capget: {os.strerror(ctypes.get_errno())}")
    _, low, _, _, high, _ = struct.unpack("IIIIII", sets.raw)  # effective, permitted, inheritable; twice
    bits = sum(1 << NUMBERS[name] for name in names) & (high << 32 | low)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    sets = ctypes.create_string_buffer(struct.pack("IIIIII", low, low, 0, high, high, 0))
    if libc.syscall(_SYS_CAPSET, header, sets):
        raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def die_with_parent(parent: int) -> None:
    """Ends this process when its parent ends. After `become`: a change of credentials clears it."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(0)
