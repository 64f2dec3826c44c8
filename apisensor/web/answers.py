"""What the REST API answers: one function for each route of routes.py."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from apisensor.live.filters import FilterError, compile_filter
from apisensor.store.commands import SetState
from apisensor.store.findings import MAX_COMMENT, MAX_WHO
from apisensor.store.model import (
    Document,
    EndpointRow,
    FindingRecord,
    Overview,
    Page,
    StoreFacts,
    TrafficPoint,
    TransactionRow,
)
from apisensor.transactions.model import INCOMPLETE_REASONS
from apisensor.web.bodies import (
    EndpointBody,
    FindingBody,
    FindingsPage,
    HealthBody,
    Owners,
    StateChange,
    TransactionRows,
    Vocabulary,
    endpoint_body,
    finding_body,
    health_body,
)
from apisensor.web.core import Core
from apisensor.web.errors import ApiError
from apisensor.web.parameters import TrafficParameters
from apisensor.web.reading import Store

MAX_STREAMS = 16
"""Live streams at once: each takes one of core's live.max_clients connections."""
MAX_POINTS = 1_000
"""Points of one traffic answer."""
USUAL_POINTS = 96
STEPS = (300, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
"""Steps that people can read, seconds; multiples of what the store keeps of an endpoint."""


@dataclass(slots=True)
class Sources:
    """What answers are made of."""

    store: Store
    core: Core
    counts: Counter[str] = field(default_factory=Counter)
    """What was served and refused, by name; the status shows it."""
    streams: int = 0
    """Live streams that are open."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, checked."""

    sources: Sources
    query: Any
    """Of the route's `parameters`."""
    id: str = ""
    body: Any = None
    """Of the route's `body`."""
    who: str = ""
    """How the caller proved that they may: "page" or "api"."""


async def overview(asked: Asked) -> Overview:
    hours, now = asked.query.hours, int(time.time())
    return await asked.sources.store.ask(lambda reader: reader.overview(hours, now))


async def endpoints(asked: Asked) -> Page[EndpointRow]:
    return await asked.sources.store.ask(lambda reader: reader.endpoints(asked.query))


async def endpoint(asked: Asked) -> EndpointBody:
    detail = await asked.sources.store.ask(lambda reader: reader.endpoint(asked.id))
    if detail is None:
        raise ApiError("not_found", "there is no such endpoint")
    return endpoint_body(detail)


async def endpoint_traffic(asked: Asked) -> list[TrafficPoint]:
    detail = await asked.sources.store.ask(lambda reader: reader.endpoint(asked.id))
    if detail is None:
        raise ApiError("not_found", "there is no such endpoint")
    since, until, step = _range(asked.query)
    return await asked.sources.store.ask(lambda reader: reader.traffic(detail.row.id, since, until, step))


def _range(query: TrafficParameters) -> tuple[int, int, int]:
    until = query.until if query.until is not None else int(time.time())
    since = query.since if query.since is not None else max(0, until - 86_400)
    if since >= until:
        raise ApiError("bad_request", "since: must be before until")
    step = query.step
    if step is None:
        step = next((step for step in STEPS if (until - since) / step <= USUAL_POINTS), None)
        step = step or (until - since) // USUAL_POINTS // 86_400 * 86_400
    if (until - since) / step > MAX_POINTS:
        raise ApiError("bad_request", f"step: gives more than {MAX_POINTS:,} points; raise it, or ask for less time")
    return since, until, step


async def transactions(asked: Asked) -> Page[TransactionRow]:
    return await asked.sources.store.ask(lambda reader: reader.transactions(asked.query))


async def transaction(asked: Asked) -> Document:
    document = await asked.sources.store.ask(lambda reader: reader.transaction(asked.id))
    if document is None:
        raise ApiError(
            "not_found", "this transaction is not stored: it never was, or its time is over (store.max_days)"
        )
    return document


async def findings(asked: Asked) -> FindingsPage:
    page = await asked.sources.store.ask(lambda reader: reader.findings(asked.query))
    return FindingsPage([finding_body(record) for record in page.rows], page.next, page.total)


async def finding(asked: Asked) -> FindingBody:
    return finding_body(await _finding(asked))


async def _finding(asked: Asked) -> FindingRecord:
    record = await asked.sources.store.ask(lambda reader: reader.finding(asked.id))
    if record is None:
        raise ApiError("not_found", "there is no such finding")
    return record


async def finding_transactions(asked: Asked) -> TransactionRows:
    await _finding(asked)
    return TransactionRows(await asked.sources.store.ask(lambda reader: reader.finding_transactions(asked.id)))


async def set_state(asked: Asked) -> FindingBody:
    change: StateChange = asked.body
    if len(change.comment) > MAX_COMMENT or len(change.who) > MAX_WHO:
        raise ApiError("bad_request", f"comment: at most {MAX_COMMENT:,} characters; who: at most {MAX_WHO}")
    if not (change.comment + change.who).replace("\n", "").isprintable():
        raise ApiError("bad_request", "comment and who may not hold control characters")
    await _finding(asked)
    who = change.who.strip() or asked.who
    step = SetState(finding=asked.id, state=change.state, comment=change.comment.strip(), who=who)
    await asked.sources.core.triage(step)
    return finding_body(await _finding(asked))


async def owners(asked: Asked) -> Owners:
    return Owners(await asked.sources.store.ask(lambda reader: reader.owners()))


async def status(asked: Asked) -> HealthBody:
    return health_body(await asked.sources.core.status(), dict(asked.sources.counts))


async def facts(asked: Asked) -> StoreFacts:
    return await asked.sources.store.ask(lambda reader: reader.facts())


async def vocabulary(_: Asked) -> Vocabulary:
    return Vocabulary(INCOMPLETE_REASONS)


async def live(asked: Asked) -> AsyncIterator[bytes]:
    """Server-sent events. Refused before the first is sent where core is not there."""
    sources = asked.sources
    try:
        compile_filter(asked.query)
    except FilterError as error:
        raise ApiError("bad_request", str(error)) from None
    if sources.streams >= MAX_STREAMS:
        sources.counts["streams.refused"] += 1
        raise ApiError("unavailable", f"{MAX_STREAMS} live streams are open already; close a page", retry_after_s=10)
    lines = sources.core.live(asked.query)
    await anext(lines)
    return _events(sources, lines)


async def _events(sources: Sources, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    sources.streams += 1
    sources.counts["streams"] += 1
    try:
        yield b": the stream begins\n\n"
        async for line in lines:
            if not line:
                yield b": quiet\n\n"
                continue
            try:
                kind = msgspec.json.decode(line, type=_Kind).kind
            except (msgspec.MsgspecError, UnicodeDecodeError):
                break
            if kind == "dropped":
                sources.counts["streams.dropped"] += msgspec.json.decode(line, type=_Count).count
            if kind not in ("transaction", "finding", "dropped"):
                break
            yield b"event: " + kind.encode() + b"\ndata: " + line + b"\n"
        yield b"event: end\ndata: {}\n\n"
    finally:
        sources.streams -= 1


class _Kind(msgspec.Struct):
    kind: str


class _Count(msgspec.Struct):
    count: int
