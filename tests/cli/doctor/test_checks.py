"""Doctor's judgement, on nodes made up for it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from apisensor.cli.doctor.check import Check
from apisensor.cli.doctor.checks import CHECKS, examine
from apisensor.cli.doctor.facts import Account, Bcc, Directory, Facts
from apisensor.cli.doctor.kernel_checks import kernel_version
from apisensor.cli.doctor.node_checks import CAPABILITIES
from apisensor.processes.capabilities import NUMBERS

GOOD = Facts(
    euid=0,
    capabilities=frozenset(NUMBERS),
    initial_pid_namespace=True,
    initial_user_namespace=True,
    kernel="6.18.4",
    machine="x86_64",
    btf=True,
    lockdown="integrity",
    uprobe_pmu=True,
    kprobe_lacks="kprobes",
    sock_length_tracepoints=True,
    syscall_tracepoints=True,
    ring_buffer=True,
    uprobe_multi=True,
    perf_event_paranoid=2,
    memlock_bytes=8 << 20,
    seccomp_actions=["kill_process", "errno", "allow"],
    libseccomp=True,
    uretprobe_passes_seccomp=True,
    bcc=Bcc("0.26.0", "/usr/lib/python3/dist-packages/bcc/__init__.py", True),
    libbpf=True,
    uapi_headers=True,
    kernel_headers=None,
    memory_available=4 << 30,
    accounts=[Account("apisensor", 998), Account("nobody", 65534)],
    selinux=None,
    apparmor="unconfined",
    cgroups="v2",
    modules="compiled",
    clocksource="tsc",
    clock_synchronised=True,
    directories=[Directory("/var/lib/apisensor", True, "apisensor", 0o750), Directory("/run/apisensor", False)],
    otlp_endpoint="127.0.0.1:4317",
)


def not_ok(**changes: Any) -> list[Check]:
    return [check for check in examine(msgspec.structs.replace(GOOD, **changes)) if check.state != "ok"]


def test_a_good_node_has_nothing_to_complain_about() -> None:
    assert not_ok() == []
    assert len(examine(GOOD)) >= len(CHECKS)


ALL_BUT = frozenset(NUMBERS)


@pytest.mark.parametrize(
    ("changes", "name", "state", "found", "remedy"),
    [
        ({"settings_error": "a.toml: x"}, "settings", "fail", "a.toml: x", "correct it"),
        ({"kernel": "5.4.0-190-generic"}, "kernel", "fail", "5.4.0", "5.8 or later"),
        ({"kernel": "unreadable"}, "kernel", "unknown", "not understood", "5.8"),
        ({"machine": "aarch64"}, "architecture", "fail", "aarch64", "x86-64"),
        ({"initial_user_namespace": False}, "user namespace", "fail", "not the node's", "rootless"),
        ({"initial_pid_namespace": False}, "process namespace", "fail", "not the node's", "hostPID"),
        ({"capabilities": ALL_BUT - {"CAP_BPF"}}, "CAP_BPF", "fail", "load programs", "unit"),
        ({"capabilities": ALL_BUT - {"CAP_CHOWN"}}, "CAP_CHOWN", "warn", "socket", "unit"),
        ({"capabilities": ALL_BUT - {"CAP_SETGID"}, "euid": 5}, "CAP_SETGID", "fail", "groups", "sudo"),
        ({"btf": False}, "BTF", "fail", "vmlinux", "CONFIG_DEBUG_INFO_BTF"),
        ({"lockdown": "confidentiality"}, "lockdown", "fail", "bpf_probe_read_kernel", "lockdown=integrity"),
        ({"uprobe_pmu": False}, "uprobes", "fail", "uprobe", "CONFIG_UPROBE_EVENTS"),
        ({"uprobe_multi": False}, "uprobe_multi", "warn", "6.6", None),
        (
            {"perf_event_paranoid": 3, "capabilities": ALL_BUT - {"CAP_SYS_ADMIN"}},
            "perf events", "fail", "closed", "kernel.perf_event_paranoid=2",
        ),
        ({"ring_buffer": False}, "ring buffer", "fail", "not supported", "5.8"),
        (
            {"sock_length_tracepoints": False, "syscall_tracepoints": False},
            "socket tracepoints", "fail", "none", "CONFIG_HAVE_SYSCALL_TRACEPOINTS",
        ),
        ({"seccomp_actions": []}, "seccomp", "fail", "no filters", "CONFIG_SECCOMP_FILTER"),
        ({"libseccomp": False}, "seccomp", "fail", "libseccomp.so.2", "apt install"),
        ({"uretprobe_passes_seccomp": False}, "return probes and seccomp", "fail", "6.12.13", "6.12.14"),
        (
            {"uretprobe_passes_seccomp": None, "kernel": "6.11.0-8-generic"},
            "return probes and seccomp", "warn", "could not be tried", "6.14",
        ),
        ({"bcc": Bcc(None, error="No module named 'bcc'")}, "BCC", "fail", "No module", "apt install python3-bpfcc"),
        ({"bcc": Bcc("1.2", "/usr/local/x", False)}, "BCC", "fail", "crystal-lattice", "pip uninstall bcc"),
        ({"uapi_headers": False}, "headers", "fail", "no kernel headers", "linux-libc-dev"),
        ({"libbpf": False}, "libbpf", "warn", "missing", "libbpf1"),
        ({"memory_available": 64 << 20}, "memory", "warn", "64 MiB", "200 MiB"),
        ({"accounts": [Account("apisensor", None)]}, "user apisensor", "fail", "does not exist", "useradd"),
        ({"accounts": [Account("root", 0)]}, "user root", "fail", "is root", "without rights"),
        ({"accounts": [Account("a", 9), Account("b", 9)]}, "user b", "fail", "is both users", "not the same"),
        ({"selinux": "enforcing"}, "SELinux", "warn", "enforcing", "ausearch"),
        ({"apparmor": "docker-default (enforce)"}, "AppArmor", "warn", "docker-default", "unconfined"),
        ({"cgroups": None}, "cgroups", "warn", "none mounted", "pods"),
        ({"clock_synchronised": False}, "clock", "warn", "not synchronised", "chrony"),
        (
            {"directories": [Directory("/x", True, "root", 0o777)]},
            "directory /x", "fail", "everybody may write", "chmod o-w /x",
        ),
        ({"page": "127.0.0.1:8090", "page_error": "port 8090 is taken"}, "page", "fail", "is taken", "web.port"),
        ({"otlp_error": "Connection refused"}, "OTLP", "warn", "127.0.0.1:4317: Connection refused", "collector"),
        (
            {"sensor": "1.0", "lost": {"kernel.lost.ring_full": 1234}},
            "losses", "warn", "kernel.lost.ring_full 1,234", "capture.ring_bytes",
        ),
        (
            {"sensor": "1.0", "lost": {"kernel.lost.shed_connections": 2, "worker.lost.shed_flows": 3}},
            "losses", "warn", "shed_connections 2, worker.lost.shed_flows 3", "governor.cpu_share",
        ),
        ({"sensor": "1.0", "lost": {"core.lost.rows": 2}}, "losses", "warn", "core.lost.rows 2", "docs/metrics.md"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named_with_its_remedy(
    changes: dict[str, Any], name: str, state: str, found: str, remedy: str | None
) -> None:
    (check,) = not_ok(**changes)
    assert (check.name, check.state) == (name, state)
    assert found in check.found
    assert remedy in check.remedy if remedy and check.remedy else remedy is check.remedy


@pytest.mark.parametrize(
    "changes",
    [
        {"lockdown": None},
        {"lockdown": "none"},
        {"sock_length_tracepoints": False},
        {"kprobe_lacks": ""},
        {"perf_event_paranoid": 4},
        {"memlock_bytes": None, "kernel": "5.10.0"},
        {"memlock_bytes": 65536, "kernel": "5.10.0"},  # CAP_SYS_RESOURCE raises it
        {"uretprobe_passes_seccomp": None, "kernel": "6.1.0"},
        {"uapi_headers": False, "kernel_headers": "/lib/modules/x/build"},
        {"otlp_endpoint": None},
        {"capabilities": ALL_BUT - {"CAP_SYS_ADMIN", "CAP_SYS_RESOURCE"}},
        {"selinux": "permissive"},
        {"sensor": "1.0"},
    ],
)
def test_what_is_fine_is_not_complained_about(changes: dict[str, Any]) -> None:
    assert not_ok(**changes) == []


def test_locked_memory_before_5_11_without_the_right_to_raise_it() -> None:
    found = not_ok(kernel="5.10.0", capabilities=ALL_BUT - {"CAP_SYS_RESOURCE"}, memlock_bytes=65536)
    assert [(check.name, check.state) for check in found] == [("CAP_SYS_RESOURCE", "warn"), ("locked memory", "fail")]


def test_what_could_not_be_seen_is_said_with_its_reason() -> None:
    fields = {
        "initial_pid_namespace": "process namespace",
        "capabilities": "capabilities",
        "lockdown": "lockdown",
        "uprobe_multi": "uprobe_multi",
        "kprobe_lacks": "kprobes",
        "perf_event_paranoid": "perf events",
        "sock_length_tracepoints": "socket tracepoints",
        "ring_buffer": "ring buffer",
        "memory_available": "memory",
        "clock_synchronised": "clock",
        "sensor": "sensor",
    }
    unknown = {field: f"why {field}" for field in fields}
    found = not_ok(euid=1000, syscall_tracepoints=None, unknown=unknown, **dict.fromkeys(fields))
    assert {check.name: check.found for check in found} == {
        name: f"could not be checked: why {field}" for field, name in fields.items()
    }
    assert {check.state for check in found} == {"unknown"}
    assert {check.remedy for check in found} == {"run apisensor doctor as root"}


def test_every_failure_has_a_remedy_and_every_capability_a_reason() -> None:
    bad = msgspec.structs.replace(
        GOOD, capabilities=frozenset(), btf=False, uprobe_pmu=False, ring_buffer=False, libseccomp=False
    )
    assert all(check.remedy for check in examine(bad) if check.state == "fail")
    assert {capability.name for capability in CAPABILITIES} == set(NUMBERS)
    assert all(capability.reason for capability in CAPABILITIES)


@pytest.mark.parametrize(
    ("release", "version"), [("6.1.0-18-amd64", (6, 1)), ("5.8", (5, 8)), ("6.18.44-fc-v595", (6, 18)), ("x", None)]
)
def test_kernel_versions(release: str, version: tuple[int, int] | None) -> None:
    assert kernel_version(release) == version
