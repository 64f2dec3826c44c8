"""The status document: what `apisensor status` shows and the core's socket answers to {"status": true}.

Core fills it; every number is read where it is counted, nothing is estimated. Keys of the counters are the names that
metrics and spans use (`Cause` in lower case where something was lost).
"""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the sensor, as its supervisor knows it."""

    name: str
    """"run", "capture", "finder", "worker-0", "core"."""
    pid: int | None
    """None: not running just now (restarting, or `resting`)."""
    user: str | None = None
    """User name, or the number where it has none."""
    uptime_seconds: float = 0.0
    restarts: int = 0
    """How often it was started again since `run` started."""
    memory_bytes: int | None = None
    """Proportional share (Pss), without BPF maps. None: could not be read."""
    last_exit: str | None = None
    """Why the previous one ended ("signal 9", "exit status 1"); None: it never did."""
    resting: bool = False
    """There is nothing to do for it, so it has ended: web, until somebody connects."""


class LibraryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A TLS library (one inode) that a process has mapped."""

    path: str
    """As the process that was seen with it first names it."""
    file: str = ""
    """Which file it is: several may have one path, and two containers of one image have one file."""
    library: str
    """"openssl", "gnutls", "go"..."""
    version: str | None = None
    probes: int = 0
    """Functions with a probe; 0: found and not attached, `reason` says why."""
    processes: int = 0
    """Processes that have it mapped now."""
    reason: str | None = None
    """Why it is not attached ("no symbols", "gnutls is not hooked yet"); None: it is."""


class ProcessStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A process of which traffic was seen, or whose TLS cannot be (a blind spot)."""

    pid: int
    executable: str | None = None
    service: str | None = None
    container: str | None = None
    """Container id."""
    libraries: list[str] = []
    """Paths of attached TLS libraries; empty: none."""
    attached: bool = False
    """At least one of its TLS libraries has probes."""
    transactions: int = 0
    plaintext_bytes: int = 0
    """Seen through TLS probes and on plaintext sockets."""
    captured_bytes: int = 0
    """Of the plaintext: copied for analysis. The rest was not asked for (content beyond what is kept, what is no HTTP),
    exceeded a limit, never was in user memory, or was lost; counters say which."""
    encrypted_bytes: int = 0
    """TLS records seen on its sockets."""
    decrypted_bytes: int = 0
    """Of the plaintext: seen through TLS probes."""
    unseen_bytes: int = 0
    """Of the encrypted: on connections of which no TLS session was seen."""
    blind: bool = False
    """It moves TLS of which nothing is seen: none of its libraries has probes, and none had while it ran."""
    note: str | None = None
    """What is unusual, in words ("its TLS library is not known: its HTTPS is not seen")."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `apisensor status` shows; also its --format json."""

    version: str
    """Of apisensor."""
    started: float
    """Unix time at which `run` started, seconds."""
    parts: list[Part] = []
    maps: dict[str, int] = {}
    """Kernel memory, bytes, of each BPF map; rings are "ring:N". Before Linux 6.4: what it may grow to."""
    counters: dict[str, int] = {}
    """Dotted name: count since start. "kernel.*" from BPF maps, "worker.*", "core.*", "live.*". Losses are named
    "<part>.lost.<cause>" so that the display can set them apart."""
    libraries: list[LibraryStatus] = []
    processes: list[ProcessStatus] = []
    export: dict[str, int | float | str | None] | None = None
    """Of the OTLP exporter ("endpoint", "protocol", "sent", "failed", "dropped", "queued", "last_error"); None: off."""
    notes: list[str] = []
    """Sentences for a person: the capture back end chosen, what the kernel lacks."""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Status).decode


def encode(status: Status) -> bytes:
    """The document as JSON, without a newline."""
    return _encode(status)


def decode(document: bytes | str) -> Status:
    """The document read back.

    Raises:
        msgspec.MsgspecError: it is not a status document (a sensor of another version).
    """
    return _decode(document)
