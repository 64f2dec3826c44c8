"""Captures that nobody made for these tests (captures.py): replay says of them what tshark does.

`python -m tests.replay.foreign FOLDER` does the same with any others. What is decided here was decided by the RFCs.
"""

from __future__ import annotations

import subprocess

from apisensor.processes.replay import replay
from apisensor.processes.replay_summary import ReplaySummary
from apisensor.replay.errors import ReplayError

from .captures import of_package
from .foreign import compare


def test_of_tcpdump_none_breaks_anything() -> None:
    """Many were made to break tcpdump: packets that lie, every link type, damaged files."""
    paths = of_package("tcpdump")
    assert len(paths) > 600
    command = ["capinfos", "-T", "-r", "-M", "-c", *map(str, paths)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    packets = dict(line.rsplit("\t", 1) for line in told.splitlines())
    read: list[ReplaySummary] = []
    refusals = []
    for path in paths:
        try:
            summary = replay(str(path), lambda _: None)
        except ReplayError as error:
            refusals.append(str(error))
            continue
        assert not {"failed_exchanges", "flows_failed"} & summary.losses.keys(), path
        if summary.error is None:
            assert str(summary.packets) == packets[str(path)], path
            read.append(summary)
        else:
            refusals.append(summary.error)
    assert all("link type" in line or "version" in line or "corrupt" in line for line in refusals), refusals
    assert not any("\n" in line for line in refusals)
    assert len(read) > 350
    assert sum(summary.transactions for summary in read) == 1


def test_of_tcpflow_each_exchange_is_what_tshark_says() -> None:
    found = [compare(path) for path in of_package("tcpflow")]
    assert [(one.path.name, one.failed) for one in found if one.failed] == []
    assert sum(one.same for one in found) == 61
    assert sum(one.incomplete for one in found) == 11
    assert sum(one.unasked for one in found) == 5
    assert [one.only_replay + one.only_tshark for one in found if one.only_replay or one.only_tshark] == []
    # tshark puts segments in order only behind what it has seen: here the status line comes after the content.
    ((late, pairs),) = [(one.path.name, one.differ) for one in found if one.differ]
    ((_, ours, theirs),) = pairs
    assert (late, ours.status, theirs.status, ours.response_size) == ("test5-lines-randomized2.pcap", 200, 0, 1590)
