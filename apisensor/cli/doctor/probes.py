"""Reads the facts of this node: /proc, /sys, a few system calls. Needs no privilege; what it may not see, it says."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import pwd
import resource
import socket
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from apisensor import compiled
from apisensor.capture import uretprobe
from apisensor.cli.doctor import bpf
from apisensor.cli.doctor.facts import Account, Bcc, Directory, Facts
from apisensor.live.client import LiveClient
from apisensor.live.listening import LiveError
from apisensor.live.status import Status
from apisensor.loader.back_ends import lacking
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.processes.capabilities import NUMBERS
from apisensor.sections import Settings
from apisensor.web.listening import ListenError, authority, listen

T = TypeVar("T")

INITIAL_PID_NAMESPACE = "pid:[4026531836]"
INITIAL_USER_NAMESPACE = "user:[4026531837]"
"""Fixed inode numbers of the first namespaces (PROC_PID_INIT_INO, PROC_USER_INIT_INO in the kernel)."""

DISTRIBUTION_PYTHON = "/usr/bin/python3"
BCC_SECONDS = 30
CONNECT_SECONDS = 2.0
CLOCKSOURCE = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
SECURITYFS = "/sys/kernel/security"
BTF = "/sys/kernel/btf/vmlinux"


class _Unknown:
    """Gathers what could not be found out, with the reason."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def ask(self, name: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except OSError as error:
            reason = error.strerror or str(error)
            if error.errno in (errno.EPERM, errno.EACCES):
                reason = "not permitted to this user"
            self.reasons[name] = reason
            return None


def probe(settings: Settings, environ: dict[str, str], settings_error: str | None = None) -> Facts:
    """Everything that doctor judges."""
    unknown = _Unknown()
    ask = unknown.ask
    endpoint = _otlp_endpoint(environ)
    running = ask("sensor", lambda: _running_sensor(settings.live_socket))
    return Facts(
        euid=os.geteuid(),
        capabilities=ask("capabilities", _capabilities),
        initial_pid_namespace=ask("initial_pid_namespace", lambda: _namespace("pid") == INITIAL_PID_NAMESPACE),
        initial_user_namespace=ask("initial_user_namespace", lambda: _namespace("user") == INITIAL_USER_NAMESPACE),
        kernel=platform.release(),
        machine=platform.machine(),
        btf=os.path.exists(BTF),
        lockdown=ask("lockdown", _lockdown),
        uprobe_pmu=os.path.exists("/sys/bus/event_source/devices/uprobe"),
        kprobe_lacks=ask("kprobe_lacks", _kprobe_lacks),
        sock_length_tracepoints=ask("sock_length_tracepoints", lambda: _in_btf("sock_send_length")),
        syscall_tracepoints=ask("syscall_tracepoints", lambda: _in_btf("sys_exit")),
        ring_buffer=ask("ring_buffer", bpf.has_ring_buffer),
        uprobe_multi=ask("uprobe_multi", bpf.has_uprobe_multi),
        perf_event_paranoid=ask("perf_event_paranoid", lambda: int(_text("/proc/sys/kernel/perf_event_paranoid"))),
        memlock_bytes=_memlock(),
        seccomp_actions=(ask("seccomp_actions", lambda: _text("/proc/sys/kernel/seccomp/actions_avail")) or "").split(),
        libseccomp=_loads("libseccomp.so.2"),
        uretprobe_passes_seccomp=ask("uretprobe_passes_seccomp", uretprobe.passes_seccomp),
        bcc=_bcc(),
        libbpf=_loads("libbpf.so.1"),
        uapi_headers=os.path.exists("/usr/include/linux/bpf.h"),
        kernel_headers=_kernel_headers(),
        memory_available=ask("memory_available", _memory_available),
        accounts=[_account(settings.general.user), _account(settings.general.sandbox_user)],
        selinux=ask("selinux", _selinux),
        apparmor=ask("apparmor", _apparmor),
        cgroups=ask("cgroups", _cgroups),
        modules=compiled.told(),
        clocksource=ask("clocksource", lambda: _text(CLOCKSOURCE)),
        clock_synchronised=ask("clock_synchronised", _clock_synchronised),
        directories=[_directory(settings.general.state_directory), _directory(settings.general.runtime_directory)],
        otlp_endpoint=endpoint,
        otlp_error=_unreachable(endpoint) if endpoint else None,
        page=authority(settings.web.address, settings.web.port) if settings.web.enabled else None,
        page_error=_page_error(settings) if settings.web.enabled and running is None else None,
        sensor=running.version if running is not None else None,
        lost=_lost(running.counters) if running is not None else {},
        settings_error=settings_error,
        unknown=unknown.reasons,
    )


def _page_error(settings: Settings) -> str | None:
    try:
        listen(settings).close()
    except ListenError as error:
        return str(error)
    return None


def _text(path: str) -> str:
    return Path(path).read_text(errors="replace").strip()


def _optional_text(path: str) -> str | None:
    """None where there is no such file: the kernel has no such feature. Other errors are raised."""
    try:
        return _text(path)
    except FileNotFoundError:
        return None


