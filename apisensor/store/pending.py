"""What the inventory has said and the database does not have yet.

Deltas of one endpoint are merged, so that a busy one costs one read and one write every few seconds, and so that what
was counted while the disk was full is kept: by endpoint and minute, not by call.
"""

from __future__ import annotations

import msgspec

from apisensor.inventory import histogram, profile
from apisensor.inventory.model import Alias, EndpointDelta, Histogram, InventoryDelta
from apisensor.store.traffic import ENDPOINT_STEP, HOUR, TOTAL_STEP

MAX_ENDPOINTS = 20_000
"""Endpoints that wait: with a profile of some 5 KiB in memory, 100 MiB. Deltas of further ones are not kept, and the
calls counted."""
MAX_BUCKETS = 50_000
"""Buckets of traffic that wait, some 1 KiB each. Further calls are missing in the plots, and counted."""
MAX_ALIASES = 200_000
"""Aliases that wait, some 200 bytes each: twice the endpoints that an inventory holds by default."""


class Bucket(msgspec.Struct, gc=False):
    """Calls within one step of time."""

    count: int = 0
    errors: int = 0
    latency: Histogram = msgspec.field(default_factory=Histogram)


class OwnerHour(msgspec.Struct, gc=False):
    """Calls of one owner within an hour."""

    calls: int = 0
    errors: int = 0
    unmatched: int = 0


class Pending:
    """One thread uses it."""

    def __init__(self) -> None:
        self.endpoints: dict[str, EndpointDelta] = {}
        self.buckets: dict[tuple[str, int], Bucket] = {}
        """Id of the endpoint, "" for all together, and when the bucket begins."""
        self.hours: dict[tuple[int, str, str], OwnerHour] = {}
        """Hour, side, owner."""
        self.aliases: list[Alias] = []
        self.lost_calls = 0
        """Calls that are missing in profiles or plots."""
        self.lost_aliases = 0

    def __bool__(self) -> bool:
        return bool(self.endpoints or self.aliases or self.hours)

    def emptied(self, lost: bool = False) -> Pending:
        """A new one that goes on counting what was lost. lost: what is in this one was not written."""
        new = Pending()
        new.lost_calls, new.lost_aliases = self.lost_calls, self.lost_aliases
        if lost:
            new.lost_calls += sum(delta.profile.count for delta in self.endpoints.values())
            new.lost_aliases += len(self.aliases)
        return new

    def add(self, delta: InventoryDelta, now_s: int) -> None:
        """Takes the delta over: it belongs to the store from here on."""
        for endpoint in delta.endpoints:
            self._endpoint(endpoint)
        if room := MAX_ALIASES - len(self.aliases):
            self.aliases += delta.aliases[:room]
        self.lost_aliases += max(0, len(delta.aliases) - room)
        for unmatched in delta.unmatched:
            self._hour(now_s, unmatched.side, unmatched.owner, OwnerHour(unmatched=unmatched.count))

    def _endpoint(self, endpoint: EndpointDelta) -> None:
        more = endpoint.profile
        known = self.endpoints.get(endpoint.id)
        if known is None and len(self.endpoints) >= MAX_ENDPOINTS:
            self.lost_calls += more.count
            return
        time = more.last_ns // 1_000_000_000
        if more.count:
            self._bucket(endpoint.id, time // ENDPOINT_STEP * ENDPOINT_STEP, endpoint)
            self._bucket("", time // TOTAL_STEP * TOTAL_STEP, endpoint)
            self._hour(time, endpoint.key.side, endpoint.key.owner, OwnerHour(more.count, more.errors))
        if known is None:
            self.endpoints[endpoint.id] = endpoint
        else:
            profile.merge(known.profile, more)
            known.walled, known.rpc = endpoint.walled, endpoint.rpc

    def _bucket(self, endpoint: str, time: int, delta: EndpointDelta) -> None:
        bucket = self.buckets.get((endpoint, time))
        if bucket is None:
            if len(self.buckets) >= MAX_BUCKETS:
                self.lost_calls += delta.profile.count
                return
            bucket = self.buckets[endpoint, time] = Bucket()
        bucket.count += delta.profile.count
        bucket.errors += delta.profile.errors
        histogram.merge(bucket.latency, delta.profile.latency_ms)

    def _hour(self, time: int, side: str, owner: str, more: OwnerHour) -> None:
        key = (time // HOUR * HOUR, side, owner)
        hour = self.hours.get(key)
        if hour is None:
            if len(self.hours) >= MAX_BUCKETS:
                self.lost_calls += more.calls + more.unmatched
                return
            hour = self.hours[key] = OwnerHour()
        hour.calls += more.calls
        hour.errors += more.errors
        hour.unmatched += more.unmatched
