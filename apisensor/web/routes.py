"""The table of the REST API. What it answers to, its OpenAPI document and docs/api.md are all read from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from apisensor.live.filters import Filter
from apisensor.live.public import Dropped, PublicFinding, PublicTransaction
from apisensor.store.model import (
    EndpointQuery,
    EndpointRow,
    FindingQuery,
    Overview,
    Page,
    StoreFacts,
    TrafficPoint,
    TransactionQuery,
    TransactionRow,
)
from apisensor.web import answers
from apisensor.web.answers import Asked
from apisensor.web.bodies import (
    EndpointBody,
    FindingBody,
    FindingsPage,
    HealthBody,
    Owners,
    StateChange,
    TransactionRows,
    Vocabulary,
)
from apisensor.web.parameters import Nothing, OverviewParameters, TrafficParameters

PREFIX = "/api/v1"


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the API."""

    path: str
    """Below PREFIX; "{id}" is its only variable."""
    answer: Callable[[Asked], Awaitable[Any]]
    returns: Any
    """Type of the JSON body."""
    does: str
    """One line for the documents."""
    method: Literal["GET", "POST"] = "GET"
    parameters: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    errors: tuple[str, ...] = ()
    """Codes beyond those that any route may answer."""
    stream: bool = False
    """Server-sent events, each with such a body."""

    @property
    def name(self) -> str:
        """operationId."""
        return self.answer.__name__


ROUTES: tuple[Route, ...] = (
    Route(
        path="/overview",
        answer=answers.overview,
        returns=Overview,
        parameters=OverviewParameters,
        does="What happened in the last hours: calls, errors, endpoints, open findings, the busiest services.",
    ),
    Route(
        path="/endpoints",
        answer=answers.endpoints,
        returns=Page[EndpointRow],
        parameters=EndpointQuery,
        does="The inventory, a page at a time.",
    ),
    Route(
        path="/endpoints/{id}",
        answer=answers.endpoint,
        returns=EndpointBody,
        errors=("not_found",),
        does="Everything that is kept of an endpoint; ids from before a template was learnt resolve.",
    ),
    Route(
        path="/endpoints/{id}/traffic",
        answer=answers.endpoint_traffic,
        returns=list[TrafficPoint],
        parameters=TrafficParameters,
        errors=("not_found",),
        does="Calls, errors and latency of an endpoint over time.",
    ),
    Route(
        path="/transactions",
        answer=answers.transactions,
        returns=Page[TransactionRow],
        parameters=TransactionQuery,
        does="Stored transactions, the newest first.",
    ),
    Route(
        path="/transactions/{id}",
        answer=answers.transaction,
        returns=PublicTransaction,
        errors=("not_found",),
        does="A stored transaction with its headers (docs/transaction.md).",
    ),
    Route(
        path="/findings",
        answer=answers.findings,
        returns=FindingsPage,
        parameters=FindingQuery,
        does="Findings, the worst first.",
    ),
    Route(
        path="/findings/{id}",
        answer=answers.finding,
        returns=FindingBody,
        errors=("not_found",),
        does="A finding with its evidence and its life so far.",
    ),
    Route(
        path="/findings/{id}/transactions",
        answer=answers.finding_transactions,
        returns=TransactionRows,
        errors=("not_found",),
        does="The stored transactions that show a finding.",
    ),
    Route(
        path="/findings/{id}/state",
        method="POST",
        answer=answers.set_state,
        returns=FindingBody,
        body=StateChange,
        errors=("not_found", "conflict", "too_large"),
        does="Sets a finding's state, with a comment; answers with the finding as it is then.",
    ),
    Route(
        path="/owners",
        answer=answers.owners,
        returns=Owners,
        does="Services and destinations that own endpoints.",
    ),
    Route(
        path="/status",
        answer=answers.status,
        returns=HealthBody,
        does="Parts, what was lost by cause, every process and what is captured of it, blind spots.",
    ),
    Route(
        path="/facts",
        answer=answers.facts,
        returns=StoreFacts,
        does="How the store is: its size, and what it holds.",
    ),
    Route(
        path="/vocabulary",
        answer=answers.vocabulary,
        returns=Vocabulary,
        does="What names mean that other answers use.",
    ),
    Route(
        path="/live",
        answer=answers.live,
        returns=PublicTransaction | PublicFinding | Dropped,
        parameters=Filter,
        stream=True,
        does="Transactions as they happen, as server-sent events: `transaction`, `finding`, `dropped`, `end`.",
    ),
)
