from __future__ import annotations

import pytest

from apisensor.content.inspector import Inspector
from apisensor.content.model import Insight
from apisensor.processes.finishing import STAGE_BATCH, Finishing
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.model import Exchange, Transaction
from tests.content.exchanges import exchange

inspect = Inspector().inspect


def calls(count: int) -> list[Exchange]:
    return [exchange([(b"X-Number", b"%d" % number)]) for number in range(count)]


def numbers(transactions: list[Transaction]) -> list[int]:
    return [int((t.request_headers or [])[0][1] or "") for t in transactions]


def test_all_come_out_in_their_order() -> None:
    out: list[Transaction] = []
    redact = Redactor(bytes(32), IdSource()).transaction
    stages = Finishing(inspect, redact, out.append, lambda: pytest.fail("nothing fails"))
    stages.finish([])
    stages.finish(calls(2 * STAGE_BATCH + 5))
    assert numbers(out) == list(range(2 * STAGE_BATCH + 5))
    assert len({t.id for t in out}) == len(out)


def test_one_that_fails_costs_itself_only() -> None:
    def fails_for_seven(exchange: Exchange) -> Insight:
        if exchange.request.headers == [(b"X-Number", b"7")]:
            raise RuntimeError
        return inspect(exchange)

    redact = Redactor(bytes(32), IdSource()).transaction
    out: list[Transaction] = []
    failures: list[None] = []
    Finishing(fails_for_seven, redact, out.append, lambda: failures.append(None)).finish(calls(10))
    assert numbers(out) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert len(failures) == 1
