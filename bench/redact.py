"""What content detection and redaction cost per exchange, beside the plain decoding of the same field lines.

python -m bench.redact [exchanges]
"""

from __future__ import annotations

import json
import random
import sys

from apisensor.content.inspector import Inspector
from apisensor.events.model import Address, Binding
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.transactions.model import Exchange, Request, Response
from bench.side_by_side import Steps, best_of, show

ROUNDS = 40


def body(number: int, size: int) -> bytes:
    """JSON without anything sensitive."""
    items = [
        {"id": number + index, "name": f"widget {index}", "price": 12.5 * index, "created": "2025-01-02T03:04:05Z"}
        for index in range(size // 80 + 1)
    ]
    return json.dumps({"items": items}).encode()[:size]


def exchange(number: int, chance: random.Random) -> Exchange:
    """15 field lines, 1 KB of JSON each way, one of 10,000 bearer tokens; four lines differ from call to call."""
    payload = body(number, 1000)
    token = f"tok-{number % 10_000:05d}-{'x' * 30}".encode()
    request = Request(
        start_ns=number * 1000,
        end_ns=number * 1000 + 500,
        method=b"POST",
        authority=b"orders.example.com",
        target=b"/api/v1/orders/%d?page=%d&limit=50" % (number, number % 9),
        headers=[
            (b"Host", b"orders.example.com"),
            (b"User-Agent", b"python-requests/2.32.3"),
            (b"Accept-Encoding", b"gzip, deflate"),
            (b"Accept", b"application/json"),
            (b"Connection", b"keep-alive"),
            (b"Content-Type", b"application/json"),
            (b"Authorization", b"Bearer " + token),
            (b"Content-Length", b"1000"),
            (b"traceparent", b"00-%032x-%016x-01" % (chance.getrandbits(128) | 1, chance.getrandbits(64) | 1)),
        ],
        body_size=1000,
        body=payload,
    )
    response = Response(
        start_ns=number * 1000 + 600,
        end_ns=number * 1000 + 900,
        status=200,
        headers=[
            (b"Server", b"nginx/1.22.1"),
            (b"Date", b"Tue, 04 Mar 2025 10:%02d:%02d GMT" % (number // 60 % 60, number % 60)),
            (b"Content-Type", b"application/json"),
            (b"Content-Length", b"1000"),
            (b"Connection", b"keep-alive"),
            (b"X-Request-Id", b"%032x" % chance.getrandbits(128)),
        ],
        body_size=1000,
        body=payload,
    )
    return Exchange(
        flow=number % 1000,
        connection=number % 1000,
        pid=4711,
        protocol="http/1.1",
        side="server",
        tls=True,
        local=Address("127.0.0.1", 443),
        remote=Address("127.0.0.1", 50000 + number % 1000),
        binding=Binding.SET_FD,
        request=request,
        response=response,
    )


def decode_only(raw: Exchange) -> object:
    """The baseline: every field line decoded, nothing looked at."""
    assert raw.request.headers is not None
    assert raw.response is not None
    assert raw.response.headers is not None
    return [
        [((name or b"").decode(), (value or b"").decode()) for name, value in headers]
        for headers in (raw.request.headers, raw.response.headers)
    ]


def main(count: int) -> None:
    """Prints microseconds per exchange and the ratio to the baseline."""
    chance = random.Random(1)
    exchanges = [exchange(number, chance) for number in range(count)]
    inspector, redactor = Inspector(), Redactor(bytes(32), IdSource(b"bench"))
    insights = [inspector.inspect(raw) for raw in exchanges]
    steps: Steps = {
        "decode only (baseline)": lambda number: decode_only(exchanges[number]),
        "content.inspect": lambda number: inspector.inspect(exchanges[number]),
        "redact.transaction": lambda number: redactor.transaction(exchanges[number], insights[number]),
    }
    show(best_of(lambda: steps, count, ROUNDS))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
