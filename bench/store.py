"""What the store costs, and whether its pages are quick when it is large.

    python -m bench.store [--transactions N] [--endpoints N]

Builds a store of 1,000,000 transactions and 100,000 endpoints in a temporary folder (some minutes, 2 GB), prints what
writing cost, then times every page: the median and the worst of ROUNDS, after one that nobody counts. Transactions are
those of bench.redact, really redacted, with their ids, times, paths, statuses, callers and endpoints varied:
20 services, 400 clients, 10,000 identities, 2 % server errors, endpoints and callers of uneven weight.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator

import msgspec

from apisensor.content.inspector import Inspector
from apisensor.detect.model import SEVERITIES, Finding
from apisensor.events.model import Address
from apisensor.inventory.gathered import Gathered
from apisensor.inventory.model import EndpointDelta, EndpointKey, InventoryDelta, Profile
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.sections import GIB, Store
from apisensor.store.model import EndpointQuery, FindingQuery, TransactionQuery
from apisensor.store.pending import Pending
from apisensor.store.reader import StoreReader
from apisensor.store.service import StoreService, size_of
from apisensor.store.transactions import Stored
from apisensor.store.writer import Writer
from apisensor.transactions.model import Auth, Process, Transaction
from bench.redact import exchange

ROUNDS = 5
BATCH = 700
"""Transactions of a commit: what COMMIT_BYTES of the keeper lets through."""
TEMPLATES = 2_000
SERVICES = 20
CLIENTS = 400
IDENTITIES = 10_000
FINDINGS = 2_000
BEGIN_NS = 1_750_000_000_000_000_000
APART_NS = 200_000_000
"""Between two transactions: a million of them are 2.3 days."""
MILLISECOND = 1_000_000
LIMIT_MS = 200


class Traffic:
    """The same every time."""

    def __init__(self, endpoints: int) -> None:
        self._chance = random.Random(1)
        inspector, redactor = Inspector(), Redactor(bytes(32), IdSource(b"bench"))
        raw = [exchange(number, self._chance) for number in range(TEMPLATES)]
        self._templates = [redactor.transaction(one, inspector.inspect(one)) for one in raw]
        self._auth = [Auth("bearer", f"{number:032x}") for number in range(IDENTITIES)]
        self._processes = [Process(4000 + n, f"/usr/bin/service{n}", service=service(n)) for n in range(SERVICES)]
        self._endpoints = endpoints
        self.time_ns = BEGIN_NS

    def one(self) -> tuple[Transaction, int]:
        """A transaction, and the number of its endpoint."""
        chance = self._chance
        self.time_ns += APART_NS
        number = int(self._endpoints * chance.random() ** 3)
        draw = chance.random()
        span = f"{chance.getrandbits(64) | 1:016x}"
        t: Transaction = msgspec.structs.replace(
            self._templates[chance.randrange(TEMPLATES)],
            id=span,
            span_id=span,
            trace_id=f"{chance.getrandbits(128) | 1:032x}",
            method=("GET", "GET", "GET", "POST", "PUT", "DELETE")[number % 6],
            path=f"/api/v1/{route(number).split('/')[3]}/{chance.randrange(100_000)}?page={number % 9}&limit=50",
            status=500 if draw < 0.02 else 404 if draw < 0.07 else None if draw < 0.071 else 200,
            client=Address(f"10.0.{number % 4}.{chance.randrange(CLIENTS // 4)}", 40_000),
            auth=self._auth[int(IDENTITIES * chance.random() ** 2)],
            process=self._processes[number % SERVICES],
            start_ns=self.time_ns,
            wall_offset_ns=0,
            duration_ns=int(chance.lognormvariate(2, 1) * MILLISECOND),
        )
        return t, number


def service(number: int) -> str:
    return f"service-{number:02d}"


def endpoint(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}"


def route(number: int) -> str:
    return f"/api/v1/resource{number % 997}/{{id}}/part{number // 997}"


def stored(traffic: Traffic, count: int) -> Iterator[tuple[list[Stored], dict[int, Profile]]]:
    """Batches, with what the inventory would say of them."""
    for _ in range(count // BATCH):
        batch: list[Stored] = []
        news: dict[int, Gathered] = {}
        for _ in range(BATCH):
            t, number = traffic.one()
            batch.append(Stored(t, endpoint(number), True))
            news.setdefault(number, Gathered()).add(t)
        yield batch, {number: gathered.profile() for number, gathered in news.items()}


def delta(seen: dict[int, Profile]) -> InventoryDelta:
    return InventoryDelta(
        [
            EndpointDelta(
                endpoint(n),
                EndpointKey(
                    "server", service(n % SERVICES), ("GET", "GET", "GET", "POST", "PUT", "DELETE")[n % 6], route(n)
                ),
                p,
            )
            for n, p in seen.items()
        ]
    )


def build(path: str, transactions: int, endpoints: int) -> None:
    """Fills a store, and prints what that cost."""
    writer = Writer(path, Store(max_bytes=64 * GIB, max_days=3650, finding_days=3650))
    traffic = Traffic(endpoints)
    spent = {"transactions": 0, "inventory": 0}
    process = {"transactions": 0, "inventory": 0}

    def timed(what: str, items: list[Stored], pending: Pending | None) -> None:
        begin, cpu = time.perf_counter_ns(), time.process_time_ns()
        writer.write(items, pending, [])
        while writer.index():
            pass
        spent[what] += time.perf_counter_ns() - begin
        process[what] += time.process_time_ns() - cpu

    pending = Pending()
    count = 0
    for batch, seen in stored(traffic, transactions):
        timed("transactions", batch, None)
        pending.add(delta(seen), traffic.time_ns // 1_000_000_000)
        if len(pending.endpoints) > 5_000:
            count += len(pending.endpoints)
            timed("inventory", [], pending)
            pending = pending.emptied()
    rest = {n: Profile(first_ns=BEGIN_NS, last_ns=BEGIN_NS + n) for n in range(endpoints)}
    pending.add(delta({n: p for n, p in rest.items() if n % 5 == 0}), BEGIN_NS // 1_000_000_000)
    for first in range(0, endpoints, 10_000):
        pending.add(delta({n: rest[n] for n in range(first, min(first + 10_000, endpoints))}), 1)
        writer.write([], pending, [])
        pending = pending.emptied()
    writer.write([], None, findings(traffic.time_ns))
    rows = transactions // BATCH * BATCH
    size = os.stat(path).st_size + os.stat(path + "-wal").st_size
    used = writer.connection.execute(
        "SELECT sum(length(body)) FROM documents WHERE seq > ?", (max(0, rows - 10_000),)
    ).fetchone()[0]
    print(f"written: {rows / spent['transactions'] * 1e9:,.0f} transactions/s, {BATCH} in a commit")
    print(f"CPU per stored transaction: {process['transactions'] / rows / 1000:.1f} us")
    print(f"CPU per merge of an endpoint: {process['inventory'] / max(1, count) / 1000:.0f} us (with its traffic)")
    writer.close()
    size = os.stat(path).st_size
    print(f"compressed document: {used / min(rows, 10_000):.0f} bytes; database: {size / 2**20:,.0f} MiB")
    print(f"per transaction, with its indexes: {transaction_bytes(path) / rows:.0f} bytes")


def transaction_bytes(path: str) -> int:
    """Pages of the tables of transactions and their indexes, by SQLite's own account where it was built with it."""
    import sqlite3  # noqa: PLC0415

    connection = sqlite3.connect(path)
    try:
        total: int = connection.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE aggregate = 1 "
            "AND (name LIKE 'transactions%' OR name IN ('documents', 'segments', 'postings'))"
        ).fetchone()[0]
        return total
    finally:
        connection.close()


