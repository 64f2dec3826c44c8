"""The thread that delivers encoded batches, and the bounded queue in front of it.

    put ──> queue [head ...] ──send──> Accepted ──> sent, rejected
                     ^                 Refused ───> refused
                     └── backoff <──── Retryable    (head stays; given up only when it is old and room is needed)

One request is under way at a time. A batch stays in the queue, and in its count, until its fate is known. With a dead
receiver the queue fills and stays full: then a head that has waited longer than the export timeout gives way, so that
what comes back first after an outage is recent. While there is room nothing is given up, however long the outage.

Receivers may see a batch twice where an answer was lost (OTLP specification, "Duplicate Data").
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable

import msgspec

from apisensor.export.outcome import Accepted, Outcome, Refused, Retryable, Sender, one_line

CAUSES = ("queue_full", "rejected", "refused", "retries_exhausted", "encode_error", "shutdown")
"""Why a span or data point was dropped; docs/export.md explains each, a test compares."""

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 5.0
"""Backoff doubles from the first to the longest: a receiver that is back is noticed within five seconds."""
JITTER = 0.2
"""Share of the backoff, either way, so that a fleet does not come back in step."""
CLOSING_BACKOFF_S = 0.25
"""Between attempts while close() waits."""
LONGEST_REQUESTED_S = 300.0
"""A longer wait that a receiver asks for counts as this."""
LAST_JOIN_S = 1.0
"""For the thread to notice that its sender was closed."""


class Batch(msgspec.Struct, frozen=True):
    request: bytes
    """Encoded, of the sender's signal."""
    items: int
    """Spans or data points in it; all counts are in these."""


class Deliveries(msgspec.Struct, frozen=True):
    """Counters, consistent with each other."""

    sent: int
    dropped: dict[str, int]
    queued: int
    queued_bytes: int
    requests: int
    retries: int
    last_error: str | None
    state: str


class Delivery:
    """Owns the sender, the queue and the thread. put and close belong to one thread; counters may be read by any."""

    def __init__(
        self,
        sender: Sender,
        *,
        timeout_s: float,
        export_timeout_s: float,
        crowded_items: int,
        secrets: tuple[str, ...] = (),
        first_backoff_s: float = FIRST_BACKOFF_S,
        longest_backoff_s: float = LONGEST_BACKOFF_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            timeout_s: of one request.
            export_timeout_s: how long a batch may wait once more than crowded_items are queued.
            secrets: strings that never appear in last_error.
            clock: monotonic seconds.
        """
        self._sender = sender
        self._timeout_s = timeout_s
        self._export_timeout_s = export_timeout_s
        self._crowded_items = crowded_items
        self._secrets = secrets
        self._first_backoff_s = first_backoff_s
        self._longest_backoff_s = longest_backoff_s
        self._clock = clock
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._queue: deque[tuple[float, Batch]] = deque()
        self.items = 0
        """Items in the queue, the batch in flight included. Reading it without the lock gives a recent value."""
        self.bytes = 0
        self._sent = 0
        self._dropped = dict.fromkeys(CAUSES, 0)
        self._requests = 0
        self._retries = 0
        self._failures = 0
        """Attempts since the last one that the receiver answered for good."""
        self._last_error: str | None = None
        self._closing = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="otlp-delivery", daemon=True)
        self._thread.start()

    def put(self, batch: Batch) -> None:
        """Queues a batch; the caller has checked that there is room. Never blocks on the network."""
        with self._changed:
            if self._closing:
                self._dropped["shutdown"] += batch.items
                return
            self._queue.append((self._clock(), batch))
            self.items += batch.items
            self.bytes += len(batch.request)
            self._changed.notify_all()

    def drop(self, cause: str, error: str | None = None) -> None:
        """Counts one item that never got into a batch."""
        with self._changed:
            self._dropped[cause] += 1
            if error is not None:
                self._last_error = one_line(error, self._secrets)

    def counters(self) -> Deliveries:
        with self._changed:
            return Deliveries(
                sent=self._sent,
                dropped=dict(self._dropped),
                queued=self.items,
                queued_bytes=self.bytes,
                requests=self._requests,
                retries=self._retries,
                last_error=self._last_error,
                state=self._state(),
            )

    def _state(self) -> str:
        if self._closing:
            return "closed"
        if self._failures:
            return "retrying"
        return "sending" if self._queue else "idle"

    def close(self, timeout_s: float) -> None:
        """Delivers what is queued for up to timeout_s, then counts the rest as dropped. Idempotent.

        A batch in flight when the time is up counts as dropped, though the receiver may have taken it.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        with self._changed:
            self._closed = True
            self._dropped["shutdown"] += self.items
            self._queue.clear()
            self.items = self.bytes = 0
            self._changed.notify_all()
        self._sender.close()
        self._thread.join(LAST_JOIN_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
                queued_at, batch = self._queue[0]
                self._requests += 1
            outcome = self._send(batch)
            with self._changed:
                if self._closed:
                    return
                self._settle(queued_at, batch, outcome)
                if isinstance(outcome, Retryable):
                    self._back_off(outcome)

    def _send(self, batch: Batch) -> Outcome:
        try:
            return self._sender.send(batch.request, self._timeout_s)
        except Exception as error:  # noqa: BLE001  (a sender's bug costs one batch, which is counted, not the thread)
            return Refused(f"the sender failed: {type(error).__name__}: {error}")

    def _settle(self, queued_at: float, batch: Batch, outcome: Outcome) -> None:
        """Books the outcome of the head. Called with the lock."""
        if outcome.message:
            self._last_error = one_line(outcome.message, self._secrets)
        if isinstance(outcome, Retryable):
            self._retries += 1
            self._failures += 1
            if self.items > self._crowded_items and self._clock() - queued_at > self._export_timeout_s:
                self._dropped["retries_exhausted"] += batch.items
                self._remove_head(batch)
            return
        self._failures = 0
        if isinstance(outcome, Accepted):
            rejected = min(outcome.rejected, batch.items)
            self._sent += batch.items - rejected
            self._dropped["rejected"] += rejected
        else:
            self._dropped["refused"] += batch.items
        self._remove_head(batch)

    def _remove_head(self, batch: Batch) -> None:
        self._queue.popleft()
        self.items -= batch.items
        self.bytes -= len(batch.request)

    def _back_off(self, outcome: Retryable) -> None:
        """Waits before the next attempt; close() ends the wait. Called with the lock, which waiting releases."""
        backoff = min(self._longest_backoff_s, self._first_backoff_s * 2 ** min(self._failures - 1, 16))
        backoff *= random.uniform(1 - JITTER, 1 + JITTER)
        if outcome.after_s is not None:
            backoff = max(backoff, min(outcome.after_s, LONGEST_REQUESTED_S))
        if not self._closing:
            self._changed.wait_for(lambda: self._closing, backoff)
        else:
            wait = outcome.after_s if outcome.after_s is not None else min(backoff, CLOSING_BACKOFF_S)
            self._changed.wait_for(lambda: self._closed, wait)
