"""Calls in steps of time, for plots: their widths, how long they are kept, how their histograms are coded."""

from __future__ import annotations

import msgspec

from apisensor.inventory.model import Histogram

TOTAL_STEP = 60
"""Seconds: all calls together."""
ENDPOINT_STEP = 300
"""Seconds: of one endpoint. At 100,000 endpoints a minute each would be 144 million rows a day."""
HOUR = 3_600
DAY = 86_400

KEPT: dict[int, int] = {TOTAL_STEP: 2 * DAY, ENDPOINT_STEP: 2 * DAY, HOUR: 30 * DAY}
"""Width of a bucket: seconds for which it is kept. At most 576 + 720 rows an endpoint, and 2,880 more for all."""
OWNER_HOURS_KEPT = 30 * DAY


def widths(endpoint: str | None) -> tuple[int, ...]:
    """Of the buckets kept, rising; endpoint "" or None: of all calls together."""
    return (ENDPOINT_STEP, HOUR) if endpoint else (TOTAL_STEP, ENDPOINT_STEP, HOUR)


_Coded = tuple[int, int, float, float, dict[int, int]]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Coded, strict=False).decode


def encode(h: Histogram) -> bytes:
    """Without field names: they would be a third of a bucket."""
    return _encode((h.zero, h.total, round(h.sum, 3), round(h.largest, 3), h.counts))


def decode(body: bytes) -> Histogram:
    """
    Raises:
        msgspec.MsgspecError: it is no histogram.
    """
    zero, total, summed, largest, counts = _decode(body)
    return Histogram(counts, zero, total, summed, largest)