def findings(now_ns: int) -> list[Finding]:
    return [
        Finding(
            id=f"{n:016x}", rule=f"rule-{n % 7}", severity=SEVERITIES[n % 5], title=f"Finding number {n}",
            category=None, key=str(n), evidence={"failures": n}, transactions=[], trace_ids=[],
            service=service(n % SERVICES), endpoint=endpoint(n), identity=f"{n:032x}", first_ns=now_ns - n,
            last_ns=now_ns - n, time_ns=now_ns - n, count=n,
        )
        for n in range(FINDINGS)
    ]  # fmt: skip


def pages(reader: StoreReader, until: int) -> dict[str, Callable[[], object]]:
    """Every page, and the combinations that are hardest on the indexes."""
    t, e = TransactionQuery, EndpointQuery
    hot, cold = endpoint(3), endpoint(77_777)
    found: dict[str, Callable[[], object]] = {
        "overview, 24 hours": lambda: reader.overview(24, until),
        "overview, 720 hours": lambda: reader.overview(720, until),
        "traffic of all, a day by minutes": lambda: reader.traffic(None, until - 86_400, until, 60),
        "traffic of an endpoint, two days": lambda: reader.traffic(hot, until - 172_800, until, 600),
        "an endpoint": lambda: reader.endpoint(hot),
        "owners": reader.owners,
        "facts": reader.facts,
        "a transaction that is not there": lambda: reader.transaction("0" * 16),
    }
    queries = {
        "newest": t(),
        "500 newest": t(limit=500),
        "endpoint, busy": t(endpoint=hot),
        "endpoint, quiet": t(endpoint=cold),
        "service": t(service=service(3)),
        "service that is not there": t(service="nobody"),
        "5xx": t(status="5xx"),
        "none": t(status="none"),
        "status 418": t(status="418"),
        "DELETE": t(method="DELETE"),
        "an identity": t(identity=f"{9_999:032x}"),
        "a client": t(client="10.0.3.7"),
        "a trace that is not there": t(trace_id="0" * 32),
        "path, often": t(search="resource12"),
        "path, nowhere": t(search="no such path"),
        "service + 5xx": t(service=service(3), status="5xx"),
        "service + method of none of it": t(service=service(1), method="DELETE"),
        "5xx + path nowhere": t(status="5xx", search="no such path"),
        "GET + 200 + path nowhere": t(method="GET", status="200", search="no such path"),
        "identity + client": t(identity=f"{5:032x}", client="10.0.3.7"),
        "an hour, two days ago": t(since=until - 172_800, until=until - 169_200),
        "an hour, two days ago, path nowhere": t(since=until - 172_800, until=until - 169_200, search="no such path"),
        "nothing but other views": t(method="GET", all_views=True),
    }
    found |= {f"transactions: {name}": functools.partial(reader.transactions, q) for name, q in queries.items()}
    for sort in ("owner", "last_seen", "count", "errors", "latency", "first_seen"):
        for name, query in {
            "all": e(),
            "an owner": e(owner=service(3)),
            "owner that is not there": e(owner="nobody"),
            "search, nowhere": e(search="no such route"),
            "sensitive, open, errors": e(sensitive=True, unauthenticated=True, errors=True),
        }.items():
            query = msgspec.structs.replace(query, sort=sort)  # noqa: PLW2901
            found[f"endpoints by {sort}: {name}"] = functools.partial(reader.endpoints, query)
    found["findings"] = lambda: reader.findings(FindingQuery())
    found["findings of a service, high"] = lambda: reader.findings(FindingQuery(service=service(1), severity="high"))
    return found


