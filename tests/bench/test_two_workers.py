"""Two workers against one: the split loses nothing and cuts no connection, and a short run says what it should."""

from __future__ import annotations

from bench.standard_recording import events
from bench.two_workers import WORKERS, measure, share


def test_the_split_is_by_connection_and_loses_nothing() -> None:
    recording = list(events(400))
    shares = [share(recording, worker) for worker in range(WORKERS)]
    assert sum(map(len, shares)) == len(recording)
    flows = [{event.flow for event in some} for some in shares]
    assert flows[0].isdisjoint(flows[1])
    assert all(flows)
    for some in shares:
        assert [event for event in recording if event in some] == some


def test_one_and_two_workers_do_all_of_it() -> None:
    report = "\n".join(measure(400, "http/1.1", 1))
    for word in ("one worker:", "two workers:", "ratio:", "core:", "receive", "store"):
        assert word in report
