"""Pages of the inventory, one endpoint, its owners, and traffic for plots."""

from __future__ import annotations

import json
from typing import Any

from apisensor.inventory import histogram
from apisensor.inventory.histogram import quantile
from apisensor.inventory.model import Histogram
from apisensor.store import cursor, profiles, traffic
from apisensor.store.connections import Reading
from apisensor.store.errors import StoreError
from apisensor.store.model import EndpointDetail, EndpointQuery, EndpointRow, OwnerRow, Page, TrafficPoint
from apisensor.store.profiles import ERRORS, SENSITIVE, UNAUTHENTICATED
from apisensor.store.traffic import HOUR, KEPT, widths
from apisensor.transactions.json_form import rfc3339

FEW = 500
"""So many endpoints are fetched and sorted; more are met soon enough when all are gone through in the order asked for.
They are counted first: endpoints_owner has all that filters look at, and the inventory bounds its length."""
MAX_POINTS = 3_000
"""Of one plot: two days of minutes."""

_COLUMNS = (
    "n, id, side, owner, method, route, count, errors, p50, p95, auth, unauthenticated, sensitive, callers, "
    "first_ns, last_ns, flags"
)
_POSITION = {name: index for index, name in enumerate(_COLUMNS.replace(" ", "").split(","))}

_SORTS: dict[str, tuple[tuple[str, ...], tuple[type, ...], bool]] = {
    # The index has `flags` for the filters; between endpoints of the same key, of which there are none, they decide.
    "owner": (("owner", "route", "method", "side", "flags", "n"), (str, str, str, str, int, int), True),
    "last_seen": (("last_ns", "n"), (int, int), False),
    "first_seen": (("first_ns", "n"), (int, int), False),
    "count": (("count", "n"), (int, int), False),
    "errors": (("errors", "n"), (int, int), False),
    "latency": (("p95", "n"), (float, int), False),
}
"""Columns, which an index has in this order; their types; rising."""


def page(reading: Reading, query: EndpointQuery) -> Page[EndpointRow]:
    """
    Raises:
        StoreError: the query says something impossible.
    """
    cursor.check_limit(query.limit)
    columns, types, rising = _SORTS[query.sort]
    kind = f"endpoints.{query.sort}"
    conditions, values = _filter(query)
    after, position = "", ()
    if query.cursor is not None:
        position = cursor.decode(kind, query.cursor, types)
        after = f"({', '.join(columns)}) {'>' if rising else '<'} ({', '.join('?' * len(columns))})"
    total = _total(reading, conditions, values)
    if total <= FEW and conditions:
        chosen = "n IN (SELECT n FROM endpoints INDEXED BY endpoints_owner WHERE " + " AND ".join(conditions) + ")"
        source, conditions = "endpoints", [chosen]
    else:
        source = f"endpoints INDEXED BY endpoints_{query.sort}"
    where = " AND ".join([*conditions, *([after] if after else [])]) or "1"
    order = ", ".join(column if rising else f"{column} DESC" for column in columns)
    found = reading.connection.execute(
        f"SELECT {_COLUMNS} FROM {source} WHERE {where} ORDER BY {order} LIMIT ?",
        (*values, *position, query.limit + 1),
    ).fetchall()
    more = None
    if len(found) > query.limit:
        last = found[query.limit - 1]
        more = cursor.encode(kind, tuple(last[_POSITION[column]] for column in columns))
    return Page([row_of(row) for row in found[: query.limit]], more, total)


