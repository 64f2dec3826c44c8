"""What a transaction costs: the standard recording through every stage from ring record to encoded OTLP and the store.

    python -m bench.worker [--transactions 20000] [--protocol http/1.1|h2] [--hpack compiled|python] [--rounds 5]

Each round runs the stages of a worker and of core (`stages`) over the recording, and beside it a bare httptools parser
over the same exchanges in HTTP/1.1 (`bare`). CPU time is the process's own (user and system). The machine's speed
changes within seconds, so rounds are interleaved, medians quoted, and the ratio is what can be compared between
machines.
"""

from __future__ import annotations

import argparse
import gc
import ipaddress
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

from apisensor.compiled import told
from apisensor.events.decode import ENDPOINTS, FLAG_CALL_START, FLAG_TLS, KIND_BIND, KIND_CHUNK, RECORD
from apisensor.events.model import Address, Bind, Chunk, Event
from apisensor.processes.garbage import settle
from apisensor.protocols import hpack_codec
from bench.bare import messages, run_bare
from bench.stages import IN_WORKER, Spent, microseconds, run
from bench.standard_recording import events

TO_OTLP = (*IN_WORKER, "receive", "export")
"""From ring record to encoded OTLP, the way between the processes included."""
WITH_STORE = (*TO_OTLP, "compress", "store")
ALL = (*WITH_STORE, "count")
"""With the inventory, the detectors and the metrics: every stage that a transaction passes."""

_WITHOUT_JH2 = "import sys; sys.modules['jh2._hazmat'] = None; from bench.worker import main; main()"
"""As where the compiled HPACK is not installed."""


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


def measure(count: int, protocol: Any, rounds: int) -> Iterator[str]:
    """The report, line by line."""
    records = [ring_record(event) for event in events(count, protocol)]
    alone = messages(count)
    thresholds = gc.get_threshold()
    settle()  # as the parts themselves do
    runs: list[Spent] = []
    bare: list[int] = []
    with tempfile.TemporaryDirectory(prefix="apisensor-bench-") as directory:
        for _ in range(rounds):
            bare.append(run_bare(alone))
            runs.append(run(records, count, directory))
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    worker = statistics.median(microseconds(runs, IN_WORKER, count))
    hpack = "compiled" if hpack_codec.COMPILED else "in Python"
    yield f"{protocol}, {count:,} transactions, {rounds} rounds, Python {sys.version.split()[0]}"
    yield f"modules: {told()}; HPACK: {hpack}"
    yield f"worker: {1e6 / worker:,.0f} transactions/s on one core, {worker:.1f} us of CPU each"
    for stage in runs[0]:
        place = "" if stage in IN_WORKER else "   (in core)"
        yield f"  {stage:<8} {statistics.median(microseconds(runs, [stage], count)):6.1f} us{place}"
    yield f"bare httptools with callbacks: {statistics.median(bare) / count / 1000:.1f} us"
    sums = {"worker": IN_WORKER, "to encoded OTLP": TO_OTLP, "with store": WITH_STORE, "all of it": ALL}
    for name, stages in sums.items():
        each = microseconds(runs, stages, count)
        yield f"{name}: {statistics.median(each):.1f} us, ratio {name} / bare: {_ratio(each, bare, count)}"


def _ratio(each: Sequence[float], bare: Sequence[int], count: int) -> str:
    ratios = [one * count * 1000 / alone for one, alone in zip(each, bare, strict=True)]
    return f"{statistics.median(ratios):.1f} (rounds: {', '.join(f'{r:.1f}' for r in ratios)})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--transactions", type=int, default=20_000)
    parser.add_argument("--protocol", choices=["http/1.1", "h2"], default="http/1.1")
    parser.add_argument("--hpack", choices=["compiled", "python"], default="compiled")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    if options.hpack == "python" and hpack_codec.COMPILED:
        os.execv(sys.executable, [sys.executable, "-c", _WITHOUT_JH2, *sys.argv[1:]])
    for line in measure(options.transactions, options.protocol, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
