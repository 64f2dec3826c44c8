"""The ring reader against a ring of the kernel's layout in ordinary shared memory, the kernel's part played here."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from apisensor.events.ring import PAGE, Ring

SIZE = PAGE
BUSY, DISCARD = 1 << 31, 1 << 30


class Producer:
    """Writes records as kernel/bpf/ringbuf.c does. A file cannot be mapped twice in a row: the second copy of the
    data, which makes wrapped records contiguous, is written by hand."""

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("ring")
        os.ftruncate(self.descriptor, 2 * PAGE + 2 * SIZE)
        self._memory = mmap.mmap(self.descriptor, 2 * PAGE + 2 * SIZE)
        self.position = 0

    def put(self, payload: bytes, flags: int = 0) -> int:
        """Returns where the record's header lies."""
        at = self.position
        raw = struct.pack("II", len(payload) | flags, 0) + payload
        for index, byte in enumerate(raw):
            place = (at + index) % SIZE
            self._memory[2 * PAGE + place] = byte
            self._memory[2 * PAGE + SIZE + place] = byte
        self.position += (len(raw) + 7) & ~7
        self._memory[PAGE : PAGE + 8] = struct.pack("Q", self.position)
        return at

    def commit(self, at: int, length: int) -> None:
        for copy in (0, SIZE):
            start = 2 * PAGE + copy + at % SIZE
            self._memory[start : start + 4] = struct.pack("I", length)

    @property
    def taken(self) -> int:
        return int(struct.unpack_from("Q", self._memory, 0)[0])


@pytest.fixture
def producer() -> Iterator[Producer]:
    made = Producer()
    yield made
    os.close(made.descriptor)


def test_records_come_in_order_and_once(producer: Producer) -> None:
    ring = Ring(producer.descriptor, SIZE)
    for number in range(5):
        producer.put(b"record %d" % number)
    assert ring.waiting() == producer.position
    assert list(ring.take(bytes, 3)) == [b"record 0", b"record 1", b"record 2"]
    assert list(ring.take(bytes, 100)) == [b"record 3", b"record 4"]
    assert list(ring.take(bytes, 100)) == []
    assert producer.taken == producer.position


def test_records_that_wrap_are_whole(producer: Producer) -> None:
    ring = Ring(producer.descriptor, SIZE)
    for number in range(1000):
        payload = bytes([number % 251]) * (number % 700)
        producer.put(payload)
        assert list(ring.take(bytes, 1)) == [payload]


def test_a_busy_record_holds_back_those_behind_it(producer: Producer) -> None:
    ring = Ring(producer.descriptor, SIZE)
    producer.put(b"first")
    at = producer.put(b"second", BUSY)
    producer.put(b"third")
    assert list(ring.take(bytes, 100)) == [b"first"]
    assert list(ring.take(bytes, 100)) == []
    producer.commit(at, len(b"second"))
    assert list(ring.take(bytes, 100)) == [b"second", b"third"]


def test_discarded_records_are_passed_over(producer: Producer) -> None:
    ring = Ring(producer.descriptor, SIZE)
    producer.put(b"never", DISCARD)
    producer.put(b"kept")
    producer.put(b"never", DISCARD)
    assert list(ring.take(bytes, 100)) == [b"kept"]
    assert producer.taken == producer.position


def test_a_successor_goes_on_where_a_dead_reader_stopped(producer: Producer) -> None:
    for number in range(6):
        producer.put(b"record %d" % number)
    reader = Ring(producer.descriptor, SIZE).take(bytes, 100)
    assert [next(reader), next(reader), next(reader)] == [b"record 0", b"record 1", b"record 2"]
    # Killed while it works on record 2: that one is lost with it, and no other comes twice.
    assert list(Ring(producer.descriptor, SIZE).take(bytes, 100)) == [b"record 3", b"record 4", b"record 5"]
