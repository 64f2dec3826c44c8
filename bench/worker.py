"""What a worker costs: the standard recording through every stage from ring record to encoded transaction.

    python -m bench.worker [--transactions 20000] [--protocol http/1.1|h2] [--rounds 5]

Each round runs the worker's stages over the recording in small batches, and beside it a bare httptools parser with
Python callbacks over the same exchanges in HTTP/1.1. CPU time is the process's own (user and system). The machine's
speed changes within seconds, so rounds are interleaved, medians quoted, and the ratio is what can be compared between
machines. `export` is core's part of the work: it is not in the worker's sum, but in the one to encoded OTLP.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import httptools
import msgspec

from apisensor.content.inspector import inspect
from apisensor.events.decode import ENDPOINTS, FLAG_CALL_START, FLAG_TLS, KIND_BIND, KIND_CHUNK, RECORD, decode
from apisensor.events.model import Address, Bind, Chunk, Event
from apisensor.export.span import SpanEncoder
from apisensor.redact.ids import IdSource
from apisensor.redact.redactor import Redactor
from apisensor.streams.limits import Limits
from apisensor.transactions.analyzer import Analyzer
from bench.standard_recording import events, exchanges, http1

BATCH = 64
"""Records that one stage works on before the next does. A worker takes each through all stages at once, so that a
transaction is still in the processor's cache and gone before the collector looks; reading the clock each time would
cost more than most stages."""

T = TypeVar("T")
R = TypeVar("R")


def _raw(address: Address) -> bytes:
    return bytes(10) + b"\xff\xff" + ipaddress.ip_address(address.address).packed


def ring_record(event: Event) -> bytes:
    """The event as the kernel writes it (bpf/event.h)."""
    if isinstance(event, Chunk):
        flags = (FLAG_TLS if event.tls else 0) | (FLAG_CALL_START if event.call_start else 0)
        head = (event.time_ns, event.flow, event.position, event.pid, len(event.data), KIND_CHUNK)
        return RECORD.pack(*head, event.direction, flags, 0, 0) + event.data
    if isinstance(event, Bind):
        head = (event.time_ns, event.flow, 0, event.pid, 0, KIND_BIND)
        ends = (_raw(event.local), _raw(event.remote), event.local.port, event.remote.port, 0)
        return RECORD.pack(*head, 0, FLAG_TLS, event.binding, 0) + ENDPOINTS.pack(event.connection, *ends)
    raise TypeError(f"the standard recording has no {type(event).__name__}")


class Stopwatch:
    """CPU nanoseconds of this process, by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, int] = {}

    def each(self, stage: str, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """Does the work for each item, and books the time."""
        start = time.process_time_ns()
        results = [work(item) for item in items]
        self.spent[stage] = self.spent.get(stage, 0) + time.process_time_ns() - start
        return results


def run_worker(records: Sequence[bytes], expected: int) -> dict[str, int]:
    """One pass of a new worker over the records: CPU ns by stage.

    Raises:
        AssertionError: not so many transactions came out, or one was incomplete: failing is not the work.
    """
    analyzer = Analyzer(Limits())
    redactor = Redactor(bytes(32), IdSource(b"bench"))
    send = msgspec.msgpack.Encoder().encode
    export = SpanEncoder().encode
    watch = Stopwatch()
    count = 0
    for start in range(0, len(records), BATCH):
        batch = [memoryview(record) for record in records[start : start + BATCH]]
        decoded = watch.each("decode", decode, batch)
        found = [exchange for some in watch.each("analyse", analyzer.feed, decoded) for exchange in some]
        insights = watch.each("inspect", inspect, found)
        pairs = list(zip(found, insights, strict=True))
        transactions = watch.each("redact", lambda pair: redactor.transaction(*pair), pairs)
        watch.each("send", send, transactions)
        watch.each("export", export, transactions)
        count += sum(transaction.incomplete_reason is None for transaction in transactions)
    if count != expected:
        raise AssertionError(f"{count} of {expected} transactions came out complete")
    return watch.spent


class Callbacks:
    """What the least that uses a message has to do: keep its parts."""

    def __init__(self) -> None:
        self.messages = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._target = b""

    def on_message_begin(self) -> None:
        self._headers, self._body = [], []

    def on_url(self, url: bytes) -> None:
        self._target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.messages += 1


def run_bare(messages: Sequence[tuple[bytes, bytes]]) -> int:
    """CPU ns of httptools with Python callbacks over requests and responses; a parser for each direction."""
    requests, responses = Callbacks(), Callbacks()
    request_parser, response_parser = httptools.HttpRequestParser(requests), httptools.HttpResponseParser(responses)
    start = time.process_time_ns()
    for request, response in messages:
        request_parser.feed_data(request)
        response_parser.feed_data(response)
    spent = time.process_time_ns() - start
    if requests.messages != len(messages) or responses.messages != len(messages):
        raise AssertionError("the bare parser did not see every message")
    return spent


IN_CORE = "export"


def measure(count: int, protocol: Any, rounds: int) -> Iterator[str]:
    """The report, line by line."""
    records = [ring_record(event) for event in events(count, protocol)]
    messages = [http1(exchange) for exchange in exchanges(count)]
    gc.collect()
    gc.freeze()  # as the worker does: what was made up to here is not looked at again
    runs: list[dict[str, int]] = []
    bare: list[int] = []
    for _ in range(rounds):
        bare.append(run_bare(messages))
        runs.append(run_worker(records, count))
    gc.unfreeze()
    sums = [sum(ns for stage, ns in spent.items() if stage != IN_CORE) for spent in runs]
    worker = statistics.median(sums) / count / 1000
    yield f"{protocol}, {count:,} transactions, {rounds} rounds, Python {sys.version.split()[0]}"
    yield f"worker: {1e6 / worker:,.0f} transactions/s on one core, {worker:.1f} us of CPU each"
    for stage in runs[0]:
        median = statistics.median(spent[stage] for spent in runs) / count / 1000
        yield f"  {stage:<8} {median:6.1f} us{'   (in core)' if stage == IN_CORE else ''}"
    yield f"bare httptools with callbacks: {statistics.median(bare) / count / 1000:.1f} us"
    whole = [sum(spent.values()) for spent in runs]
    yield f"to encoded OTLP: {statistics.median(whole) / count / 1000:.1f} us"
    yield f"ratio worker / bare: {_ratio(sums, bare)}"
    yield f"ratio OTLP / bare: {_ratio(whole, bare)}"


def _ratio(spent: Sequence[int], bare: Sequence[int]) -> str:
    ratios = [one / alone for one, alone in zip(spent, bare, strict=True)]
    return f"{statistics.median(ratios):.1f} (rounds: {', '.join(f'{r:.1f}' for r in ratios)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--protocol", choices=["http/1.1", "h2"], default="http/1.1")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for line in measure(options.transactions, options.protocol, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
