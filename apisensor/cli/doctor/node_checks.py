"""What else the sensor needs of the node: pure functions over facts, each some lines of doctor's report."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from apisensor import compiled
from apisensor.cli.doctor.check import Check, State, not_seen
from apisensor.cli.doctor.facts import Facts
from apisensor.cli.doctor.kernel_checks import kernel_version

LLVM_BYTES = 200 << 20
"""The loader is 124 MB while it compiles (bcc 0.26, LLVM 14); for a second."""


class Capability(msgspec.Struct, frozen=True):
    name: str
    reason: str
    needed: bool
    """False: there are nodes on which the sensor works without it."""


CAPABILITIES = (
    Capability("CAP_BPF", "load programs and make maps (kernel 5.8 and later)", True),
    Capability("CAP_PERFMON", "attach to functions and tracepoints, read memory of the observed call", True),
    Capability("CAP_SYS_PTRACE", "read what processes of other users have mapped (/proc/PID/maps, exe, root)", True),
    Capability("CAP_DAC_READ_SEARCH", "open libraries in folders closed to others, as containers' are", True),
    Capability("CAP_SETUID", "run the core and the workers as users without rights", True),
    Capability("CAP_SETGID", "the same for their groups", True),
    Capability("CAP_KILL", "end its own parts, which run as other users", True),
    Capability("CAP_SETPCAP", "take capabilities from its parts for good", True),
    Capability("CAP_CHOWN", "give the live socket to the core's group", False),
    Capability("CAP_CHECKPOINT_RESTORE", "open libraries that were replaced on disk (/proc/PID/map_files)", False),
    Capability(
        "CAP_SYS_RESOURCE", "raise the locked-memory limit, against which kernels before 5.11 count maps", False
    ),
    Capability(
        "CAP_SYS_ADMIN", "open replaced libraries before kernel 5.9; perf events where the kernel closes them", False
    ),
)


def settings(f: Facts) -> Iterator[Check]:
    if f.settings_error is None:
        yield Check("settings", "ok", "valid")
    else:
        yield Check("settings", "fail", f.settings_error, "correct it; the checks below assume the defaults")


def root(f: Facts) -> Iterator[Check]:
    if f.initial_user_namespace is False:
        remedy = "run it outside of rootless containers: BPF needs the node's rights"
        yield Check("user namespace", "fail", "not the node's", remedy)
    if f.initial_pid_namespace is False:
        remedy = "run the container with the host's (hostPID, --pid=host)"
        yield Check("process namespace", "fail", "not the node's", remedy)
    elif f.initial_pid_namespace is None:
        yield not_seen(f, "process namespace", "initial_pid_namespace")
    else:
        yield Check("process namespace", "ok", "the node's")


def _unneeded(f: Facts, capability: str) -> bool:
    """Whether this node has no use for a capability that others need."""
    version = kernel_version(f.kernel) or (0, 0)
    return {
        "CAP_SYS_RESOURCE": version >= (5, 11) or f.memlock_bytes is None,
        "CAP_SYS_ADMIN": version >= (5, 9),
    }.get(capability, False)


def capabilities(f: Facts) -> Iterator[Check]:
    if f.capabilities is None:
        yield not_seen(f, "capabilities", "capabilities")
        return
    remedy = "run it as root (sudo apisensor ...), or grant it" if f.euid else "grant it to the container or the unit"
    for capability in CAPABILITIES:
        if capability.name in f.capabilities:
            yield Check(capability.name, "ok", f"held: {capability.reason}")
        elif _unneeded(f, capability.name):
            yield Check(capability.name, "ok", f"not held, and not needed here: {capability.reason}")
        else:
            state: State = "fail" if capability.needed else "warn"
            yield Check(capability.name, state, f"missing: {capability.reason}", remedy)


def bcc(f: Facts) -> Iterator[Check]:
    if f.bcc.version is None:
        yield Check("BCC", "fail", f"/usr/bin/python3 cannot import bcc: {f.bcc.error}", "apt install python3-bpfcc")
    elif not f.bcc.is_bpf:
        yield Check(
            "BCC",
            "fail",
            f"{f.bcc.path} is PyPI's bcc {f.bcc.version}, a crystal-lattice library that hides BCC",
            "/usr/bin/python3 -m pip uninstall bcc; apt install python3-bpfcc",
        )
    else:
        yield Check("BCC", "ok", f"{f.bcc.version} ({f.bcc.path})")


def headers(f: Facts) -> Iterator[Check]:
    if f.uapi_headers:
        yield Check("headers", "ok", "linux-libc-dev; kernel headers are not needed")
    elif f.kernel_headers:
        yield Check("headers", "ok", f.kernel_headers)
    else:
        found = "no /usr/include/linux/bpf.h and no kernel headers"
        yield Check("headers", "fail", found, "apt install linux-libc-dev")


def modules(f: Facts) -> Iterator[Check]:
    if f.modules == compiled.COMPILED:
        yield Check("modules", "ok", "those on the path of every record are compiled")
    else:
        yield Check("modules", "warn", f"{f.modules}; a call costs twice as much", "deploy/install compiles them")


def libbpf(f: Facts) -> Iterator[Check]:
    if f.libbpf:
        yield Check("libbpf", "ok", "libbpf.so.1")
    else:
        yield Check("libbpf", "warn", "libbpf.so.1 is missing", "apt install libbpf1; BCC usually brings it")


def memory(f: Facts) -> Iterator[Check]:
    if f.memory_available is None:
        yield not_seen(f, "memory", "memory_available")
    elif f.memory_available < LLVM_BYTES:
        remedy = f"{LLVM_BYTES >> 20} MiB for a second at the start: LLVM compiles the probes"
        yield Check("memory", "warn", f"{f.memory_available >> 20:,} MiB available", remedy)
    else:
        yield Check("memory", "ok", f"{f.memory_available >> 20:,} MiB available")


def accounts(f: Facts) -> Iterator[Check]:
    seen: set[int] = set()
    for account in f.accounts:
        name = f"user {account.name}"
        if account.uid is None:
            remedy = f"useradd --system --no-create-home --shell /usr/sbin/nologin {account.name}"
            yield Check(name, "fail", "does not exist", remedy)
        elif account.uid == 0:
            yield Check(name, "fail", "is root", "general.user and general.sandbox_user are users without rights")
        elif account.uid in seen:
            yield Check(name, "fail", "is both users", "general.user and general.sandbox_user are not the same user")
        else:
            seen.add(account.uid)
            yield Check(name, "ok", f"uid {account.uid}")


def mandatory_access(f: Facts) -> Iterator[Check]:
    if f.selinux == "enforcing":
        remedy = "if loading is refused: ausearch -m avc -c apisensor, and a policy that allows it bpf and perf_event"
        yield Check("SELinux", "warn", "enforcing: it may forbid bpf(2) to containers", remedy)
    else:
        yield Check("SELinux", "ok", f.selinux or "not in use")
    confined = f.apparmor is not None and not f.apparmor.startswith("unconfined")
    if confined:
        remedy = "run it unconfined, or allow it bpf, perfmon and ptrace"
        yield Check("AppArmor", "warn", f"confined by {f.apparmor}", remedy)
    else:
        yield Check("AppArmor", "ok", f.apparmor or "not in use")


def cgroups(f: Facts) -> Iterator[Check]:
    if f.cgroups is None:
        yield Check("cgroups", "warn", "none mounted", "containers and pods will not be named")
    else:
        yield Check("cgroups", "ok", f.cgroups)


def clock(f: Facts) -> Iterator[Check]:
    source = f.clocksource or "unknown clock source"
    if f.clock_synchronised is None:
        yield not_seen(f, "clock", "clock_synchronised")
    elif f.clock_synchronised:
        yield Check("clock", "ok", f"synchronised, {source}")
    else:
        remedy = "chrony or systemd-timesyncd: without, the spans of several nodes do not line up"
        yield Check("clock", "warn", f"not synchronised, {source}", remedy)


def directories(f: Facts) -> Iterator[Check]:
    for directory in f.directories:
        name = f"directory {directory.path}"
        if not directory.exists:
            yield Check(name, "ok", "is made at the start")
        elif directory.mode & 0o002:
            yield Check(name, "fail", f"mode {directory.mode:04o}: everybody may write", f"chmod o-w {directory.path}")
        else:
            yield Check(name, "ok", f"{directory.owner}, mode {directory.mode:04o}")


def otlp(f: Facts) -> Iterator[Check]:
    if f.otlp_endpoint is None:
        yield Check("OTLP", "ok", "no endpoint configured (OTEL_EXPORTER_OTLP_ENDPOINT): no spans are sent")
    elif f.otlp_error is None:
        yield Check("OTLP", "ok", f"{f.otlp_endpoint} accepts connections")
    else:
        remedy = "start the collector or correct OTEL_EXPORTER_OTLP_ENDPOINT; until then spans are dropped and counted"
        yield Check("OTLP", "warn", f"{f.otlp_endpoint}: {f.otlp_error}", remedy)


def page(f: Facts) -> Iterator[Check]:
    if f.page is None:
        yield Check("page", "ok", "switched off (web.enabled)")
    elif f.page_error is None:
        yield Check("page", "ok", f"{f.page}: {'free' if f.sensor is None else 'the running sensor serves it'}")
    else:
        yield Check("page", "fail", f.page_error, "set web.address or web.port, or web.enabled=false")
