"""The store's in-memory twin: what store/reader.py answers, over lists."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from apisensor.detect.model import SEVERITIES
from apisensor.store.model import (
    Document,
    EndpointDetail,
    EndpointQuery,
    EndpointRow,
    FindingEvent,
    FindingQuery,
    FindingRecord,
    Overview,
    Page,
    StoreFacts,
    TrafficPoint,
    TransactionQuery,
    TransactionRow,
)
from apisensor.transactions.json_form import rfc3339
from apisensor.web.core import Triage
from apisensor.web.errors import ApiError
from tests.web import node

T = TypeVar("T")
CALLS = 240


def page(rows: list[T], cursor: str | None, limit: int) -> Page[T]:
    if cursor is not None and not cursor.isdigit():
        raise ApiError("bad_request", "cursor: not one of this list")
    begin = int(cursor or 0)
    more = begin + limit < len(rows)
    return Page(rows[begin : begin + limit], str(begin + limit) if more else None, len(rows))


class MemoryStore:
    """Filled from node.py, or empty."""

    def __init__(self, now: int, empty: bool = False) -> None:
        self.now = now
        self._endpoints = [] if empty else node.endpoints(now)
        self._calls = [] if empty else [node.call(index, now) for index in range(CALLS)]
        self._findings = {} if empty else {record.finding.id: record for record in node.findings(now)}
        self._lock = threading.Lock()

    def overview(self, hours: int, now: int) -> Overview:
        rows = [detail.row for detail in self._endpoints]
        begin = rfc3339((now - hours * 3600) * 10**9)
        step = max(60, hours * 3600 // 96)
        traffic = self.traffic(None, now - hours * 3600, now, step)
        services: dict[str, int] = {}
        for row in rows:
            services[row.owner] = services.get(row.owner, 0) + row.count
        open_findings: dict[str, int] = {}
        for record in self._findings.values():
            if record.state == "open":
                severity = record.finding.severity
                open_findings[severity] = open_findings.get(severity, 0) + 1
        return Overview(
            hours=hours,
            calls=sum(point.count for point in traffic),
            errors=sum(point.errors for point in traffic),
            endpoints=len(rows),
            new_endpoints=sum(row.first_seen >= begin for row in rows),
            unauthenticated_endpoints=sum(row.unauthenticated for row in rows),
            sensitive_endpoints=sum(bool(row.sensitive) for row in rows),
            open_findings=open_findings,
            services=sorted(services.items(), key=lambda pair: -pair[1])[:8],
            traffic=traffic,
            unmatched={"catalog": 3_122} if rows else {},
        )

    def endpoints(self, query: EndpointQuery) -> Page[EndpointRow]:
        tests: list[Callable[[EndpointRow], object]] = [
            lambda row: (query.search or "").lower() in f"{row.route} {row.owner}".lower(),
            lambda row: query.side in (None, row.side),
            lambda row: query.owner in (None, row.owner),
            lambda row: query.method in (None, row.method),
            lambda row: not query.sensitive or row.sensitive,
            lambda row: not query.unauthenticated or row.unauthenticated,
            lambda row: not query.errors or row.errors,
        ]
        rows = [detail.row for detail in self._endpoints if all(test(detail.row) for test in tests)]
        rows.sort(key=lambda row: (row.owner, row.route, row.method))
        keys: dict[str, Callable[[EndpointRow], str | float]] = {
            "last_seen": lambda row: row.last_seen,
            "first_seen": lambda row: row.first_seen,
            "count": lambda row: row.count,
            "errors": lambda row: row.errors,
            "latency": lambda row: row.p95_ms or 0.0,
        }
        if query.sort != "owner":
            rows.sort(key=keys[query.sort], reverse=True)
        return page(rows, query.cursor, query.limit)

    def endpoint(self, id: str) -> EndpointDetail | None:
        return next((detail for detail in self._endpoints if id in (detail.row.id, *detail.old_ids)), None)

    def traffic(self, endpoint: str | None, since: int, until: int, step: int) -> list[TrafficPoint]:
        points = []
        for at in range(since - since % step, until, step):
            wave = 1 + math.sin(at / 86_400 * 2 * math.pi) / 2 + (at // step * 2_654_435_761 % 97) / 400
            count = int(wave * (20_000 if endpoint is None else 400)) if self._endpoints else 0
            errors = int(count * (0.06 if at // step % 41 == 7 else 0.004))
            points.append(
                TrafficPoint(at, count, errors, 6.0 * wave if count else None, 21.0 * wave * wave if count else None)
            )
        return points

    def transactions(self, query: TransactionQuery) -> Page[TransactionRow]:
        tests: list[Callable[[TransactionRow], object]] = [
            lambda row: query.endpoint in (None, row.endpoint),
            lambda row: query.service in (None, row.service),
            lambda row: query.method in (None, row.method),
            lambda row: (query.search or "").lower() in (row.path or "").lower(),
            lambda row: query.identity in (None, row.identity),
            lambda row: query.client in (None, row.client),
            lambda row: _status_fits(query.status, row.status),
        ]
        rows = [row for t in self._calls for row in [node.row_of(t)] if all(test(row) for test in tests)]
        if query.trace_id is not None:
            wanted = {t.id for t in self._calls if t.trace_id == query.trace_id}
            rows = [row for row in rows if row.id in wanted]
        return page(rows, query.cursor, query.limit)

    def transaction(self, id: str) -> Document | None:
        return next((node.document_of(t) for t in self._calls if t.id == id), None)

    def findings(self, query: FindingQuery) -> Page[FindingRecord]:
        least = SEVERITIES.index(query.severity) if query.severity else 0
        rows = [
            record
            for record in self._findings.values()
            if query.state in (None, record.state)
            and SEVERITIES.index(record.finding.severity) >= least
            and query.rule in (None, record.finding.rule)
            and query.service in (None, record.finding.service)
            and query.endpoint in (None, record.finding.endpoint)
            and (query.search or "").lower() in record.finding.title.lower()
        ]
        rows.sort(key=lambda record: (-SEVERITIES.index(record.finding.severity), -record.finding.last_ns))
        return page(rows, query.cursor, query.limit)

    def finding(self, id: str) -> FindingRecord | None:
        return self._findings.get(id)

    def finding_transactions(self, id: str) -> list[TransactionRow]:
        wanted = set(self._findings[id].finding.transactions)
        return [node.row_of(t) for t in self._calls if t.id in wanted]

    def owners(self) -> list[str]:
        return sorted({detail.row.owner for detail in self._endpoints})

    def facts(self) -> StoreFacts:
        return StoreFacts(
            path="/var/lib/apisensor/store/apisensor.db",
            bytes=18_233_344,
            transactions=len(self._calls),
            endpoints=len(self._endpoints),
            findings=len(self._findings),
            oldest=rfc3339((self.now - 86_400) * 10**9) if self._calls else None,
            notes=["a damaged database was set aside as apisensor.db.damaged-1"] if self._calls else [],
        )

    def triage(self, change: Triage) -> None:
        """What core does with the command."""
        with self._lock:
            record = self._findings[change.finding]
            event = FindingEvent(
                time=rfc3339(time.time_ns()), who=change.who, state=change.state, comment=change.comment
            )
            self._findings[change.finding] = FindingRecord(
                finding=record.finding, state=change.state, events=[*record.events, event]
            )


def _status_fits(wanted: str | None, status: int | None) -> bool:
    if wanted is None:
        return True
    if status is None:
        return wanted == "none"
    return wanted in (str(status), f"{status // 100}xx")
