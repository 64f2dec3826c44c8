"""docs/recording.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from apisensor.replay import recording_pb2 as pb
from apisensor.replay.counters import LOSSES, NOTES
from apisensor.replay.limits import MAX_RECORD, ReplayLimits
from apisensor.replay.recording import MAX_CHUNK
from apisensor.replay.source import RECORDING_MAGIC

TEXT = (Path(__file__).parents[2] / "docs" / "recording.md").read_text()


def test_counters() -> None:
    documented = dict(re.findall(r"^\| `(\w+_\w+)` \| (.+) \|$", TEXT, re.MULTILINE))
    assert {name: documented.get(name) for name in LOSSES | NOTES} == LOSSES | NOTES
    assert set(documented) - {"process_gone"} == set(LOSSES | NOTES)


def test_kinds_of_records() -> None:
    table = TEXT.partition("| record | |")[2].partition("\n\n")[0]
    named = {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1] if row else "")}
    assert named == {field.name for field in pb.Record.DESCRIPTOR.fields}


def test_numbers() -> None:
    text = " ".join(TEXT.split())
    limits = ReplayLimits()
    assert f"{limits.reorder_packets} more packets" in text
    assert f"{limits.reorder_ns // 1_000_000} ms of capture time" in text
    assert (
        f"more than {limits.flow_bytes >> 20} MiB of the connection, or {limits.total_bytes >> 20} MiB in all" in text
    )
    assert f"at most {MAX_RECORD >> 20} MiB, a chunk in it {MAX_CHUNK >> 20} MiB" in text
    assert bytes.fromhex("0a 0a 08") + b"APISREC1" == RECORDING_MAGIC
    assert "`0a 0a 08` and this" in text
