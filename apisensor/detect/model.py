"""What detectors are given, and what is made of it: `Call` in, `Signal` out, `Finding` told."""

from __future__ import annotations

from typing import Literal

import msgspec

from apisensor.transactions.model import Sensitive

Severity = Literal["info", "low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("info", "low", "medium", "high", "critical")
"""Rising."""

State = Literal["open", "acknowledged", "false_positive", "closed"]
STATES: tuple[State, ...] = ("open", "acknowledged", "false_positive", "closed")
"""Life cycle of a finding. A finding that was closed and happens again is open again; a false positive stays one, and
so does what its rule finds about the same later."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """One counted call: what detectors may see of a transaction. No header, no body, no raw value."""

    time_ns: int
    """Unix time of its end (or of its start, where no response was seen), ns: the detectors' only clock."""
    transaction: str
    """Its id."""
    trace_id: str
    side: Literal["client", "server", "network"]
    endpoint: str | None
    """Id in the inventory."""
    service: str
    """Who served it, as the inventory names the owner of its endpoint."""
    method: str
    route: str | None
    path: str | None
    """Redacted, without its query."""
    status: int | None
    grpc_status: int | None
    client: str | None
    """Address of the client, without its port: ports change with each connection."""
    server: str | None
    """ "address:port"."""
    scheme: str | None
    """How it authenticated (Auth.scheme); None: it carried no credential."""
    identity: str | None
    """Keyed hash of who called."""
    login_identity: str | None
    """Keyed hash of the user field of a login body; None: it is no login."""
    request_bytes: int
    response_bytes: int | None
    encrypted: bool
    loopback: bool
    """Both ends are on a loopback address, or on the same one: nothing crossed a wire. False where one is not known."""
    sensitive: list[Sensitive]
    anomalies: list[str]


Evidence = dict[str, str | int | float | list[str]]


class CallRef(msgspec.Struct, frozen=True, gc=False):
    """A call that belongs to a finding."""

    time_ns: int
    transaction: str
    trace_id: str


class Signal(msgspec.Struct, gc=False, kw_only=True):
    """A detector saw what it looks for: the beginning of a finding, or more of one."""

    key: str
    """What it is about; signals of one rule with the same key are one finding."""
    severity: Severity
    evidence: Evidence
    """As it is now; takes the place of what the finding had."""
    title: str | None = None
    """Where it says more than the detector's own."""
    seen: int = 1
    """Occurrences so far, where this is the beginning of a finding."""
    more: int = 1
    """Occurrences since the last signal with this key."""
    first_ns: int | None = None
    """Unix time of the first of them; None: of this call."""
    last_ns: int | None = None
    """Of the latest, which may have come before this call; None: of this call."""
    calls: tuple[CallRef, ...] = ()
    """The calls that led to it, where this is the beginning of a finding."""
    steps: tuple[int, ...] = ()
    """Occurrences at which the severity rises by one."""
    identity: str | None = None
    """Whom it is about, where the call does not say."""


class Finding(msgspec.Struct, gc=False, kw_only=True):
    """Something that is wrong, as far as it is known now. The same object grows while it goes on."""

    id: str
    """16 hexadecimal digits."""
    rule: str
    """Name of the detector's rule, such as "auth-failures-identity"; docs/detection.md lists them."""
    severity: Severity
    title: str
    """One line for a person, without anything that an attacker wrote."""
    category: str | None
    """OWASP API Security Top 10 2023 id ("API2:2023") where one fits."""
    key: str
    """What it is about, within its rule: findings with the same rule and key are one."""
    evidence: Evidence
    """Names and numbers that show it; redacted."""
    transactions: list[str]
    """Ids: the first ones and the latest (detect/findings.py bounds them)."""
    trace_ids: list[str]
    client: str | None = None
    server: str | None = None
    service: str | None = None
    endpoint: str | None = None
    """Id in the inventory, where it is about one."""
    route: str | None = None
    """ "METHOD /route" of that endpoint."""
    identity: str | None = None
    """Keyed hash of whom it is about."""
    first_ns: int
    """Unix time of the first call that belongs to it, ns."""
    last_ns: int
    """Unix time of the latest call that belongs to it, ns."""
    time_ns: int
    """Unix time at which it was found: the end of the call that crossed the threshold."""
    count: int
    """Occurrences: what is counted depends on the rule, its evidence says so."""