def time_pages(path: str, until: int) -> None:
    reader = StoreReader(path)
    worst = 0.0
    for name, ask in pages(reader, until).items():
        ask()
        taken = []
        for _ in range(ROUNDS):
            begin = time.perf_counter()
            ask()
            taken.append((time.perf_counter() - begin) * 1000)
        taken.sort()
        worst = max(worst, taken[-1])
        print(
            f"{name:55} {taken[ROUNDS // 2]:7.1f} ms   worst {taken[-1]:7.1f}{'   TOO SLOW' * (taken[-1] > LIMIT_MS)}"
        )
    print(f"worst page: {worst:.0f} ms")


def caller_cost(folder: str) -> None:
    """What put costs the thread that calls it."""
    service_ = StoreService(os.path.join(folder, "put.db"), Store(queue_bytes=GIB))
    traffic = Traffic(100)
    items = [traffic.one()[0] for _ in range(20_000)]
    begin = time.thread_time_ns()
    for t in items:
        service_.put(t, "0" * 16, True)
    put = time.thread_time_ns() - begin
    begin = time.thread_time_ns()
    for t in items:
        size_of(t)
    print(f"put: {put / len(items) / 1000:.2f} us on core's thread, of which {size_of.__name__} ", end="")
    print(f"{(time.thread_time_ns() - begin) / len(items) / 1000:.2f}")
    service_.start()
    service_.close(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--transactions", type=int, default=1_000_000)
    parser.add_argument("--endpoints", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as folder:
        caller_cost(folder)
        path = os.path.join(folder, "apisensor.db")
        build(path, arguments.transactions, arguments.endpoints)
        time_pages(path, (BEGIN_NS + arguments.transactions * APART_NS) // 1_000_000_000)


if __name__ == "__main__":
    main()
