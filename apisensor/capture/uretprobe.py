"""Whether return probes kill sandboxed applications on this kernel; tried, not guessed from its version.

Since Linux 6.11 a return probe on x86-64 makes the observed thread run a system call, uretprobe (number 335). Until
6.14-rc2 (commit cf6cb56ef244, also in 6.12.14 and 6.13.3) the application's own seccomp filter judged that call: one
that does not know it, as Docker's and systemd's do not, ends the application at its first probed return. 6.11 itself
was never mended upstream; distributions may have mended theirs, so the version alone does not tell.

The try needs no privilege: a child makes the call directly, which is no probe's trampoline, so a kernel that has the
call ends the child with SIGILL. Under a filter that answers it with an error, the child ends the same way where the
call passes seccomp, and gets that error where it does not.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import resource
import signal
import struct

NUMBER = 335
ARCHITECTURE = 0xC000003E  # AUDIT_ARCH_X86_64
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_SET_DUMPABLE = 38, 22, 4
FILTER_MODE = 2

PROVOKED = errno.EXDEV
"""What the filter answers: an error that the call itself has no reason for."""

FIRST = (6, 11)
FIXED = {(6, 12): 14, (6, 13): 3}
"""Release: the first of its patch levels with the fix; 6.14 and later have it."""

DONE, NOT_FILTERED, NO_FILTER = 0, 1, 2
"""How the child ends where it is not killed: the filter judged, the call said something else, no seccomp."""


def passes_seccomp() -> bool | None:
    """Whether the call is exempt from seccomp filters; None: the kernel has no such call, or it cannot be tried."""
    if platform.machine() != "x86_64" or end_of_child(NUMBER, filtered=False) != -signal.SIGILL:
        return None
    return {-signal.SIGILL: True, DONE: False}.get(end_of_child(NUMBER, filtered=True))


def affected_version(release: str) -> bool | None:
    """Whether upstream's kernel of this release has the bug; None: the release is not understood."""
    try:
        major, minor, *rest = re.split("[-+]", release, maxsplit=1)[0].split(".")
        version, patch = (int(major), int(minor)), int(rest[0]) if rest else 0
    except ValueError:
        return None
    return FIRST <= version < (6, 14) and patch < FIXED.get(version, 1 << 30)


def end_of_child(number: int, filtered: bool) -> int:
    """Exit status of a child that makes the system call `number`, or minus the signal that ended it."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _filter(number)
    pid = os.fork()
    if pid == 0:
        end = NO_FILTER
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
            signal.signal(signal.SIGILL, signal.SIG_DFL)
            if not filtered or _install(libc, program):
                refused = libc.syscall(number) == -1 and ctypes.get_errno() == PROVOKED
                end = DONE if refused else NOT_FILTERED
        finally:
            os._exit(end)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _install(libc: ctypes.CDLL, program: ctypes.Structure) -> bool:
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(PR_SET_SECCOMP, FILTER_MODE, ctypes.byref(program), 0, 0) == 0)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def _filter(number: int) -> _Program:
    """Classic BPF over struct seccomp_data: the call `number` is answered with PROVOKED, all others are allowed."""
    load, equal, answer = 0x20, 0x15, 0x06
    instructions = [
        (load, 0, 0, 4),
        (equal, 0, 3, ARCHITECTURE),
        (load, 0, 0, 0),
        (equal, 0, 1, number),
        (answer, 0, 0, 0x00050000 | PROVOKED),
        (answer, 0, 0, 0x7FFF0000),
    ]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    return _Program(len(instructions), code)
