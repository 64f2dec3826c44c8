"""What `run` must be able to do before it loads anything: said in one line, not by a compiler or a verifier."""

from __future__ import annotations

from pathlib import Path

from apisensor.processes.capabilities import NUMBERS

NEEDED = (
    *("CAP_DAC_READ_SEARCH", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_SYS_PTRACE", "CAP_PERFMON"),
    "CAP_BPF",
)
"""Those without which no node can be observed, or no part can give up the others (doctor says what each is for)."""

LOCKDOWN = Path("/sys/kernel/security/lockdown")
STATUS = Path("/proc/self/status")


def refusal() -> str | None:
    """Why this process cannot observe the node, in one line; None: nothing is known against it."""
    held = _effective(STATUS.read_text(encoding="ascii", errors="replace"))
    missing = [name for name in NEEDED if not held >> NUMBERS[name] & 1]
    if missing:
        return (
            f"this needs {', '.join(missing)}: grant it to the container or the unit (`apisensor doctor` says what is "
            "needed for what)"
        )
    if _lockdown() == "confidentiality":
        return (
            "the kernel is locked down (confidentiality): programs may not read its memory, so no socket can be known; "
            "boot with lockdown=integrity or without"
        )
    return None


def _effective(status: str) -> int:
    """The effective capabilities of /proc/PID/status, as bits."""
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def _lockdown() -> str | None:
    """The mode in brackets: "none [integrity] confidentiality". None: no lockdown, or securityfs is not mounted."""
    try:
        text = LOCKDOWN.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.partition("[")[2].partition("]")[0]
