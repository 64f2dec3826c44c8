"""What counting a call for the metrics costs, beside prometheus-client's histogram and the OpenTelemetry SDK's.

    python -m bench.metrics [--calls 20000] [--rounds 5] [--series 2000]

The competitors are given each call's labels ready made; ours the transaction, from which it takes them. That all three
hold the same counts is checked first. Then what is done once a scrape and once an export: the text of that many series
for Prometheus, and the OTLP request. Microseconds of CPU time; rounds are interleaved, medians quoted, and the ratio is
what can be compared between machines.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram

from apisensor.export.semantics import KNOWN_METHODS
from apisensor.live.status import Status
from apisensor.metrics.calls import CallMetrics
from apisensor.metrics.conventions import HTTP_BOUNDS_NS, measured
from apisensor.metrics.naming import label
from apisensor.metrics.otlp import RequestEncoder
from apisensor.metrics.prometheus import exposition
from apisensor.transactions.model import Transaction
from bench.otlp import calls as standard_calls

Labelled = list[tuple[dict[str, str], float]]
ROUTES = 50
"""Of the service: with 3 methods and 4 statuses some hundreds of series."""
NAME = "http_server_request_duration_seconds"


def labelled(transactions: list[Transaction]) -> Labelled:
    """What the competitors are given: labels and seconds."""
    found = []
    for t in transactions:
        _, attributes = measured(t, KNOWN_METHODS)
        labels = {label(name): str(value) for name, value in attributes if name != "error.type"}
        found.append((labels, (t.duration_ns or 0) / 1e9))
    return found


def microseconds(run: Callable[[], object], count: int) -> float:
    before = time.process_time()
    run()
    return (time.process_time() - before) / count * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--series", type=int, default=2_000)
    arguments = parser.parse_args()
    transactions = standard_calls(arguments.calls)
    for n, t in enumerate(transactions):
        t.route = f"/v1/things{n % ROUTES}/{{id}}"
    prepared = labelled(transactions)
    seconds = [bound / 1e9 for bound in HTTP_BOUNDS_NS]

    ours = CallMetrics(10_000, started_ns=0)
    registry = CollectorRegistry()
    theirs = Histogram(NAME, "calls", list(prepared[0][0]), buckets=seconds, registry=registry)
    reader = InMemoryMetricReader()
    instrument = (
        MeterProvider([reader], shutdown_on_exit=False)
        .get_meter("bench")
        .create_histogram("calls", explicit_bucket_boundaries_advisory=seconds)
    )

    def run_ours() -> None:
        for t in transactions:
            ours.observe(t)

    def run_client() -> None:
        for labels, value in prepared:
            theirs.labels(**labels).observe(value)

    def run_sdk() -> None:
        for labels, value in prepared:
            instrument.record(value, labels)

    contestants = {"ours": run_ours, "prometheus-client": run_client, "SDK": run_sdk}
    for run in contestants.values():
        run()
    check(ours, registry, reader, arguments.calls)
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(arguments.rounds):
        for name, run in contestants.items():
            times[name].append(microseconds(run, arguments.calls))
    print(f"{arguments.calls} calls, {ours.counters()['metrics.series']} series; {arguments.rounds} rounds")
    base = statistics.median(times["ours"])
    for name, measured_times in times.items():
        middle = statistics.median(measured_times)
        print(f"{name:18} {middle:6.2f} us a call  {middle / base:5.1f} x")
    shown(transactions[0], arguments.series)


def check(ours: CallMetrics, registry: CollectorRegistry, reader: InMemoryMetricReader, count: int) -> None:
    """All three counted every call, in as many series."""
    family = next(iter(registry.collect()))
    theirs = sorted(sample.value for sample in family.samples if sample.name == f"{NAME}_count")
    data = reader.get_metrics_data()
    assert data is not None
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    sdk = sorted(point.count for point in points if isinstance(point, HistogramDataPoint))
    mine = sorted(series.count for series in ours.series())
    assert mine == theirs == sdk
    assert sum(mine) == count


def shown(example: Transaction, count: int) -> None:
    """What one scrape and one export of so many series take."""
    full = CallMetrics(count, started_ns=0)
    for n in range(count):
        full.observe(msgspec.structs.replace(example, route=f"/v1/things{n}"))
    status = Status(version="0", started=0.0)
    encoder = RequestEncoder("cumulative", {"host.name": "node"})
    text = microseconds(lambda: exposition(full, status), count)
    request = microseconds(lambda: encoder.encode(full.series(), (), 0, 1), count)
    print(f"{count} series: text {text:.0f} us each, OTLP {request:.0f} us each")


if __name__ == "__main__":
    main()