def _capabilities() -> frozenset[str]:
    for line in _text("/proc/self/status").splitlines():
        if line.startswith("CapEff:"):
            mask = int(line.split()[1], 16)
            return frozenset(name for name, bit in NUMBERS.items() if mask >> bit & 1)
    raise OSError(errno.ENOENT, "/proc/self/status has no CapEff")


def _namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def _lockdown() -> str | None:
    """The mode in brackets: "none [integrity] confidentiality"."""
    if not os.path.ismount(SECURITYFS):
        raise OSError(errno.ENOENT, f"securityfs is not mounted (mount -t securityfs securityfs {SECURITYFS})")
    text = _optional_text(f"{SECURITYFS}/lockdown")
    if text is None:
        return None
    return text.partition("[")[2].partition("]")[0] or None


def _in_btf(tracepoint: str) -> bool:
    """Does the kernel have this raw tracepoint? Each has a type of its own in BTF."""
    return f"\0btf_trace_{tracepoint}\0".encode() in Path(BTF).read_bytes()


def _kprobe_lacks() -> str:
    """What the loader would say."""
    try:
        lacks = lacking("kprobe", Btf())
    except LoaderError as error:
        return str(error)
    if lacks is not None and os.geteuid() != 0:
        raise PermissionError(errno.EPERM, "not permitted")
    return lacks or ""


def _memlock() -> int | None:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _bcc() -> Bcc:
    """Asks the distribution's Python, in isolation (-I): neither the current folder nor variables say what bcc is."""
    program = "import bcc; print(getattr(bcc, '__version__', '?'), hasattr(bcc, 'BPF'), bcc.__file__, sep='\\n')"
    try:
        done = subprocess.run(
            [DISTRIBUTION_PYTHON, "-I", "-c", program], capture_output=True, text=True, timeout=BCC_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Bcc(None, error=str(error))
    answer = done.stdout.splitlines()
    if done.returncode != 0 or len(answer) != 3:
        return Bcc(None, error=(done.stderr.strip().splitlines() or ["no answer"])[-1])
    return Bcc(answer[0], answer[2], answer[1] == "True")


def _kernel_headers() -> str | None:
    for path in (f"/lib/modules/{platform.release()}/build", "/sys/kernel/kheaders.tar.xz"):
        if os.path.exists(path):
            return path
    return None


def _memory_available() -> int:
    fields = dict(line.split(":", 1) for line in _text("/proc/meminfo").splitlines() if ":" in line)
    available = int(fields["MemAvailable"].split()[0]) * 1024
    cgroup = next((line[3:] for line in _text("/proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    limit = _optional_text(f"/sys/fs/cgroup{cgroup}/memory.max")
    used = _optional_text(f"/sys/fs/cgroup{cgroup}/memory.current")
    if limit and used and limit.isdigit():
        available = min(available, max(0, int(limit) - int(used)))
    return available


def _account(name: str) -> Account:
    try:
        return Account(name, pwd.getpwnam(name).pw_uid)
    except KeyError:
        return Account(name, None)


def _selinux() -> str | None:
    text = _optional_text("/sys/fs/selinux/enforce")
    return None if text is None else "enforcing" if text == "1" else "permissive"


def _apparmor() -> str | None:
    if _optional_text("/sys/module/apparmor/parameters/enabled") != "Y":
        return None
    return _optional_text("/proc/self/attr/current") or "unconfined"


def _cgroups() -> str | None:
    """From the mount table: field 5 is the mount point, the file system type stands behind the dash (proc(5))."""
    found: dict[str, str] = {}
    for line in _text("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind = after.split(" ", 1)[0]
        if kind in ("cgroup", "cgroup2"):
            found[kind] = before.split(" ")[4]
    return {(): None, ("cgroup",): "v1", ("cgroup2",): "v2"}.get(tuple(sorted(found)), "hybrid")


def _clock_synchronised() -> bool:
    """adjtimex(2) says TIME_ERROR (5) where nothing disciplines the clock; its struct is 208 bytes on 64 bits."""
    libc = ctypes.CDLL(None, use_errno=True)
    state: int = libc.adjtimex(ctypes.create_string_buffer(512))
    if state < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return state != 5


def _directory(path: str) -> Directory:
    try:
        found = os.stat(path)
    except OSError:
        return Directory(path, False)
    try:
        owner = pwd.getpwuid(found.st_uid).pw_name
    except KeyError:
        owner = str(found.st_uid)
    return Directory(path, True, owner, stat.S_IMODE(found.st_mode))


def _otlp_endpoint(environ: dict[str, str]) -> str | None:
    """host:port of the collector, by the OTEL_* variables; None where no export is asked for."""
    url = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if not url or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    parts = urlsplit(url if "://" in url else f"//{url}")
    try:
        port = parts.port
    except ValueError:
        port = None
    default = {"https": 443, "http": 80}.get(parts.scheme, 4317)
    return f"{parts.hostname or '?'}:{port or default}"


def _unreachable(endpoint: str) -> str | None:
    host, _, port = endpoint.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _running_sensor(path: str) -> Status | None:
    try:
        with LiveClient(path) as client:
            return client.status()
    except LiveError:
        if os.path.exists(path) and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from None
        return None


def _lost(counters: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in counters.items() if ".lost." in name and count}
