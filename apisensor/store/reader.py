"""Reads the store: for the page, the REST API and the command line, in any process, while the sensor runs or not."""

from __future__ import annotations

import os

from apisensor.detect.model import SEVERITIES
from apisensor.store import read_endpoints, read_findings, read_transactions
from apisensor.store.connections import Connections, Reading
from apisensor.store.errors import StoreError
from apisensor.store.model import (
    Document,
    EndpointDetail,
    EndpointQuery,
    EndpointRow,
    FindingQuery,
    FindingRecord,
    Overview,
    OwnerRow,
    Page,
    StoreFacts,
    TrafficPoint,
    TransactionQuery,
    TransactionRow,
)
from apisensor.store.opening import SUFFIXES
from apisensor.store.profiles import SENSITIVE, UNAUTHENTICATED
from apisensor.store.traffic import HOUR, TOTAL_STEP, widths
from apisensor.transactions.json_form import rfc3339

BUSIEST = 10
"""Services in the overview."""
LONGEST_OVERVIEW_H = 720
"""Hours: as long as traffic is kept."""
OVERVIEW_POINTS = 120


class StoreReader:
    """Any number of threads may call it; each call sees the store as it was at one moment. It opens nothing before the
    first call, so it may be made before there is a store, and outlives one that is set aside.

    All methods raise StoreError, with one line.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connections = Connections(path)

    def overview(self, hours: int, now: int) -> Overview:
        """
        Args:
            hours: up to LONGEST_OVERVIEW_H.
            now: Unix time, s.
        """
        if not 1 <= hours <= LONGEST_OVERVIEW_H:
            raise StoreError(f"an overview is of 1 to {LONGEST_OVERVIEW_H} hours, not {hours}")
        with self._connections.reading() as reading:
            return _overview(reading, hours, now)

    def endpoints(self, query: EndpointQuery) -> Page[EndpointRow]:
        with self._connections.reading() as reading:
            return read_endpoints.page(reading, query)

    def endpoint(self, endpoint: str) -> EndpointDetail | None:
        """By any id that it has or had."""
        with self._connections.reading() as reading:
            return read_endpoints.detail(reading, endpoint)

    def traffic(self, endpoint: str | None, since: int, until: int, step: int) -> list[TrafficPoint]:
        """Calls of an endpoint, or all, by steps of time; Unix times and step in seconds (read_endpoints.points)."""
        with self._connections.reading() as reading:
            return read_endpoints.points(reading, endpoint, since, until, step)

    def transactions(self, query: TransactionQuery) -> Page[TransactionRow]:
        """A page may be short and have a cursor: see Page.searched_to."""
        with self._connections.reading() as reading:
            return read_transactions.page(reading, query)

    def transaction(self, transaction: str) -> Document | None:
        with self._connections.reading() as reading:
            return read_transactions.document(reading, transaction)

    def findings(self, query: FindingQuery) -> Page[FindingRecord]:
        with self._connections.reading() as reading:
            return read_findings.page(reading, query)

    def finding(self, finding: str) -> FindingRecord | None:
        with self._connections.reading() as reading:
            return read_findings.record(reading, finding)

    def finding_transactions(self, finding: str) -> list[TransactionRow]:
        """The transactions that show it, as far as they came; they are kept as long as the finding."""
        with self._connections.reading() as reading:
            return read_findings.transactions(reading, finding)

    def owners(self) -> list[OwnerRow]:
        """Services and destinations, the busiest first."""
        with self._connections.reading() as reading:
            return read_endpoints.owners(reading)

    def facts(self) -> StoreFacts:
        with self._connections.reading() as reading:
            return _facts(reading, self._path)

    def close(self) -> None:
        """When no call is under way."""
        self._connections.close()


def _overview(reading: Reading, hours: int, now: int) -> Overview:
    execute = reading.connection.execute
    since = now - hours * HOUR
    wanted = hours * HOUR // OVERVIEW_POINTS
    # The widest buckets that do: fewer to read.
    width = max((width for width in widths(None) if width <= wanted), default=TOTAL_STEP)
    step = max(width, wanted // width * width)
    traffic = read_endpoints.points(reading, None, since, now + 1, step)
    both = UNAUTHENTICATED | SENSITIVE
    total, unauthenticated, sensitive, exposed = execute(
        "SELECT count(*), coalesce(sum(flags & ? > 0), 0), coalesce(sum(flags & ? > 0), 0), "
        "coalesce(sum(flags & ? = ?), 0) FROM endpoints INDEXED BY endpoints_owner",
        (UNAUTHENTICATED, SENSITIVE, both, both),
    ).fetchone()
    (new,) = execute("SELECT count(*) FROM endpoints WHERE first_ns >= ?", (since * 1_000_000_000,)).fetchone()
    findings = execute("SELECT severity, count(*) FROM findings WHERE state = 'open' GROUP BY severity")
    services: dict[str, int] = {}
    unmatched: dict[str, int] = {}
    for side, owner, calls, lost in execute(
        "SELECT side, owner, calls, unmatched FROM owner_hours WHERE hour >= ?", (since // HOUR * HOUR,)
    ):
        if side == "server" and calls:
            services[owner] = services.get(owner, 0) + calls
        if lost:
            unmatched[owner] = unmatched.get(owner, 0) + lost
    return Overview(
        hours=hours,
        calls=sum(point.count for point in traffic),
        errors=sum(point.errors for point in traffic),
        endpoints=total,
        new_endpoints=new,
        unauthenticated_endpoints=unauthenticated,
        sensitive_endpoints=sensitive,
        exposed_endpoints=exposed,
        open_findings={SEVERITIES[severity]: count for severity, count in findings},
        services=sorted(services.items(), key=lambda item: (-item[1], item[0]))[:BUSIEST],
        step=step,
        traffic=traffic,
        unmatched=unmatched,
    )


def _facts(reading: Reading, path: str) -> StoreFacts:
    execute = reading.connection.execute
    size = 0
    for suffix in SUFFIXES[:2]:
        try:
            size += os.stat(path + suffix).st_size
        except OSError:
            continue
    oldest = execute("SELECT time FROM transactions ORDER BY seq LIMIT 1").fetchone()
    return StoreFacts(
        path=path,
        bytes=size,
        transactions=execute("SELECT coalesce(sum(rows), 0) FROM segments").fetchone()[0],
        endpoints=execute("SELECT count(*) FROM endpoints").fetchone()[0],
        findings=execute("SELECT count(*) FROM findings").fetchone()[0],
        oldest=None if oldest is None else rfc3339(oldest[0]),
        notes=[text for (text,) in execute("SELECT text FROM notes ORDER BY rowid")],
    )
