"""The bench of the worker measures what it says: all transactions, each stage, the same bytes beside it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from apisensor.events.decode import decode
from bench import stages, worker
from bench.bare import messages, run_bare
from bench.standard_recording import Protocol, events


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_ring_records_decode_to_the_recording(protocol: Protocol) -> None:
    recording = list(events(200, protocol))
    assert [decode(memoryview(worker.ring_record(event))) for event in recording] == recording


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_every_transaction_comes_out_and_every_stage_costs(protocol: Protocol, tmp_path: Path) -> None:
    records = [worker.ring_record(event) for event in events(2_500, protocol)]
    spent = stages.run(records, 2_500, str(tmp_path))
    assert set(spent) == set(worker.ALL)
    assert all(ns > 0 for ns in spent.values())
    (database,) = tmp_path.glob("*.db")
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM transactions").fetchone() == (2_500,)


def test_a_recording_with_a_hole_is_refused(tmp_path: Path) -> None:
    records = [worker.ring_record(event) for event in events(50)]
    with pytest.raises(AssertionError, match="49 of 50"):
        stages.run([*records[:10], *records[11:]], 50, str(tmp_path))


def test_the_bare_parser_sees_every_message() -> None:
    recording = messages(100)
    assert run_bare(recording) > 0
    with pytest.raises(AssertionError):
        run_bare([*recording, recording[0]._replace(response=recording[0].response[:-1])])


def test_the_report_names_rate_stages_and_ratio() -> None:
    report = "\n".join(worker.measure(500, "http/1.1", 2))
    for word in ("transactions/s", "analyse", "bare httptools"):
        assert word in report
    for sum_of in ("worker", "to encoded OTLP", "with store", "all of it"):
        assert f"ratio {sum_of} / bare" in report
