"""The bench of the worker measures what it says: all transactions, each stage, the same bytes beside it."""

from __future__ import annotations

import pytest

from apisensor.events.decode import decode
from bench import worker
from bench.standard_recording import Protocol, events, exchanges, http1


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_ring_records_decode_to_the_recording(protocol: Protocol) -> None:
    recording = list(events(200, protocol))
    assert [decode(memoryview(worker.ring_record(event))) for event in recording] == recording


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_every_transaction_comes_out_and_every_stage_costs(protocol: Protocol) -> None:
    records = [worker.ring_record(event) for event in events(2_500, protocol)]
    spent = worker.run_worker(records, 2_500)
    assert list(spent) == ["decode", "analyse", "inspect", "redact", "send", "export"]
    assert all(ns > 0 for ns in spent.values())


def test_a_recording_with_a_hole_is_refused() -> None:
    records = [worker.ring_record(event) for event in events(50)]
    with pytest.raises(AssertionError, match="49 of 50"):
        worker.run_worker([*records[:10], *records[11:]], 50)


def test_the_bare_parser_sees_every_message() -> None:
    messages = [http1(exchange) for exchange in exchanges(100)]
    assert worker.run_bare(messages) > 0
    with pytest.raises(AssertionError):
        worker.run_bare([*messages, (messages[0][0], messages[0][1][:-1])])


def test_the_report_names_rate_stages_and_ratio() -> None:
    report = "\n".join(worker.measure(500, "http/1.1", 2))
    for word in ("transactions/s", "analyse", "bare httptools", "ratio worker / bare", "ratio OTLP / bare"):
        assert word in report
