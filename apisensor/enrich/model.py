"""What capture reports about processes, and what becomes of the views of a call.

Raw command lines pass here and are not kept (`processes`).
"""

from __future__ import annotations

import msgspec

from apisensor.transactions.model import Transaction


class TlsLibrary(msgspec.Struct, frozen=True, gc=False):
    """A TLS library that a process has mapped and that the sensor reads plaintext from."""

    path: str
    """As the process sees it, in its mount namespace."""
    library: str
    """"openssl", "gnutls", ...; becomes `tls.library`."""
    version: str | None = None


class ProcessSeen(msgspec.Struct, frozen=True, gc=False, tag="process_seen"):
    """A process, as it is from `time_ns` on. Sent when a process is first seen and when it called execve; sent again
    with the same pid and time_ns when more became known (a library was mapped)."""

    pid: int
    """Thread group id in the sensor's pid namespace."""
    time_ns: int
    """Event clock: when this identity began (execve, fork), or when it was first seen."""
    parent_pid: int = 0
    executable: str | None = None
    """What /proc/PID/exe leads to; None where it could not be read."""
    arguments: list[bytes] = []
    """/proc/PID/cmdline, split. Raw."""
    uid: int | None = None
    """Effective user id."""
    cgroup: str = ""
    """/proc/PID/cgroup."""
    otel_service_name: str | None = None
    """The process's OTEL_SERVICE_NAME; no other part of its environment is read but the next."""
    otel_resource_attributes: str | None = None
    """The process's OTEL_RESOURCE_ATTRIBUTES."""
    libraries: list[TlsLibrary] = []


class ProcessGone(msgspec.Struct, frozen=True, gc=False, tag="process_gone"):
    """The process has ended; its pid may be used again."""

    pid: int
    time_ns: int
    """Event clock."""


ProcessEvent = ProcessSeen | ProcessGone
"""What travels from capture to core, tagged (msgspec msgpack)."""


class View(msgspec.Struct, frozen=True, gc=False):
    """A view whose turn it is."""

    transaction: Transaction
    counted: bool
    """False: a client's view of a call of which the server's view counts."""
    twin: Transaction | None
    """The other view of the call, where it was seen."""
