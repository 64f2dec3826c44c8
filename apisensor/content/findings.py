"""What has been found in one exchange while it is looked through."""

from __future__ import annotations

import enum
from typing import Final

from apisensor.content.bodies import BodyInsight
from apisensor.content.credentials import Credential
from apisensor.content.model import KINDS, PLACES
from apisensor.transactions.model import Sensitive

_PLACE_RANK: Final = {place: rank for rank, place in enumerate(PLACES)}
_KIND_RANK: Final = {kind: rank for rank, kind in enumerate(KINDS)}


class Source(enum.IntEnum):
    """Where a credential was found. Where there are several the lowest says who called."""

    AUTHORIZATION = 0
    API_KEY_FIELD = 1
    PARAMETER = 2
    SESSION_COOKIE = 3
    PROXY_AUTHORIZATION = 4
    """Who may use the proxy, which is only by chance who calls the origin."""


class Findings:
    """What has been found in an exchange so far."""

    __slots__ = ("anomalies", "counts", "credentials", "traceparent", "tracestate")

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        """(place, kind) -> count."""
        self.anomalies: list[str] = []
        self.credentials: list[tuple[Source, Credential]] = []
        self.traceparent: tuple[bytes, ...] = ()
        self.tracestate: tuple[bytes, ...] = ()

    def count(self, place: str, kind: str, number: int = 1) -> None:
        """Adds finds of a kind; what is only to be hidden is not counted."""
        if kind:
            self.counts[place, kind] = self.counts.get((place, kind), 0) + number

    def body(self, place: str, said: BodyInsight) -> None:
        """Adds what a body says; of whom it names nothing."""
        for kind, number in said.counts.items():
            self.count(place, kind, number)
        if said.anomaly is not None and said.anomaly not in self.anomalies:
            self.anomalies.append(said.anomaly)

    def credential(self) -> Credential | None:
        """The one that says who called."""
        found = self.credentials
        return (found[0] if len(found) == 1 else min(found, key=_rank))[1] if found else None

    def sensitive(self) -> list[Sensitive]:
        """The counts in a fixed order."""
        counts = self.counts
        order = sorted(counts, key=_order) if len(counts) > 1 else counts
        return [Sensitive(kind, place, counts[place, kind]) for place, kind in order]


def _rank(credential: tuple[Source, Credential]) -> Source:
    return credential[0]


def _order(key: tuple[str, str]) -> tuple[int, int]:
    return _PLACE_RANK[key[0]], _KIND_RANK[key[1]]
