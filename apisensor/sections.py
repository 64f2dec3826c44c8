"""Every setting: its type, default, what is allowed and why. settings.py says how values get in here.

docs/settings.md shows these; a test compares them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
MOST_OF_A_CALL = 68 * 16 * KIB
"""TLS_STEPS chunks of bpf/emit.h."""


class General(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state_directory: Annotated[
        str, Meta(description="What outlives a restart: store, keys, compiled programs. An absolute path.")
    ] = "/var/lib/apisensor"
    runtime_directory: Annotated[str, Meta(description="Where the live socket lies. An absolute path.")] = (
        "/run/apisensor"
    )
    user: Annotated[str, Meta(description="User that the unprivileged core runs as.", min_length=1)] = "apisensor"
    sandbox_user: Annotated[
        str, Meta(description="User that the sandboxed worker and finder run as; not the core's.", min_length=1)
    ] = "nobody"
    log_format: Annotated[
        Literal["console", "json"],
        Meta(description="The sensor's own log, on standard error: for people, or for a log pipeline."),
    ] = "console"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least severe log entry that is written.")
    ] = "info"


class Capture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    backend: Annotated[
        Literal["auto", "sock", "kprobe", "syscall"],
        Meta(
            description="How sockets are observed: the sock:sock_send_length tracepoints (kernel 6.3 and later), the "
            "kernel's TCP functions (kprobes and BPF trampolines), or system calls with a walk of the descriptor "
            "table; auto takes the first that the kernel offers."
        ),
    ] = "auto"
    ring_bytes: Annotated[
        int,
        Meta(
            description="Ring buffer of each worker, bytes. A power of two.",
            ge=4 * KIB,
            le=1024 * MIB,
            extra={"reason": "The kernel wants a power of two of whole pages, and holds all of it in memory."},
        ),
    ] = 32 * MIB
    call_limit: Annotated[
        int,
        Meta(
            description="Bytes copied of one read or write call; the rest is counted as lost (call_limit).",
            ge=1 * KIB,
            le=MOST_OF_A_CALL,
            extra={"reason": "The BPF verifier bounds the copy loop: 68 chunks of 16 KiB: 1 MiB and a head."},
        ),
    ] = MOST_OF_A_CALL
    never_ports: Annotated[
        list[Annotated[int, Meta(ge=1, le=65535)]],
        Meta(
            description="TCP ports, local or remote, of which nothing is captured. Held in the kernel.",
            max_length=256,
            extra={"reason": "Each is an entry of a kernel map."},
        ),
    ] = []
    never_executables: Annotated[
        list[str],
        Meta(
            description="Absolute paths of programs of which, and of whose children, nothing is captured.",
            max_length=256,
            extra={"reason": "Each is compared with every new process."},
        ),
    ] = []
    never_pids: Annotated[
        list[Annotated[int, Meta(ge=1, le=4_194_304)]],
        Meta(
            description="Processes of which, and of whose children, nothing is captured.",
            max_length=1024,
            extra={"reason": "Each is an entry of a kernel map; the kernel numbers processes up to 4,194,304."},
        ),
    ] = []
    never_containers: Annotated[
        list[Annotated[str, Meta(pattern="^[0-9a-f]{8,64}$")]],
        Meta(
            description="Container ids, or beginnings of at least 8 hexadecimal digits, of which nothing is captured.",
            max_length=256,
            extra={"reason": "Each is compared with every new process."},
        ),
    ] = []
    max_connections: Annotated[
        int,
        Meta(
            description="Sockets tracked in the kernel at once; further ones are counted (map_full).",
            ge=1024,
            le=1_048_576,
            extra={"reason": "Each takes some 200 bytes of kernel memory."},
        ),
    ] = 65_536
    max_unix_connections: Annotated[
        int,
        Meta(
            description="Ends of unix stream sockets tracked at once, among max_connections; further ones are counted "
            "(map_full). 0: unix sockets are not captured.",
            ge=0,
            le=1_048_576,
            extra={"reason": "Each takes 16 bytes of kernel memory more."},
        ),
    ] = 16_384
    max_tls_sessions: Annotated[
        int,
        Meta(
            description="TLS sessions tracked in the kernel at once; further ones are counted (map_full).",
            ge=1024,
            le=1_048_576,
            extra={"reason": "Each takes some 200 bytes of kernel memory."},
        ),
    ] = 65_536


class Governor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cpu_share: Annotated[
        int,
        Meta(
            description="Percent of the machine's CPU that the sensor may use for longer than two seconds, all its "
            "parts and its BPF programs together. Beyond it bodies are left out first, then whole connections; what is "
            "left out is counted, and comes back step by step. 0: no limit. The default leaves the applications at "
            "least half of a small machine; on a large one the sensor never comes near it.",
            ge=0,
            le=100,
            extra={"reason": "Percent."},
        ),
    ] = 50


class Worker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: Annotated[
        int,
        Meta(
            description="Worker processes; each reads a ring of its own.",
            ge=1,
            le=16,
            extra={"reason": "The kernel program's array of rings has 16 places."},
        ),
    ] = 1
    body_capture: Annotated[
        int,
        Meta(
            description="Bytes of each body that are kept for analysis; the rest is counted.",
            ge=0,
            le=16 * MIB,
            extra={"reason": "Memory: one such buffer for each body under way."},
        ),
    ] = 64 * KIB
    header_limit: Annotated[
        int,
        Meta(
            description="Bytes of a message's head (HTTP/2: of a header list); a longer one is given up (limit).",
            ge=8 * KIB,
            le=1 * MIB,
            extra={"reason": "Servers refuse heads of 8 KiB to 64 KiB; beyond is an attack or not HTTP."},
        ),
    ] = 256 * KIB
    max_flows: Annotated[
        int,
        Meta(
            description="Flows followed at once by one worker; the one idle for longest makes room.",
            ge=128,
            le=1_048_576,
            extra={"reason": "Memory: some 4 KiB each, more while a message is under way."},
        ),
    ] = 20_000
    max_streams: Annotated[
        int,
        Meta(
            description="HTTP/2 streams open at once in one connection; further ones are given up (limit).",
            ge=16,
            le=100_000,
            extra={"reason": "Servers allow 100 to 1,000; beyond is an attack."},
        ),
    ] = 2_000
    idle_seconds: Annotated[
        int,
        Meta(
            description="Seconds without bytes after which a flow's unfinished exchange is given up.",
            ge=5,
            le=86_400,
            extra={"reason": "Long polls take minutes; a flow whose end was lost must not stay for ever."},
        ),
    ] = 300
    bind_wait_ms: Annotated[
        int,
        Meta(
            description="Milliseconds that a transaction waits for its peer to be known before it is given as unbound.",
            ge=0,
            le=60_000,
            extra={
                "reason": "Binding takes microseconds, but on a busy node finding out that a process needs more probes "
                "takes longer; waiting delays what is shown."
            },
        ),
    ] = 3_000
    descriptor_sets: Annotated[
        list[str],
        Meta(
            description="Files that describe gRPC's messages, so that fields are known by name: what "
            "`protoc --include_imports --descriptor_set_out=FILE` or `buf build -o FILE.binpb` writes. Absolute paths; "
            "where two describe one method, the first counts.",
            max_length=16,
            extra={"reason": "Together 32 MiB and 200,000 fields at most, which each worker holds."},
        ),
    ] = []


class Redact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_file: Annotated[
        str,
        Meta(
            description="Key of the identity hashes: a file of mode 0600 that is made where it is missing, and that a "
            "fleet can share. Empty: identity.key in general.state_directory."
        ),
    ] = ""


class Export(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(
            description="Whether spans are sent where OTEL_EXPORTER_OTLP_ENDPOINT (or its TRACES variant) names a "
            "collector; all else of the export is configured by the OTEL_* variables."
        ),
    ] = True


class Live(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subscriber_queue: Annotated[
        int,
        Meta(
            description="Bytes that wait for one subscriber of the live stream; further transactions are dropped for "
            "it, counted, and said to it.",
            ge=64 * KIB,
            le=256 * MIB,
            extra={"reason": "Memory of the core; a transaction is 1 to 4 KiB."},
        ),
    ] = 4 * MIB
    max_clients: Annotated[
        int,
        Meta(
            description="Connections to the live socket at once.",
            ge=1,
            le=1024,
            extra={"reason": "Memory of the core: each may hold subscriber_queue bytes."},
        ),
    ] = 32


class Store(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(
            description="Whether endpoints, recent transactions and findings are kept (redacted) in "
            "general.state_directory. Without it there is no inventory, no triage and no page."
        ),
    ] = True
    max_bytes: Annotated[
        int,
        Meta(
            description="Size of the database; the oldest transactions go first, what findings need stays longest.",
            ge=16 * MIB,
            le=1024 * GIB,
            extra={"reason": "Smaller holds no inventory; larger is a job for the OTLP backend."},
        ),
    ] = 1 * GIB
    max_days: Annotated[
        int,
        Meta(
            description="Days that a transaction is kept; endpoints and findings stay.",
            ge=1,
            le=3650,
            extra={"reason": "Less than a day shows no baseline."},
        ),
    ] = 7
    finding_days: Annotated[
        int,
        Meta(
            description="Days that a finding is kept after it last happened, with the transactions that show it.",
            ge=1,
            le=3650,
            extra={"reason": "A finding that nobody had a day to look at is none."},
        ),
    ] = 90
    queue_bytes: Annotated[
        int,
        Meta(
            description="Bytes that wait for a slow disk; what comes beyond is not stored, and counted.",
            ge=1 * MIB,
            le=1 * GIB,
            extra={"reason": "Memory of the core; a transaction is about 2 KiB."},
        ),
    ] = 32 * MIB


class Inventory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_endpoints: Annotated[
        int,
        Meta(
            description="Endpoints kept; calls of further ones are counted as unmatched.",
            ge=100,
            le=1_000_000,
            extra={"reason": "Memory of the core: some 1,300 bytes for each."},
        ),
    ] = 100_000
    max_literals: Annotated[
        int,
        Meta(
            description="Different texts in one place of a path beyond which the place is a parameter.",
            ge=2,
            le=10_000,
            extra={"reason": "Fewer takes the parts of an API for ids; more takes ids for endpoints."},
        ),
    ] = 30


class Detect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    off: Annotated[
        list[str],
        Meta(
            description="Names of detectors that do not run; docs/detection.md lists them.",
            max_length=100,
            extra={"reason": "Each is the name of a detector."},
        ),
    ] = []
    auth_failures: Annotated[
        int,
        Meta(
            description="Authentication failures of one identity within the window that are a finding.",
            ge=2,
            le=100_000,
            extra={"reason": "One failure is a typing mistake."},
        ),
    ] = 5
    auth_failures_client: Annotated[
        int,
        Meta(
            description="Authentication failures of one client address, whoever it claimed to be, that are a finding.",
            ge=2,
            le=100_000,
            extra={"reason": "Many users may share one address: it should be above detect.auth_failures."},
        ),
    ] = 20
    auth_window_seconds: Annotated[
        int,
        Meta(
            description="Seconds within which authentication failures are counted together.",
            ge=10,
            le=86_400,
            extra={"reason": "A slow attack wants a long window, memory a short one."},
        ),
    ] = 300
    exfiltration_factor: Annotated[
        int,
        Meta(
            description="How many times its baseline a client's volume of responses must be to be a finding.",
            ge=2,
            le=1000,
            extra={"reason": "Traffic doubles by itself."},
        ),
    ] = 10
    exfiltration_min_bytes: Annotated[
        int,
        Meta(
            description="Bytes within a window below which a volume of responses is never a finding.",
            ge=64 * KIB,
            le=1024 * GIB,
            extra={"reason": "Ten times nearly nothing is nothing."},
        ),
    ] = 10 * MIB
    exfiltration_window_seconds: Annotated[
        int,
        Meta(
            description="Seconds of one window in which a client's volume of responses is added up.",
            ge=10,
            le=86_400,
            extra={"reason": "The baseline is made of such windows."},
        ),
    ] = 60
    exfiltration_warm_up: Annotated[
        int,
        Meta(
            description="Windows with traffic that a baseline needs before it is believed.",
            ge=3,
            le=1000,
            extra={"reason": "A median of fewer says nothing."},
        ),
    ] = 10
    max_tracked: Annotated[
        int,
        Meta(
            description="What one detector remembers (identities, clients, ...); the one idle for longest makes room.",
            ge=100,
            le=1_000_000,
            extra={"reason": "Memory of the core: some 500 bytes each."},
        ),
    ] = 20_000


class Web(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: Annotated[bool, Meta(description="Whether the page and the REST API are served.")] = True
    address: Annotated[
        str,
        Meta(
            description="Address that they are served on. On any other than a loopback address put a proxy with TLS "
            "before it: the page itself speaks plaintext HTTP.",
            min_length=1,
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Meta(
            description="TCP port; 0 takes any that is free.",
            ge=0,
            le=65535,
            extra={"reason": "TCP has no others."},
        ),
    ] = 8090
    hosts: Annotated[
        list[str],
        Meta(
            description="Further host names under which the page may be asked for, such as a proxy's; all other Host "
            "fields are refused (DNS rebinding).",
            max_length=64,
            extra={"reason": "Each is compared with every request."},
        ),
    ] = []


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    max_series: Annotated[
        int,
        Meta(
            description="Histograms of calls kept (by service, method, route, status, ...); further calls go into one "
            "with the attribute otel.metric.overflow.",
            ge=100,
            le=100_000,
            extra={"reason": "Memory here and in what stores the metrics: some 1 KiB each."},
        ),
    ] = 2_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Every setting, checked. Frozen; goes to other processes as msgpack or JSON."""

    general: General = General()
    capture: Capture = Capture()
    governor: Governor = Governor()
    worker: Worker = Worker()
    redact: Redact = Redact()
    export: Export = Export()
    live: Live = Live()
    store: Store = Store()
    inventory: Inventory = Inventory()
    detect: Detect = Detect()
    web: Web = Web()
    metrics: Metrics = Metrics()

    @property
    def live_socket(self) -> str:
        """Path of the core's Unix socket."""
        return f"{self.general.runtime_directory}/live.sock"

    @property
    def key_file(self) -> str:
        """Path of the key of identity hashes."""
        return self.redact.key_file or f"{self.general.state_directory}/identity.key"

    @property
    def store_file(self) -> str:
        """Path of the store's database, in a folder of its own that core may write."""
        return f"{self.general.state_directory}/store/apisensor.db"

    @property
    def token_file(self) -> str:
        """Path of the login token of the page and the REST API."""
        return f"{self.general.state_directory}/web.token"