def _filter(query: EndpointQuery) -> tuple[list[str], list[Any]]:
    """Conditions that the index endpoints_owner alone can answer."""
    conditions: list[str] = []
    values: list[Any] = []
    # "+": a column that is known to have one value would be dropped from the order, and the order not be the index's.
    for column, value in (("owner", query.owner), ("+side", query.side), ("+method", query.method)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if query.search:
        conditions.append("(route LIKE ? ESCAPE '\\' OR owner LIKE ? ESCAPE '\\')")
        values += [cursor.like(query.search)] * 2
    flags = UNAUTHENTICATED * query.unauthenticated + SENSITIVE * query.sensitive + ERRORS * query.errors
    if flags:
        conditions.append("flags & ? = ?")
        values += [flags, flags]
    return conditions, values


def _total(reading: Reading, conditions: list[str], values: list[Any]) -> int:
    total: int = reading.connection.execute(
        f"SELECT count(*) FROM endpoints INDEXED BY endpoints_owner WHERE {' AND '.join(conditions) or '1'}", values
    ).fetchone()[0]
    return total


def row_of(row: tuple[Any, ...]) -> EndpointRow:
    """A row with the columns of _COLUMNS."""
    value = dict(zip(_POSITION, row, strict=True))
    return EndpointRow(
        id=value["id"],
        side=value["side"],
        owner=value["owner"],
        method=value["method"],
        route=value["route"],
        count=value["count"],
        errors=value["errors"],
        error_rate=value["errors"] / value["count"] if value["count"] else 0.0,
        p50_ms=value["p50"],
        p95_ms=None if value["p95"] < 0 else value["p95"],
        auth=json.loads(value["auth"]),
        unauthenticated=bool(value["unauthenticated"]),
        sensitive=json.loads(value["sensitive"]) if value["sensitive"] else [],
        callers=value["callers"],
        first_seen=rfc3339(value["first_ns"]),
        last_seen=rfc3339(value["last_ns"]),
    )


def today(reading: Reading, endpoint: str) -> str:
    """The id that an endpoint has today."""
    row = reading.connection.execute("SELECT new FROM aliases WHERE old = ?", (endpoint,)).fetchone()
    return endpoint if row is None else row[0]


def detail(reading: Reading, endpoint: str) -> EndpointDetail | None:
    """One endpoint; None: there is none with this id, nor was."""
    execute = reading.connection.execute
    now = today(reading, endpoint)
    row = execute(f"SELECT {_COLUMNS} FROM endpoints WHERE id = ?", (now,)).fetchone()
    if row is None:
        return None
    profile = profiles.decode(execute("SELECT body FROM profiles WHERE n = ?", (row[0],)).fetchone()[0])
    old = sorted(i for (i,) in execute("SELECT old FROM aliases WHERE new = ?", (now,)))
    quantiles = {name: _quantiles(getattr(profile, name)) for name in ("latency_ms", "request_bytes", "response_bytes")}
    return EndpointDetail(row=row_of(row), profile=profile, quantiles=quantiles, old_ids=old)


def _quantiles(h: Histogram) -> dict[str, float | None]:
    found: dict[str, float | None] = {f"p{q}": quantile(h, q / 100) for q in (50, 90, 95, 99)}
    return {**found, "max": h.largest if h.total else None}


def owners(reading: Reading) -> list[OwnerRow]:
    """All, the busiest first."""
    rows = reading.connection.execute("SELECT side, owner, endpoints, calls, errors, unmatched FROM owners").fetchall()
    rows.sort(key=lambda row: (-row[3] - row[5], row[1], row[0]))
    return [
        OwnerRow(side=side, owner=owner, endpoints=count, calls=calls, errors=errors, unmatched=unmatched)
        for side, owner, count, calls, errors, unmatched in rows
    ]


def points(reading: Reading, endpoint: str | None, since: int, until: int, step: int) -> list[TrafficPoint]:
    """Calls in steps of `step` seconds, those without calls left out. A step that is no multiple of what is kept
    (traffic.widths; older than two days HOUR) is rounded up to one.

    Raises:
        StoreError: too many points, or no time between the two.
    """
    if until <= since or step < 1:
        raise StoreError("traffic is asked for from an earlier to a later time, in steps of a second or more")
    n = 0
    if endpoint is not None:
        row = reading.connection.execute("SELECT n FROM endpoints WHERE id = ?", (today(reading, endpoint),)).fetchone()
        if row is None:
            return []
        n = row[0]
    oldest, newest = reading.connection.execute(
        "SELECT min(time), max(time) FROM buckets WHERE step = ?", (HOUR,)
    ).fetchone()
    if newest is None:
        return []
    since, until = max(since, oldest), min(until, newest + HOUR)
    kept = [width for width in widths(endpoint) if since >= newest - KEPT[width] + 2 * HOUR] or [HOUR]
    width = max((width for width in kept if step % width == 0), default=kept[0])
    step = -(-step // width) * width
    if (until - since) // step > MAX_POINTS:
        raise StoreError(f"a plot has {MAX_POINTS:,} points at most: ask for longer steps or less time")
    return _sum(reading, n, width, since // step * step, until, step)


def _sum(reading: Reading, n: int, width: int, since: int, until: int, step: int) -> list[TrafficPoint]:
    # Times are multiples of the width, so they are looked up one by one: the key of a bucket begins with its time.
    times = json.dumps(list(range(since, until, width)))
    rows = reading.connection.execute(
        "SELECT b.time, b.count, b.errors, b.latency FROM json_each(?) t CROSS JOIN buckets b "
        "ON b.step = ? AND b.time = t.value AND b.endpoint = ?",
        (times, width, n),
    )
    found: dict[int, tuple[int, int, Histogram]] = {}
    for time, count, errors, body in rows:
        begin = time // step * step
        before = found.get(begin)
        latency = traffic.decode(body)
        if before is None:
            found[begin] = (count, errors, latency)
        else:
            histogram.merge(before[2], latency)
            found[begin] = (before[0] + count, before[1] + errors, before[2])
    return [
        TrafficPoint(time, count, errors, quantile(latency, 0.5), quantile(latency, 0.95))
        for time, (count, errors, latency) in sorted(found.items())
    ]
