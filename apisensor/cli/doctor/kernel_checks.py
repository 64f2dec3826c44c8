"""What the kernel of the node offers: pure functions over facts, each some lines of doctor's report."""

from __future__ import annotations

from collections.abc import Iterator

from apisensor.capture.preflight import PERF_CLOSED
from apisensor.capture.uretprobe import affected_version
from apisensor.cli.doctor.check import Check, not_seen
from apisensor.cli.doctor.facts import Facts

LEAST_KERNEL = (5, 8)


def kernel_version(release: str) -> tuple[int, int] | None:
    """(6, 1) of "6.1.0-18-amd64"; None where that is no version."""
    try:
        major, minor = release.split("-", 1)[0].split(".")[:2]
        return int(major), int(minor)
    except ValueError:
        return None


def kernel(f: Facts) -> Iterator[Check]:
    version = kernel_version(f.kernel)
    if version is None:
        yield Check("kernel", "unknown", f"{f.kernel}: not understood", "5.8 or later is needed")
    elif version < LEAST_KERNEL:
        yield Check("kernel", "fail", f.kernel, "a kernel of 5.8 or later: it has BPF ring buffers and CAP_BPF")
    else:
        yield Check("kernel", "ok", f.kernel)


def architecture(f: Facts) -> Iterator[Check]:
    if f.machine == "x86_64":
        yield Check("architecture", "ok", f.machine)
    else:
        yield Check("architecture", "fail", f.machine, "x86-64 is what this version knows")


def btf(f: Facts) -> Iterator[Check]:
    if f.btf:
        yield Check("BTF", "ok", "/sys/kernel/btf/vmlinux: offsets of kernel structures")
    else:
        yield Check("BTF", "fail", "no /sys/kernel/btf/vmlinux", "a kernel built with CONFIG_DEBUG_INFO_BTF")


def lockdown(f: Facts) -> Iterator[Check]:
    if "lockdown" in f.unknown:
        yield not_seen(f, "lockdown", "lockdown")
    elif f.lockdown == "confidentiality":
        yield Check(
            "lockdown",
            "fail",
            "confidentiality: programs may not read kernel memory (bpf_probe_read_kernel), so no socket can be known",
            "boot with lockdown=integrity or without",
        )
    else:
        yield Check("lockdown", "ok", f.lockdown or "not in use")


def uprobes(f: Facts) -> Iterator[Check]:
    if f.uprobe_pmu:
        yield Check("uprobes", "ok", "perf's uprobe events: TLS libraries can be attached to")
    else:
        remedy = "a kernel built with CONFIG_UPROBE_EVENTS"
        yield Check("uprobes", "fail", "no /sys/bus/event_source/devices/uprobe", remedy)
    if f.uprobe_multi:
        yield Check("uprobe_multi", "ok", "supported: attaching and detaching takes milliseconds")
    elif f.uprobe_multi is None:
        yield not_seen(f, "uprobe_multi", "uprobe_multi")
    else:
        found = "not supported (kernel 6.6 and later): one perf event a function, detaching takes seconds"
        yield Check("uprobe_multi", "warn", found)


def perf_events(f: Facts) -> Iterator[Check]:
    if f.perf_event_paranoid is None:
        yield not_seen(f, "perf events", "perf_event_paranoid")
        return
    found = f"kernel.perf_event_paranoid {f.perf_event_paranoid}"
    if f.perf_event_paranoid < PERF_CLOSED:
        yield Check("perf events", "ok", found)
    elif f.capabilities is None or "CAP_SYS_ADMIN" in f.capabilities:
        kept = "" if f.uprobe_multi and f.sock_length_tracepoints else ": capture keeps CAP_SYS_ADMIN, which it wants"
        yield Check("perf events", "ok", f"{found}{kept}")
    else:
        remedy = "sysctl kernel.perf_event_paranoid=2, or CAP_SYS_ADMIN"
        yield Check("perf events", "fail", f"{found}: closed to all but CAP_SYS_ADMIN", remedy)


