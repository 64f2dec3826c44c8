"""Quantiles from counts by magnitude: logarithmic buckets, as in DDSketch (Masson et al., VLDB 2019).

Bucket i holds the values v with GAMMA ** (i - 1) < v <= GAMMA ** i. Whatever lies in it is told as the point that is at
most ERROR away from both ends, relative to the value. Counts add up, so histograms merge in any order.

    value     0 ........ SMALLEST ........................................ LARGEST ....
    counted   zero       buckets, told within ERROR                       last bucket, told as `largest`
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from apisensor.inventory.model import Histogram

ERROR = 0.025
"""Relative error of a quantile. 2.5 %: no latency plot shows less, and a second's calls of one endpoint fill few
buckets."""
SMALLEST = 1e-3
"""Smaller values count as zero: a microsecond in ms, a thousandth of a byte."""
LARGEST = 1e13
"""Larger values share the last bucket: 300 years in ms, 10 TB."""

GAMMA = (1 + ERROR) / (1 - ERROR)
_PER_E = 1 / math.log(GAMMA)
_FIRST = math.ceil(math.log(SMALLEST) * _PER_E)
_LAST = math.ceil(math.log(LARGEST) * _PER_E)
BUCKETS = _LAST - _FIRST + 1
"""Buckets that a histogram can have: 737. One endpoint's latencies touch some dozens."""

_log, _ceil = math.log, math.ceil


def add(h: Histogram, values: Sequence[float]) -> None:
    """Counts values; negative ones, which a clock may yield, as zero."""
    counts, zero, total = h.counts, 0, h.sum
    for value in values:
        if SMALLEST <= value < LARGEST:
            index = _ceil(_log(value) * _PER_E)
            counts[index] = counts.get(index, 0) + 1
            total += value
        elif value >= LARGEST:
            counts[_LAST] = counts.get(_LAST, 0) + 1
            total += value
        else:
            zero += 1
            total += max(value, 0)
    h.zero += zero
    h.total += len(values)
    h.sum = total
    h.largest = max(h.largest, max(values, default=0))


def merge(into: Histogram, more: Histogram) -> None:
    """Adds what `more` counted."""
    counts = into.counts
    for index, count in more.counts.items():
        bounded = min(max(index, _FIRST), _LAST)  # it may come from a file
        counts[bounded] = counts.get(bounded, 0) + count
    into.zero += more.zero
    into.total += more.total
    into.sum += more.sum
    into.largest = max(into.largest, more.largest)


def quantile(h: Histogram, q: float) -> float | None:
    """The value that a share q (0 to 1) of the values does not exceed, within ERROR; None: there are no values.

    Exact where it is zero, the largest of all, or beyond LARGEST by being the largest.
    """
    if h.total <= 0:
        return None
    rank = min(max(q, 0.0), 1.0) * (h.total - 1)
    seen = h.zero
    if rank < seen:
        return 0.0
    for index in sorted(h.counts):
        seen += h.counts[index]
        if rank < seen:
            return h.largest if index == _LAST else min(2 * GAMMA**index / (GAMMA + 1), h.largest)
    return h.largest
