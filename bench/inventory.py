"""What the inventory costs per call, beside decoding the transaction, which core does anyway; and memory per endpoint.

python -m bench.inventory [calls]
"""

from __future__ import annotations

import random
import sys
import time
import tracemalloc

import msgspec

from apisensor.events.model import Address
from apisensor.inventory.inventory import Inventory
from apisensor.transactions.lines import written
from apisensor.transactions.model import Auth, Process, Sensitive, Transaction
from bench.side_by_side import Steps, best_of, show
from bench.transactions import transaction

SERVICES, RESOURCES, OBJECTS, CALLERS = 5, 20, 2_000, 500
ENDPOINTS = 20_000
"""Endpoints of which memory is measured."""

HEADERS: list[tuple[str | None, str | None]] = [
    ("Server", "nginx/1.22.1"),
    ("Date", "Tue, 04 Mar 2025 10:00:00 GMT"),
    ("Content-Type", "application/json"),
    ("Content-Length", "1000"),
    ("Connection", "keep-alive"),
    ("X-Request-Id", "0190c3f28a4e7cc1b5f03d5c1a2b4e6f"),
]


def served(number: int, path: str, status: int, service: str) -> Transaction:
    """A served call with a bearer token; one of ten carries an e-mail address."""
    return transaction(
        number,
        method=("GET", "GET", "GET", "POST")[number % 4],
        path=path,
        request_lines=written([("Host", "api.example.com"), ("Authorization", "Bearer [redacted]"), *HEADERS]),
        response_lines=written(HEADERS),
        status=status,
        request_body_size=number % 500,
        response_body_size=number % 5000,
        client=Address(f"10.0.0.{number % 250}", 40_000),
        auth=Auth("bearer", f"{number % CALLERS:032x}"),
        sensitive=[
            Sensitive("token", "request.header", 1),
            *([] if number % 10 else [Sensitive("email", "response.body", 1)]),
        ],
        duration_ns=number % 97 * 100_000,
        ttfb_ns=1000,
        process=Process(pid=4711, service=service),
    )


def known(count: int, chance: random.Random) -> list[Transaction]:
    """Calls of an API: object ids and pages in their paths."""
    made = []
    for number in range(count):
        resource = chance.randrange(RESOURCES)
        query = f"page={chance.randrange(9)}&limit=50"
        path = f"/api/v1/resource{chr(97 + resource)}/{chance.randrange(OBJECTS)}/items?{query}"
        made.append(served(number, path, 200, f"service-{resource % SERVICES}"))
    return made


def scan(count: int, chance: random.Random) -> list[Transaction]:
    """Calls of random paths that are answered 404."""
    return [
        served(n, f"/{chance.getrandbits(64):x}/{''.join(chance.choices('ghijkl', k=9))}.php", 404, "service-0")
        for n in range(count)
    ]


def bytes_per_endpoint() -> float:
    """Of an inventory that was flushed, its memory of paths included; each service has ten endpoints."""
    calls = [served(n, f"/api/v1/{'abcdefghij'[n % 10] * 12}/{n}/x", 200, f"s{n // 10}") for n in range(ENDPOINTS)]
    tracemalloc.start()
    inventory = Inventory(ENDPOINTS * 2, 30)
    for t in calls:
        inventory.observe(t)
    inventory.flush()
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return used / inventory.counters()["inventory.endpoints"]


def main(count: int) -> None:
    """Prints microseconds per call and the ratio to the baseline."""
    chance = random.Random(1)
    calls, scanned = known(count, chance), scan(count, chance)
    packed = [msgspec.msgpack.encode(t) for t in calls]
    decode = msgspec.msgpack.Decoder(Transaction).decode
    inventory = Inventory(100_000, 30)

    def observe(t: Transaction) -> None:
        inventory.observe(t)
        inventory.route(t)

    flushes: list[tuple[float, int]] = []

    def steps() -> Steps:
        """The round before is flushed: its cost, and of how many endpoints."""
        begin = time.thread_time_ns()
        delta = inventory.flush()
        flushes.append(((time.thread_time_ns() - begin) / 1000, len(delta.endpoints)))
        return {
            "decode (baseline)": lambda index: decode(packed[index]),
            "observe and route, known": lambda index: observe(calls[index]),
            "observe and route, scan of 404": lambda index: observe(scanned[index]),
        }

    show(best_of(steps, count))
    flush, endpoints = min(flushes[1:])
    print(f"{f'flush of {endpoints} endpoints':32} {flush:6.0f} us")
    print(f"{'memory per endpoint':32} {bytes_per_endpoint():6.0f} bytes")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
