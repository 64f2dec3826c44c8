"""What a limit of the sensor kept from being read, counted by the limit's name."""

from __future__ import annotations

from apisensor.content import codings
from apisensor.protocols import anomalies
from apisensor.transactions.counts import Count
from apisensor.transactions.flow import Counters

LIMITS = {
    anomalies.HEADER_BYTES: Count.LIMIT_HEADER_BYTES,
    anomalies.HEADER_COUNT: Count.LIMIT_HEADER_COUNT,
    anomalies.FLOW_BUFFER: Count.LIMIT_FLOW_BUFFER,
    anomalies.PIPELINE: Count.LIMIT_PIPELINE,
    anomalies.STREAMS: Count.LIMIT_STREAMS,
    anomalies.INFLATE_LIMIT: Count.LIMIT_INFLATE,
    codings.SIZE_LIMIT: Count.LIMIT_CODING_SIZE,
    codings.RATIO_LIMIT: Count.LIMIT_CODING_RATIO,
    codings.COUNT_LIMIT: Count.LIMIT_CODING_COUNT,
}
"""Anomaly that names a limit: its counter."""


def count_limits(counts: Counters, found: list[str]) -> None:
    """Count the limits among a transaction's anomalies."""
    for name in found:
        limit = LIMITS.get(name)
        if limit is not None:
            counts[limit] += 1
