"""What a worker does with exchanges that are finished: content -> redact -> on the way to core, stage by stage."""

from __future__ import annotations

from collections.abc import Callable

from apisensor.content.limited import count_limits
from apisensor.content.model import Insight
from apisensor.transactions.flow import Counters
from apisensor.transactions.model import Exchange, Transaction

STAGE_BATCH = 64
"""Exchanges that one stage works on before the next does: a stage that stays in the processor's caches with its code
costs a fifth less. What some hundred of them hold no longer fits there."""


class Finishing:
    """The stages behind the analysis.

    Args:
        inspect: what content says of an exchange.
        redact: the transaction of both.
        put: takes a transaction.
        failed: is called where detection or redaction failed; what that exchange held goes nowhere.
        counts: of the analysis; limits are counted there by name.
    """

    def __init__(
        self,
        inspect: Callable[[Exchange], Insight],
        redact: Callable[[Exchange, Insight], Transaction],
        put: Callable[[Transaction], None],
        failed: Callable[[], None],
        counts: Counters,
    ) -> None:
        self._inspect = inspect
        self._redact = redact
        self._put = put
        self._failed = failed
        self._counts = counts

    def finish(self, exchanges: list[Exchange]) -> None:
        """Redacts them and puts them on their way, in their order."""
        for start in range(0, len(exchanges), STAGE_BATCH):
            self._batch(exchanges[start : start + STAGE_BATCH])

    def _batch(self, exchanges: list[Exchange]) -> None:
        try:
            insights = [self._inspect(exchange) for exchange in exchanges]
            transactions = [self._redact(*pair) for pair in zip(exchanges, insights, strict=True)]
        except Exception:  # noqa: BLE001 - an error costs one exchange, neither the worker nor the others
            for exchange in exchanges:
                self._alone(exchange)
            return
        for transaction in transactions:
            self._done(transaction)

    def _alone(self, exchange: Exchange) -> None:
        """One of several, among which one fails."""
        try:
            transaction = self._redact(exchange, self._inspect(exchange))
        except Exception:  # noqa: BLE001
            self._failed()
        else:
            self._done(transaction)

    def _done(self, transaction: Transaction) -> None:
        if transaction.anomalies:
            count_limits(self._counts, transaction.anomalies)
        self._put(transaction)
