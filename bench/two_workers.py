"""Two workers against one, on the standard recording, split beforehand by connection.

    python -m bench.two_workers [--transactions 20000] [--protocol http/1.1|h2] [--rounds 5]

Each worker is a process of its own with its records in memory. Core's share is not in it, but measured beside it, for
there is one core however many workers. One and two workers take turns. What counts is transactions by the clock on the
wall, so this says something only on an otherwise idle machine with two cores; the CPU of each worker per transaction
says what two lose to each other's use of caches and memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from apisensor.events.model import Bind, Event
from apisensor.processes.garbage import settle
from bench.stages import IN_WORKER, Spent, Stopwatch, run_core, run_worker
from bench.standard_recording import events
from bench.worker import ring_record

WORKERS = 2
PATIENCE_S = 300
"""For a worker to answer."""


class Turn(NamedTuple):
    """Workers that worked at the same time."""

    seconds: float
    """Until the last one was ready."""
    cpu_ns: int
    """Of all of them, for their stages."""


def share(recording: Sequence[Event], worker: int) -> list[Event]:
    """The events of this worker's connections."""
    return [event for event in recording if event.flow % WORKERS == worker]


def _work(ends: Connection, worker: int, count: int, protocol: Any) -> None:
    """A worker's process: told "all" or "share", it does that much and answers with its CPU ns."""
    recording = list(events(count, protocol))
    mine = share(recording, worker)
    work = {
        name: ([ring_record(event) for event in some], sum(not isinstance(event, Bind) for event in some) // 2)
        for name, some in (("all", recording), ("share", mine))
    }
    del recording, mine
    settle()
    ends.send(0)
    while (name := ends.recv()) is not None:
        watch = Stopwatch()
        run_worker(*work[name], watch)
        ends.send(sum(watch.spent.values()))


def _take_turn(ends: Sequence[Connection], name: str) -> Turn:
    start = time.monotonic()
    for end in ends:
        end.send(name)
    cpu_ns = sum(_answer(end) for end in ends)
    return Turn(time.monotonic() - start, cpu_ns)


def _answer(end: Connection) -> int:
    if not end.poll(PATIENCE_S):
        raise TimeoutError("a worker did not answer")
    return int(end.recv())


def core_share(count: int, protocol: Any) -> Spent:
    """CPU ns of core's stages over the same recording."""
    records = [ring_record(event) for event in events(count, protocol)]
    packets = run_worker(records, count, Stopwatch())
    settle()  # as core does
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as directory:
        run_core(packets, watch, f"{directory}/core.db")
    return watch.spent


def measure(count: int, protocol: Any, rounds: int) -> Iterator[str]:
    """The report, line by line."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(WORKERS)]
    workers = [
        context.Process(target=_work, args=(theirs, number, count, protocol), daemon=True)
        for number, (_, theirs) in enumerate(pipes)
    ]
    ends = [ours for ours, _ in pipes]
    for worker in workers:
        worker.start()
    try:
        for end in ends:
            _answer(end)
        turns = [(_take_turn(ends[:1], "all"), _take_turn(ends, "share")) for _ in range(rounds)]
        for end in ends:
            end.send(None)
    finally:
        for worker in workers:
            worker.join(1)
            worker.kill()
    one, two = ([turn[which] for turn in turns] for which in (0, 1))
    yield f"{protocol}, {count:,} transactions, {rounds} interleaved rounds, medians"
    for name, some in (("one worker", one), ("two workers", two)):
        rate = count / statistics.median(turn.seconds for turn in some)
        cpu = statistics.median(turn.cpu_ns for turn in some) / count / 1000
        yield f"{name + ':':<12} {rate:,.0f} transactions/s, {cpu:.1f} us of CPU each"
    ratios = [alone.seconds / both.seconds for alone, both in turns]
    yield f"ratio:       {statistics.median(ratios):.2f} (rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})"
    spent = core_share(count, protocol)
    stages = ", ".join(f"{stage} {ns / count / 1000:.1f}" for stage, ns in spent.items() if stage not in IN_WORKER)
    yield f"core:        {sum(spent.values()) / count / 1000:.1f} us of CPU each ({stages})"


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
