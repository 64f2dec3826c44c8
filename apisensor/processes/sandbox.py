"""What a part that parses hostile bytes may still ask the kernel for. docs/privileges.md lists it."""

from __future__ import annotations

import errno

import pyseccomp

_PROT_EXEC = 4

SANDBOX = (
    # memory and threads of the interpreter
    *("brk", "munmap", "mremap", "madvise", "futex", "sched_yield", "rseq", "set_robust_list"),
    # the descriptors that were handed over: ring, shared pages, sockets; nothing new can be opened
    *("read", "write", "readv", "writev", "pread64", "lseek", "close", "fstat"),
    *("sendmsg", "sendto", "recvmsg", "recvfrom", "epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "ppoll"),
    # time, signals, randomness, the end
    *("clock_gettime", "clock_nanosleep", "nanosleep", "gettimeofday", "restart_syscall", "getpid", "gettid"),
    "setitimer",
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "getrandom", "exit", "exit_group"),
)
"""System calls that the sandbox allows; everything else fails with EPERM. Memory is never made executable."""


def seal() -> None:
    """Enters the sandbox: from here on only SANDBOX. All modules must have been imported."""
    sandbox = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in SANDBOX:
        sandbox.add_rule(pyseccomp.ALLOW, name)
    for name in ("mmap", "mprotect"):
        sandbox.add_rule(pyseccomp.ALLOW, name, pyseccomp.Arg(2, pyseccomp.MASKED_EQ, _PROT_EXEC, 0))
    sandbox.load()