def back_ends(f: Facts) -> Iterator[Check]:
    if f.sock_length_tracepoints is None and f.syscall_tracepoints is None:
        yield not_seen(f, "socket tracepoints", "sock_length_tracepoints")
    elif f.sock_length_tracepoints:
        yield Check("socket tracepoints", "ok", "sock:sock_send_length, sock:sock_recv_length")
    elif f.syscall_tracepoints:
        found = "system calls, capture.backend syscall; sock:sock_send_length comes with kernel 6.3"
        yield Check("socket tracepoints", "ok", found)
    else:
        yield Check(
            "socket tracepoints", "fail", "none in BTF", "a kernel built with CONFIG_HAVE_SYSCALL_TRACEPOINTS and BTF"
        )
    if f.kprobe_lacks is None:
        yield not_seen(f, "kprobes", "kprobe_lacks")
    elif f.kprobe_lacks:
        yield Check("kprobes", "ok", f"not needed; capture.backend kprobe would lack {f.kprobe_lacks}")
    else:
        taken = "" if f.sock_length_tracepoints else ", which auto takes here"
        yield Check("kprobes", "ok", f"kprobes and BPF trampolines: capture.backend kprobe{taken}")


def ring(f: Facts) -> Iterator[Check]:
    if f.ring_buffer:
        yield Check("ring buffer", "ok", "BPF_MAP_TYPE_RINGBUF")
    elif f.ring_buffer is None:
        yield not_seen(f, "ring buffer", "ring_buffer")
    else:
        yield Check("ring buffer", "fail", "not supported", "a kernel of 5.8 or later")


def memlock(f: Facts) -> Iterator[Check]:
    version = kernel_version(f.kernel)
    shown = "unlimited" if f.memlock_bytes is None else f"{f.memlock_bytes >> 10:,} KiB"
    if f.memlock_bytes is None or (version is not None and version >= (5, 11)):
        yield Check("locked memory", "ok", f"{shown}; from kernel 5.11 on BPF maps count against the cgroup's memory")
    elif f.capabilities is not None and "CAP_SYS_RESOURCE" in f.capabilities:
        yield Check("locked memory", "ok", f"{shown}; it will be raised (CAP_SYS_RESOURCE)")
    else:
        remedy = "ulimit -l unlimited, or CAP_SYS_RESOURCE"
        yield Check("locked memory", "fail", f"{shown}: BPF maps count against it", remedy)


def seccomp(f: Facts) -> Iterator[Check]:
    if not f.seccomp_actions:
        remedy = "a kernel built with CONFIG_SECCOMP_FILTER: hostile bytes are parsed in a sandbox only"
        yield Check("seccomp", "fail", "no filters", remedy)
    elif not f.libseccomp:
        yield Check("seccomp", "fail", "libseccomp.so.2 is missing", "apt install libseccomp2")
    else:
        yield Check("seccomp", "ok", "filters, libseccomp.so.2")


def uretprobe(f: Facts) -> Iterator[Check]:
    name = "return probes and seccomp"
    bug = "return probes end applications under a seccomp filter (6.11 to 6.12.13, 6.13 to 6.13.2; fix cf6cb56ef244)"
    if f.uretprobe_passes_seccomp:
        yield Check(name, "ok", "the uretprobe system call is exempt from filters")
    elif f.uretprobe_passes_seccomp is False:
        yield Check(name, "fail", bug, "kernel 6.12.14, 6.13.3, 6.14 or later, or one of its distribution with the fix")
    elif affected_version(f.kernel) and f.machine == "x86_64":
        remedy = "try it where seccomp filters are permitted, or take kernel 6.14 or later"
        yield Check(name, "warn", f"could not be tried, and upstream's kernel of this version has it: {bug}", remedy)
    else:
        yield Check(name, "ok", "this kernel has no uretprobe system call")
