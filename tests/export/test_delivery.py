"""The queue and the thread, with senders that answer from a script instead of a network."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apisensor.export.delivery import CAUSES, Batch, Deliveries, Delivery
from apisensor.export.outcome import MESSAGE_CHARACTERS, Accepted, Outcome, Refused, Retryable
from tests.peers.process import wait_until

WAIT_S = 20.0
"""Upper bound of waits for the thread; never what is measured."""


class ScriptedSender:
    """The in-memory twin of a network sender."""

    def __init__(self, *outcomes: Outcome | Exception) -> None:
        self.outcomes = deque(outcomes)
        """For the next sends; without any left, Accepted."""
        self.sent: list[bytes] = []
        self.times: list[float] = []
        self.gate: threading.Event | None = None
        """Where set, each send waits for it."""
        self.closed = False

    def send(self, request: bytes, timeout_s: float) -> Outcome:  # noqa: ARG002
        self.sent.append(request)
        self.times.append(time.monotonic())
        if self.gate is not None:
            self.gate.wait(WAIT_S)
        outcome = self.outcomes.popleft() if self.outcomes else Accepted()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        self.closed = True


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Start = Callable[..., Delivery]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Delivery] = []

    def make(sender: ScriptedSender, **options: Any) -> Delivery:
        defaults: dict[str, Any] = {
            "timeout_s": 10.0,
            "export_timeout_s": 30.0,
            "crowded_items": 100,
            "first_backoff_s": 0.001,
            "longest_backoff_s": 0.002,
        }
        delivery = Delivery(sender, **(defaults | options))
        started.append(delivery)
        return delivery

    yield make
    for delivery in started:
        delivery.close(0)


def batch(name: bytes, spans: int = 10) -> Batch:
    return Batch(name, spans)


def settled(delivery: Delivery) -> Deliveries:
    wait_until(lambda: delivery.items == 0, WAIT_S, "an empty queue")
    return delivery.counters()


def total(counters: Deliveries) -> int:
    return counters.sent + sum(counters.dropped.values()) + counters.queued


def test_batches_go_out_in_order(start: Start) -> None:
    sender = ScriptedSender()
    delivery = start(sender)
    for name in (b"1", b"2", b"3"):
        delivery.put(batch(name))
    counters = settled(delivery)
    assert sender.sent == [b"1", b"2", b"3"]
    assert (counters.sent, counters.requests, counters.retries, counters.state) == (30, 3, 0, "idle")
    assert counters.dropped == dict.fromkeys(CAUSES, 0)
    assert counters.last_error is None


def test_a_retryable_failure_keeps_the_batch_and_its_place(start: Start) -> None:
    sender = ScriptedSender(Retryable("busy"), Retryable("busy"))
    delivery = start(sender)
    delivery.put(batch(b"1"))
    delivery.put(batch(b"2"))
    counters = settled(delivery)
    assert sender.sent == [b"1", b"1", b"1", b"2"]
    assert (counters.sent, counters.requests, counters.retries) == (20, 4, 2)
    assert counters.last_error == "busy"


def test_the_wait_that_a_receiver_asks_for_is_honoured(start: Start) -> None:
    sender = ScriptedSender(Retryable("busy", after_s=0.3))
    delivery = start(sender)
    delivery.put(batch(b"1"))
    settled(delivery)
    assert sender.times[1] - sender.times[0] >= 0.3


def test_partial_success_counts_what_was_rejected_and_is_not_repeated(start: Start) -> None:
    sender = ScriptedSender(Accepted(rejected=3, message="too old"), Accepted(rejected=99))
    delivery = start(sender)
    delivery.put(batch(b"1"))
    delivery.put(batch(b"2"))
    counters = settled(delivery)
    assert sender.sent == [b"1", b"2"]
    assert (counters.sent, counters.dropped["rejected"]) == (7, 13)
    assert counters.last_error == "too old"


def test_a_refusal_drops_the_batch_only(start: Start) -> None:
    sender = ScriptedSender(Refused("bad data"))
    delivery = start(sender)
    delivery.put(batch(b"1"))
    delivery.put(batch(b"2"))
    counters = settled(delivery)
    assert (counters.sent, counters.dropped["refused"], counters.last_error) == (10, 10, "bad data")


def test_a_failing_sender_costs_a_batch_not_the_thread(start: Start) -> None:
    delivery = start(ScriptedSender(RuntimeError("bug")))
    delivery.put(batch(b"1"))
    delivery.put(batch(b"2"))
    counters = settled(delivery)
    assert (counters.sent, counters.dropped["refused"]) == (10, 10)
    assert counters.last_error == "the sender failed: RuntimeError: bug"


def test_nothing_is_given_up_while_there_is_room(start: Start) -> None:
    clock = Clock()
    sender = ScriptedSender(*[Retryable("down")] * 50)
    delivery = start(sender, clock=clock, crowded_items=10)
    delivery.put(batch(b"1"))
    clock.now = 1e6
    assert settled(delivery).sent == 10


def test_an_old_head_gives_way_when_room_is_needed(start: Start) -> None:
    clock = Clock()
    sender = ScriptedSender(*[Retryable("down")] * 3)
    sender.gate = threading.Event()
    delivery = start(sender, clock=clock, crowded_items=15)
    delivery.put(batch(b"old"))
    clock.now = 31.0
    delivery.put(batch(b"new"))
    sender.gate.set()
    counters = settled(delivery)
    assert counters.dropped["retries_exhausted"] == 10
    assert counters.sent == 10
    assert sender.sent[-1] == b"new"


def test_a_young_head_stays_though_room_is_needed(start: Start) -> None:
    sender = ScriptedSender(*[Retryable("down")] * 20)
    delivery = start(sender, clock=Clock(), crowded_items=0)
    delivery.put(batch(b"1"))
    assert settled(delivery).sent == 10


def test_while_a_receiver_is_down_the_state_says_so(start: Start) -> None:
    delivery = start(ScriptedSender(*[Retryable("down")] * 100_000), first_backoff_s=5.0, longest_backoff_s=5.0)
    delivery.put(batch(b"1"))
    wait_until(lambda: delivery.counters().state == "retrying", WAIT_S, "a failed attempt")
    counters = delivery.counters()
    assert (counters.queued, counters.queued_bytes, counters.last_error) == (10, 1, "down")


def test_close_delivers_what_is_left(start: Start) -> None:
    # Closing ends the long backoff that the first failure began.
    sender = ScriptedSender(Retryable("down"))
    delivery = start(sender, first_backoff_s=3600.0, longest_backoff_s=3600.0)
    delivery.put(batch(b"1"))
    wait_until(lambda: delivery.counters().retries == 1, WAIT_S, "a failed attempt")
    delivery.close(WAIT_S)
    counters = delivery.counters()
    assert (counters.sent, counters.dropped["shutdown"], counters.state, sender.closed) == (10, 0, "closed", True)


def test_close_counts_what_it_cannot_deliver(start: Start) -> None:
    delivery = start(ScriptedSender(*[Retryable("down")] * 100_000))
    delivery.put(batch(b"1"))
    delivery.put(batch(b"2", 5))
    delivery.close(0.2)
    delivery.close(0.2)
    delivery.put(batch(b"3", 4))
    counters = delivery.counters()
    assert counters.dropped["shutdown"] == 19
    assert (counters.queued, total(counters)) == (0, 19)


def test_an_answer_after_close_changes_no_count(start: Start) -> None:
    sender = ScriptedSender()
    sender.gate = threading.Event()
    delivery = start(sender)
    delivery.put(batch(b"1"))
    wait_until(lambda: bool(sender.sent), WAIT_S, "a send under way")
    delivery.close(0)
    assert delivery.counters().dropped["shutdown"] == 10
    sender.gate.set()
    delivery._thread.join(WAIT_S)
    assert not delivery._thread.is_alive()
    assert (delivery.counters().sent, total(delivery.counters())) == (0, 10)


def test_messages_are_one_short_line_without_secrets(start: Start) -> None:
    delivery = start(ScriptedSender(Refused("no\n\x1b[31m Bearer hunter22 " + "x" * 1000)), secrets=("hunter22",))
    delivery.put(batch(b"1"))
    line = settled(delivery).last_error
    assert line is not None
    assert line.startswith("no [31m Bearer [redacted] xxx")
    assert len(line) == MESSAGE_CHARACTERS


def test_counters_add_up_at_every_moment(start: Start) -> None:
    outcomes: list[Outcome] = [Accepted(), Retryable("r"), Refused("f"), Accepted(rejected=4)]
    sender = ScriptedSender(*outcomes * 100)
    delivery = start(sender, first_backoff_s=0.0, longest_backoff_s=0.0)
    for n in range(200):
        delivery.put(batch(b"x"))
        assert total(delivery.counters()) == 10 * (n + 1)
    assert total(settled(delivery)) == 2000
