"""What the analyzer costs: events of the standard recording to exchanges, beside a bare httptools parse.

    python -m bench.analyzer [--transactions 20000] [--protocol http/1.1|h2] [--rounds 5]

The bare parse is bench.bare's. Rounds are interleaved, because a machine's speed changes within seconds; the ratio is
what can be compared between machines.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time

from apisensor.events.model import Event
from apisensor.transactions.analyzer import Analyzer, Count, Limits
from bench.bare import messages, run_bare
from bench.standard_recording import Protocol, events


def run_analyzer(recording: list[Event], count: int) -> int:
    """CPU ns of an analyzer over the recording."""
    analyzer = Analyzer(Limits())
    feed = analyzer.feed
    found = 0
    start = time.process_time_ns()
    for event in recording:
        found += len(feed(event))
    spent = time.process_time_ns() - start
    if found != count or analyzer.counts[Count.EXCHANGES_INCOMPLETE]:
        raise AssertionError(f"{found} of {count} exchanges, {analyzer.counts[Count.EXCHANGES_INCOMPLETE]} incomplete")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--protocol", choices=["http/1.1", "h2"], default="http/1.1")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    count = options.transactions
    protocol: Protocol = options.protocol
    recording = list(events(count, protocol))
    alone = messages(count)
    gc.collect()
    gc.freeze()
    pairs = [(run_bare(alone), run_analyzer(recording, count)) for _ in range(options.rounds)]
    bare, analyzer = (statistics.median(side) / count / 1000 for side in zip(*pairs, strict=True))
    print(f"{protocol}, {count:,} transactions, {options.rounds} interleaved rounds, medians")
    print(f"analyzer: {1e6 / analyzer:,.0f} transactions/s on one core, {analyzer:.1f} us each")
    print(f"bare httptools with callbacks (HTTP/1.1): {bare:.1f} us each")
    print(f"ratio: {statistics.median(spent / alone for alone, spent in pairs):.2f}")


if __name__ == "__main__":
    main()
