"""Records of the API where they differ from the store's: times as RFC 3339 text, which no JSON reader rounds, and no
internals of histograms."""

from __future__ import annotations

import msgspec

from apisensor.detect.advice import ADVICE
from apisensor.detect.model import Finding, Severity, State
from apisensor.inventory.model import Caller, Profile
from apisensor.live.losses import remedies
from apisensor.live.status import ProcessStatus, Status
from apisensor.store.model import EndpointDetail, EndpointRow, FindingEvent, FindingRecord, OwnerRow, TransactionRow
from apisensor.transactions.json_form import rfc3339


class CallerBody(msgspec.Struct, frozen=True):
    """Who called an endpoint: as much of it as is known."""

    identity: str | None
    service: str | None
    address: str | None
    scheme: str | None
    count: int
    first_seen: str
    last_seen: str


class EndpointBody(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint with everything that is kept of it."""

    row: EndpointRow
    incomplete: int
    unanswered: int
    encrypted: int
    statuses: dict[str, int]
    grpc_statuses: dict[str, int]
    protocols: dict[str, int]
    auth: dict[str, int]
    open_successes: int
    sensitive_in: dict[str, int]
    sensitive_out: dict[str, int]
    hosts: dict[str, int]
    content_types: dict[str, int]
    query_names: dict[str, int]
    anomalies: dict[str, int]
    callers: list[CallerBody]
    """The most frequent first."""
    quantiles: dict[str, dict[str, float | None]]
    old_ids: list[str]


class FindingBody(msgspec.Struct, frozen=True, kw_only=True):
    """A finding with its life so far."""

    id: str
    rule: str
    severity: Severity
    title: str
    category: str | None
    meaning: str | None
    """What probably happened; None: a rule of another version of the sensor."""
    remedy: str | None
    state: State
    evidence: dict[str, str | int | float | list[str]]
    transactions: list[str]
    trace_ids: list[str]
    client: str | None
    server: str | None
    service: str | None
    endpoint: str | None
    route: str | None
    identity: str | None
    first_seen: str
    last_seen: str
    time: str
    """When it was found."""
    count: int
    events: list[FindingEvent]


class FindingsPage(msgspec.Struct, frozen=True):
    """Some findings, and where the next ones begin."""

    rows: list[FindingBody]
    next: str | None
    total: int | None = None


class TransactionRows(msgspec.Struct, frozen=True):
    """Transactions that show a finding."""

    rows: list[TransactionRow]


class StateChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a person decided about a finding."""

    state: State
    comment: str = ""
    who: str = ""
    """Who decided, in their own words: the token says only that they may."""


class Owners(msgspec.Struct, frozen=True):
    """Services and destinations that own endpoints."""

    owners: list[OwnerRow]
    """The busiest first."""


class Vocabulary(msgspec.Struct, frozen=True):
    """What names mean that other answers use."""

    incomplete_reasons: dict[str, str]


class HealthBody(msgspec.Struct, frozen=True, kw_only=True):
    """How the sensor is, and what it does not see."""

    status: Status
    lost: dict[str, int]
    """ "<part>.<cause>": what was lost since the start; causes with nothing lost are left out."""
    remedies: list[str]
    """What helps against that, as far as something does."""
    blind_spots: list[ProcessStatus]
    """Processes that send TLS of which nothing is captured."""
    web: dict[str, int]
    """What this part served and refused."""


def endpoint_body(detail: EndpointDetail) -> EndpointBody:
    profile: Profile = detail.profile
    callers = sorted(profile.callers.values(), key=lambda caller: -caller.count)
    counted = {name: getattr(profile, name) for name in _COUNTED}
    return EndpointBody(
        row=detail.row,
        quantiles=detail.quantiles,
        old_ids=detail.old_ids,
        callers=[_caller_body(caller) for caller in callers],
        **counted,
    )


_COUNTED = [
    field.name for field in msgspec.structs.fields(EndpointBody) if field.name in Profile.__struct_fields__
    and field.name != "callers"
]  # fmt: skip


def _caller_body(caller: Caller) -> CallerBody:
    return CallerBody(
        caller.identity, caller.service, caller.address, caller.scheme, caller.count,
        rfc3339(caller.first_ns), rfc3339(caller.last_ns),
    )  # fmt: skip


_SAME = [name for name in FindingBody.__struct_fields__ if name in Finding.__struct_fields__]


def finding_body(record: FindingRecord) -> FindingBody:
    finding = record.finding
    advice = ADVICE.get(finding.rule)
    return FindingBody(
        **{name: getattr(finding, name) for name in _SAME},
        meaning=None if advice is None else advice.meaning,
        remedy=None if advice is None else advice.remedy,
        state=record.state,
        events=record.events,
        first_seen=rfc3339(finding.first_ns),
        last_seen=rfc3339(finding.last_ns),
        time=rfc3339(finding.time_ns),
    )


def health_body(status: Status, served: dict[str, int]) -> HealthBody:
    lost = {name: n for name, n in status.counters.items() if ".lost." in name and n}
    return HealthBody(
        status=status,
        lost={name.replace(".lost.", "."): n for name, n in lost.items()},
        remedies=remedies(lost),
        blind_spots=[row for row in status.processes if row.blind],
        web=served,
    )
