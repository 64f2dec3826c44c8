"""What readers of the store (page, REST API, command line) ask for and get. The rows are ready to be shown."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

import msgspec

from apisensor.detect.model import Finding, Severity, State
from apisensor.inventory.model import Profile, Side
from apisensor.transactions.model import Operation

T = TypeVar("T")

PAGE = 50
"""Rows of a page where nothing else is asked for."""
LARGEST_PAGE = 500


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some rows, and where the next ones begin."""

    rows: list[T]
    next: str | None
    """Opaque cursor for the rows that follow; None: there are none."""
    total: int | None = None
    """Rows that match in all; None where counting them would cost more than the page."""
    searched_to: str | None = None
    """RFC 3339: the page ends early, for it would take too long to look at more than it did; `next` goes on with what
    is older than this."""


class EndpointQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which endpoints; all that is given must hold."""

    search: str | None = None
    """Part of the route or the owner, any case."""
    side: Side | None = None
    owner: str | None = None
    """Service or destination, exactly."""
    method: str | None = None
    sensitive: bool = False
    """Only those that carry sensitive data."""
    unauthenticated: bool = False
    """Only those that answered calls without any credential with success."""
    errors: bool = False
    sort: Literal["last_seen", "count", "errors", "latency", "first_seen", "owner"] = "owner"
    """owner: by owner, route, method, rising. All others falling."""
    cursor: str | None = None
    limit: int = PAGE


class EndpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint in a list."""

    id: str
    side: Side
    owner: str
    method: str
    route: str
    count: int
    errors: int
    error_rate: float
    p50_ms: float | None
    p95_ms: float | None
    auth: list[str]
    """Schemes seen, most frequent first; "none" where there were calls without any."""
    unauthenticated: bool
    sensitive: list[str]
    """Kinds, in and out."""
    callers: int
    """Known ones; at the bound of the profile there may be more."""
    first_seen: str
    """RFC 3339, UTC."""
    last_seen: str


class EndpointDetail(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint with everything that is kept of it."""

    row: EndpointRow
    profile: Profile
    quantiles: dict[str, dict[str, float | None]]
    """ "latency_ms", "request_bytes", "response_bytes": {"p50", "p90", "p95", "p99", "max"}."""
    old_ids: list[str]


class OwnerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Who has endpoints, or calls that belong to none."""

    side: Side
    owner: str
    endpoints: int
    calls: int
    errors: int
    unmatched: int


class TrafficPoint(msgspec.Struct, frozen=True):
    """Calls within one step of time."""

    time: int
    """Unix time at which the step begins, seconds."""
    count: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None


class TransactionQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which stored transactions, the newest first."""

    endpoint: str | None = None
    service: str | None = None
    """service.name of the observed process."""
    status: str | None = None
    """ "404", "5xx", "none"."""
    method: str | None = None
    search: str | None = None
    """Part of the path, any case."""
    identity: str | None = None
    """Keyed hash; of the credential or of a login body."""
    client: str | None = None
    """Address."""
    trace_id: str | None = None
    all_views: bool = False
    """Both views of a call inside the node; else the server's alone."""
    since: int | None = None
    """Unix time, seconds."""
    until: int | None = None
    cursor: str | None = None
    limit: int = PAGE


class TransactionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction in a list."""

    id: str
    time: str
    """RFC 3339, UTC."""
    side: str
    service: str | None
    method: str | None
    host: str | None
    path: str | None
    route: str | None
    status: int | None
    grpc_status: int | None
    operations: list[Operation]
    duration_ms: float | None
    client: str | None
    identity: str | None
    endpoint: str | None
    complete: bool
    sensitive: list[str]
    anomalies: list[str]


class FindingQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which findings; the worst first, then the latest."""

    state: State | None = None
    severity: Severity | None = None
    """This one and worse."""
    rule: str | None = None
    service: str | None = None
    endpoint: str | None = None
    identity: str | None = None
    client: str | None = None
    search: str | None = None
    """Part of the title, any case."""
    cursor: str | None = None
    limit: int = PAGE


class FindingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A step in a finding's life."""

    time: str
    who: str
    """ "sensor", or the user who did it."""
    state: State
    comment: str


class FindingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finding with its life so far."""

    finding: Finding
    state: State
    events: list[FindingEvent] = []
    """The first is its opening."""


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the first page shows, of the last `hours`."""

    hours: int
    calls: int
    errors: int
    endpoints: int
    new_endpoints: int
    """First seen within these hours."""
    unauthenticated_endpoints: int
    sensitive_endpoints: int
    exposed_endpoints: int
    """Both: they carry sensitive data, and answered calls without any credential."""
    open_findings: dict[str, int]
    """Severity: findings that are open."""
    services: list[tuple[str, int]]
    """The busiest, with their calls."""
    step: int
    """Seconds of each step of `traffic`; of older times the store may have whole hours only."""
    traffic: list[TrafficPoint]
    unmatched: dict[str, int]
    """Owner: calls that belong to no endpoint."""


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How the store is."""

    path: str
    bytes: int
    transactions: int
    endpoints: int
    findings: int
    oldest: str | None
    """Of the stored transactions."""
    notes: list[str]
    """ "a damaged database was set aside as ..."."""


Document = dict[str, Any]
"""A transaction as its public JSON object (docs/transaction.md)."""
