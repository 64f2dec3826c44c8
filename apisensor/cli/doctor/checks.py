"""All that doctor checks, in the order of its report."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apisensor.cli.doctor import kernel_checks, node_checks, sensor_checks
from apisensor.cli.doctor.check import Check
from apisensor.cli.doctor.facts import Facts

CHECKS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    node_checks.settings,
    kernel_checks.kernel,
    kernel_checks.architecture,
    node_checks.root,
    node_checks.capabilities,
    kernel_checks.btf,
    kernel_checks.lockdown,
    kernel_checks.uprobes,
    kernel_checks.perf_events,
    kernel_checks.back_ends,
    kernel_checks.ring,
    kernel_checks.memlock,
    kernel_checks.seccomp,
    kernel_checks.uretprobe,
    node_checks.bcc,
    node_checks.headers,
    node_checks.libbpf,
    node_checks.modules,
    node_checks.memory,
    node_checks.accounts,
    node_checks.mandatory_access,
    node_checks.cgroups,
    node_checks.clock,
    node_checks.directories,
    node_checks.otlp,
    node_checks.page,
    sensor_checks.sensor,
)


def examine(facts: Facts) -> list[Check]:
    """All checks of these facts."""
    return [check for make in CHECKS for check in make(facts)]
