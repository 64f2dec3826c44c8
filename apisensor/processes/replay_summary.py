"""What a replayed file held and what is missing, for a person and for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from apisensor.content.limited import LIMITS
from apisensor.transactions.counts import Count

_ANALYSIS_LOSSES = {
    Count.FLOWS_EVICTED,
    Count.FLOWS_FAILED,
    Count.FLOWS_OVER_MEMORY,
    Count.FLOWS_REJECTED,
    Count.GAPS_OF_UNKNOWN_LENGTH,
    Count.HELD_OVER,
    Count.HPACK_ERRORS,
    Count.LIMIT_HITS,
    Count.ORPHAN_RESPONSES,
    Count.PARSE_ERRORS,
    Count.UNBOUND,
    Count.UNREAD_BYTES,
}
"""Counters of the analysis that say that something of the traffic is missing from the transactions."""

_LIMITS = frozenset(LIMITS.values())
_BYTES_LOST = {
    count for count in Count if count.name.startswith("BYTES_LOST_") and count is not Count.BYTES_LOST_SKIPPED
}

_NOT_EXAMINED_FLOWS = {
    Count.FLOWS_NOT_HTTP: "connections that are not HTTP",
    Count.FLOWS_CIPHERTEXT: "connections that are encrypted",
    Count.FLOWS_SWITCHED: "connections that switched to another protocol",
}


class ReplaySummary(msgspec.Struct, frozen=True):
    """What a file held, and what is missing."""

    path: str
    format: str
    """"pcap", "pcapng", "recording"."""
    packets: int
    """0 for recordings."""
    events: int
    """Records that the analysis was fed with."""
    flows: int
    """Flows that carried bytes."""
    transactions: int
    findings: int
    incomplete: dict[str, int]
    """incomplete_reason: transactions."""
    losses: dict[str, int]
    """Counter: count. Of packet captures replay/counters.py, of recordings those of the recording sensor
    (`recorded.NAME`), of the analysis transactions/counts.py."""
    not_examined: dict[str, int]
    """What was not looked into: packets by what they carry, and flows that are not HTTP (Count, lower case)."""
    notes: dict[str, int]
    """Oddities for which nothing is missing (replay/counters.py)."""
    error: str | None
    """Where and why the file could not be read further, one line; None: it was read to its end."""

    def lines(self) -> list[str]:
        """A few lines for a person."""
        read = f"{self.packets} packets" if self.format != "recording" else f"{self.events} events"
        complete = self.transactions - sum(self.incomplete.values())
        out = [
            f"{self.path} ({self.format}): {read}, {self.flows} flows, {self.transactions} transactions, "
            f"{complete} of them complete"
        ]
        if self.findings:
            out.append(f"findings: {self.findings}")
        for title, counted in (
            ("incomplete", self.incomplete),
            ("lost", self.losses),
            ("not looked into", self.not_examined),
            ("noticed", self.notes),
        ):
            if counted:
                words = _packets if title == "not looked into" else _words
                out.append(f"{title}: " + ", ".join(f"{count} {words(name)}" for name, count in counted.items()))
        if self.error is not None:
            out.append(self.error)
        return out


def _words(name: str) -> str:
    return name.replace("_", " ")


def _packets(name: str) -> str:
    return _FLOW_WORDS.get(name) or f"packets ({_words(name)})"


_FLOW_WORDS = {count.name.lower(): words for count, words in _NOT_EXAMINED_FLOWS.items()}


def analysis_losses(counts: Sequence[int], *, of_packets: bool) -> dict[str, int]:
    """Counters of the analysis, by `Count`, that say that something is missing.

    The bytes that a packet capture lacks are counted by cause where its packets are put together.
    """
    return {
        count.name.lower(): counts[count]
        for count in Count
        if counts[count]
        and (count in _ANALYSIS_LOSSES or count in _LIMITS or (count in _BYTES_LOST and not of_packets))
    }


def flows_not_examined(counts: Sequence[int]) -> dict[str, int]:
    """Flows that were not looked into, by why."""
    return {count.name.lower(): counts[count] for count in _NOT_EXAMINED_FLOWS if counts[count]}


def recorded_losses(runs: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What the recording sensors lost themselves: the last totals of each run, summed."""
    losses: dict[str, int] = {}
    for counters in runs:
        for cause, value in sorted(counters.items()):
            if value:
                losses[f"recorded.{cause}"] = losses.get(f"recorded.{cause}", 0) + value
    return losses
