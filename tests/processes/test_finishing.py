from __future__ import annotations

import gzip

import pytest

from apisensor.content import codings
from apisensor.content.inspector import Inspector
from apisensor.content.limited import LIMITS
from apisensor.content.model import Insight
from apisensor.processes.finishing import STAGE_BATCH, Finishing
from apisensor.protocols import anomalies
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.counts import Count
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
    stages = Finishing(inspect, redact, out.append, lambda: pytest.fail("nothing fails"), [])
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
    Finishing(fails_for_seven, redact, out.append, lambda: failures.append(None), []).finish(calls(10))
    assert numbers(out) == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    assert len(failures) == 1


def test_limits_are_counted_by_name() -> None:
    """Those of the parsers and those of what content is decoded to."""
    bomb = exchange(
        [(b"Content-Type", b"text/plain"), (b"Content-Encoding", b"gzip")],
        body=gzip.compress(bytes(50_000_000)),
        anomalies=[anomalies.HEADER_COUNT],
    )
    counts = [0] * len(Count)
    redact = Redactor(bytes(32), IdSource()).transaction
    out: list[Transaction] = []
    Finishing(inspect, redact, out.append, lambda: pytest.fail("nothing fails"), counts).finish([bomb, *calls(2)])
    assert out[0].anomalies == ["header-count-limit", "content-coding-size-limit"]
    assert {Count(at): count for at, count in enumerate(counts) if count} == {
        Count.LIMIT_HEADER_COUNT: 1,
        Count.LIMIT_CODING_SIZE: 1,
    }


def test_every_limit_has_its_counter() -> None:
    named = {name for name in (*anomalies.ANOMALIES, *codings.ANOMALIES) if name.endswith("-limit")}
    assert set(LIMITS) == named
    assert {count.name for count in LIMITS.values()} == {
        name for name in Count.__members__ if name.startswith("LIMIT_") and name != "LIMIT_HITS"
    }
