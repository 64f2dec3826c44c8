"""The status document -> metrics of the sensor itself. docs/metrics.md lists them; a test compares.

    kernel.records               apisensor.kernel.records                       counter
    kernel.lost.ring_full        apisensor.lost        part=kernel cause=ring_full
    kernel.lost.ring_full_bytes  apisensor.lost.bytes  part=kernel cause=ring_full
    live.clients                 apisensor.live.clients                         gauge, for it is in GAUGES

A counter that this module has never heard of is shown like any other: the name says what it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, Literal

from apisensor.live.status import LibraryStatus, Part, Status
from apisensor.metrics.conventions import text
from apisensor.metrics.model import Metric, Value

GAUGES: Final = frozenset(
    {
        "core.printing",
        "core.views_waiting",
        "core.waiting",
        "detect.live_findings",
        "detect.tracked",
        "governor.level",
        "governor.used_percent",
        "inventory.endpoints",
        "live.clients",
        "live.subscribers",
        "metrics.points_queued",
        "metrics.series",
        "store.queued",
        "store.queued_bytes",
    }
)
"""Entries of the status document's counters that go up and down; all others only rise."""

EXPORT_GAUGES: Final = frozenset({"queued"})
"""The same of its export part."""

BYTES = "_bytes"

LOST: Final = Metric("apisensor.lost", "counter", "", "What the sensor lost, by part and cause; docs/metrics.md.")
LOST_BYTES: Final = Metric("apisensor.lost.bytes", "counter", "By", "Bytes that the sensor lost, by part and cause.")
BUILD: Final = Metric("apisensor.build_info", "gauge", "", "Always 1; the label says which version runs.")
START: Final = Metric("apisensor.start_time", "gauge", "s", "Unix time at which the sensor was started.")
PART_UP: Final = Metric(
    "apisensor.part.up", "gauge", "", "1: the process runs, or rests. 0: it is being started again."
)
PART_RESTARTS: Final = Metric("apisensor.part.restarts", "counter", "", "How often the process was started again.")
PART_MEMORY: Final = Metric("apisensor.part.memory", "gauge", "By", "Memory of the process (Pss).")
MAPS_MEMORY: Final = Metric("apisensor.maps.memory", "gauge", "By", "Memory of the kernel that the BPF maps take.")
PART_UPTIME: Final = Metric("apisensor.part.uptime", "gauge", "s", "How long the process has been running.")
LIBRARIES: Final = Metric("apisensor.libraries", "gauge", "", "TLS libraries found, with probes or without.")
BLIND: Final = Metric(
    "apisensor.blind_processes", "gauge", "", "Processes with TLS traffic none of whose TLS libraries has probes."
)
EXPORT_STATE: Final = Metric("apisensor.export.state", "gauge", "", "Always 1; the label says what export does.")
EXPORT_DROPPED: Final = Metric("apisensor.export.dropped", "counter", "", "Spans that were dropped, by cause.")

FIXED: Final = (
    *(LOST, LOST_BYTES, BUILD, START, PART_UP, PART_RESTARTS, PART_MEMORY, MAPS_MEMORY, PART_UPTIME),
    *(LIBRARIES, BLIND, EXPORT_STATE, EXPORT_DROPPED),
)
"""Those whose names do not come from the status document."""


def health(status: Status, counters: Mapping[str, int]) -> Iterator[Value]:
    """All values. counters: further ones, named as in the status document."""
    yield Value(BUILD, (("version", text(status.version)),), 1)
    yield Value(START, (), status.started)
    if status.maps:
        yield Value(MAPS_MEMORY, (), sum(status.maps.values()))
    for part in status.parts:
        yield from _part(part)
    for name, count in (status.counters | dict(counters)).items():
        yield counter(name, count)
    yield from _libraries(status.libraries)
    blind = sum(process.blind for process in status.processes)
    yield Value(BLIND, (), blind)
    for name, value in (status.export or {}).items():
        yield from _export(name, value)


def counter(name: str, count: int) -> Value:
    """The value of one of the status document's counters."""
    part, lost, cause = name.partition(".lost.")
    if lost and cause.endswith(BYTES):
        return Value(LOST_BYTES, (("part", text(part)), ("cause", text(cause.removesuffix(BYTES)))), count)
    if lost:
        return Value(LOST, (("part", text(part)), ("cause", text(cause))), count)
    gauge = name in GAUGES
    unit = "By" if name.endswith((BYTES, ".bytes")) else ""
    description = f"{text(name)} {'now' if gauge else 'since the start'}; docs/metrics.md."
    return Value(Metric(f"apisensor.{text(name)}", "gauge" if gauge else "counter", unit, description), (), count)


def _part(part: Part) -> Iterator[Value]:
    named = (("part", text(part.name)),)
    yield Value(PART_UP, named, int(part.pid is not None or part.resting))
    yield Value(PART_RESTARTS, named, part.restarts)
    yield Value(PART_UPTIME, named, part.uptime_seconds)
    if part.memory_bytes is not None:
        yield Value(PART_MEMORY, named, part.memory_bytes)


def _libraries(libraries: list[LibraryStatus]) -> Iterator[Value]:
    counts = Counter((library.library, library.probes > 0) for library in libraries)
    for (library, attached), count in counts.items():
        yield Value(LIBRARIES, (("library", text(library)), ("attached", "true" if attached else "false")), count)


def _export(name: str, value: int | float | str | None) -> Iterator[Value]:
    before, dropped, cause = name.partition("dropped.")
    if name == "state" and isinstance(value, str):
        yield Value(EXPORT_STATE, (("state", text(value)),), 1)
    elif isinstance(value, str) or value is None:
        return  # the endpoint and the last error, which are for people
    elif dropped and not before:
        yield Value(EXPORT_DROPPED, (("cause", text(cause)),), value)
    else:
        kind: Literal["gauge", "counter"] = "gauge" if name in EXPORT_GAUGES else "counter"
        yield Value(Metric(f"apisensor.export.{text(name)}", kind, "", f"Spans {text(name)} by export."), (), value)
