"""How sockets are observed: what each back end attaches to, and which of them the running kernel offers."""

import os
import platform

from apisensor.loader import io_uring
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.kernel import has_fexit

KPROBES = "/sys/bus/event_source/devices/kprobe"
TRACEPOINTS = (
    "inet_sock_set_state",
    "tcp_destroy_sock",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
)
SPLICE_FROM_UNIX, SPLICE_TO_UNIX = "fexit:unix_stream_splice_read", "fexit:unix_stream_sendpage"
"""Where the kernel has trampolines: no tracepoint tells of them. From 6.5 on the second is told as any other send."""
BACK_ENDS = {
    "sock": (
        *("tracepoint:sock_send_length", "tracepoint:sock_recv_length", "tracepoint:tcp_rcv_space_adjust"),
        *io_uring.PROGRAMS,
        *(SPLICE_FROM_UNIX, SPLICE_TO_UNIX),
    ),
    "kprobe": (
        *("kprobe:tcp_sendmsg", "kprobe:tcp_recvmsg", "kprobe:unix_stream_sendmsg", "kprobe:unix_stream_recvmsg"),
        *("fexit:tcp_sendmsg", "fexit:tcp_recvmsg", "fexit:tcp_sendpage", "fexit:tcp_splice_read"),
        *("fexit:unix_stream_sendmsg", "fexit:unix_stream_recvmsg", SPLICE_FROM_UNIX, SPLICE_TO_UNIX),
    ),
    "syscall": ("tracepoint:sys_exit",),
}
"""Back end: its programs by what they are attached to, in the order of attaching; `auto` takes the first back end that
the kernel offers. "sock" is one program a call and no trap; "kprobe" two, for socket calls only; "syscall" has every
system call of the machine pay."""


def lacking(back_end: str, btf: Btf) -> str | None:
    """What this kernel lacks for a back end; None: nothing."""
    if back_end == "sock" and not btf.has_tracepoint("sock_send_length"):
        return "the tracepoint sock:sock_send_length (kernel 6.3 and later)"
    if back_end == "kprobe" and not os.path.exists(KPROBES):
        return f"kprobes (CONFIG_KPROBE_EVENTS; no {KPROBES})"
    if back_end == "kprobe" and not has_fexit(btf):
        return "BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), or lockdown forbids them"
    return None


def choose_back_end(wanted: str, btf: Btf) -> str:
    """The back end of the setting capture.backend. Raises LoaderError where this kernel does not offer it."""
    if wanted == "auto":
        return next(name for name in BACK_ENDS if lacking(name, btf) is None)
    reason = lacking(wanted, btf)
    if reason is not None:
        raise LoaderError(f"capture.backend {wanted}: this kernel ({platform.release()}) lacks {reason}: take auto")
    return wanted


def programs_in_kernel(back_end: str, btf: Btf) -> dict[str, int]:
    """The programs with a place in the kernel, in the order of attaching: what each is attached to, and for a BPF
    trampoline the number of the function's type. Which functions there are is the kernel's version's."""
    found = {f"tracepoint:{name}": 0 for name in TRACEPOINTS}
    left_out = () if io_uring.io_uring_macros(btf) else io_uring.PROGRAMS
    for label in BACK_ENDS[back_end]:
        kind, _, place = label.partition(":")
        function = (0, []) if kind == "tracepoint" else btf.function(place)
        if function is not None and label not in left_out:
            found[label] = function[0] if kind == "fexit" else 0
    return found


def loadable(programs: dict[str, int], btf: Btf) -> dict[str, int]:
    """Those of them that the kernel lets attach: "sock" does without trampolines where there are none."""
    if not any(label.startswith("fexit:") for label in programs) or has_fexit(btf):
        return programs
    return {label: function for label, function in programs.items() if not label.startswith("fexit:")}


def function_of(label: str) -> str:
    """The C function that is attached there: in bpf/ one kernel function may have a program at its entry and another at
    its return."""
    kind, _, place = label.partition(":")
    return f"{kind}_{place}" if kind in ("kprobe", "fexit") else place
