"""What was found on the node; every field may be unknown, and then `unknown` says why."""

from __future__ import annotations

import msgspec


class Account(msgspec.Struct, frozen=True):
    """A user that a part of the sensor runs as."""

    name: str
    uid: int | None
    """None: there is no such user."""


class Directory(msgspec.Struct, frozen=True):
    """A directory of the sensor."""

    path: str
    exists: bool
    owner: str = ""
    mode: int = 0
    """Permission bits."""


class Bcc(msgspec.Struct, frozen=True):
    """What `import bcc` gives the distribution's Python."""

    version: str | None
    """None: it cannot be imported."""
    path: str | None = None
    is_bpf: bool = False
    """False beside a version: another project of that name (crystal lattices) hides BCC."""
    error: str | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as this process could see it. None: unknown."""

    euid: int
    capabilities: frozenset[str] | None
    """Effective ones, by name ("CAP_BPF")."""
    initial_pid_namespace: bool | None
    initial_user_namespace: bool | None
    kernel: str
    """`uname -r`."""
    machine: str
    """`uname -m`."""
    btf: bool
    lockdown: str | None
    """"none", "integrity", "confidentiality"; None: the kernel has no lockdown, or it cannot be read."""
    uprobe_pmu: bool
    kprobe_lacks: str | None
    """What the back end "kprobe" would need and is missing; empty: nothing."""
    sock_length_tracepoints: bool | None
    syscall_tracepoints: bool | None
    ring_buffer: bool | None
    uprobe_multi: bool | None
    perf_event_paranoid: int | None
    memlock_bytes: int | None
    """Soft limit; None: unlimited."""
    seccomp_actions: list[str]
    libseccomp: bool
    uretprobe_passes_seccomp: bool | None
    """None: the kernel has no uretprobe system call, or it could not be tried."""
    bcc: Bcc
    libbpf: bool
    uapi_headers: bool
    kernel_headers: str | None
    """Where kernel headers of the running kernel lie; None: there are none."""
    memory_available: int | None
    """Bytes, of the node or of this process's cgroup, whichever is less."""
    accounts: list[Account]
    selinux: str | None
    """"enforcing", "permissive"; None: not in use."""
    apparmor: str | None
    """This process's profile; None: not in use."""
    cgroups: str | None
    """"v2", "v1", "hybrid"."""
    modules: str
    """How the modules on the path of every record run: "compiled", or why not (apisensor.compiled)."""
    clocksource: str | None
    clock_synchronised: bool | None
    directories: list[Directory]
    otlp_endpoint: str | None
    """host:port; None: none is configured."""
    otlp_error: str | None = None
    """Why it cannot be reached; None: it can."""
    page: str | None = None
    """Where the page is to be served, "address:port"; None: it is switched off."""
    page_error: str | None = None
    """Why it cannot be served there; None: it can, or a running sensor does."""
    sensor: str | None = None
    """Version of a running sensor; None: none runs, or `unknown` says why that could not be seen."""
    lost: dict[str, int] = {}
    """What it has lost since its start: the counters of its status that say so, without those that are 0."""
    settings_error: str | None = None
    unknown: dict[str, str] = {}
    """Name of a field above: why it is not known."""
