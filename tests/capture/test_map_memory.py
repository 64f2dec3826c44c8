"""What maps take is what the kernel says, and pages that a part has mapped are counted there alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from apisensor.capture import procfs
from apisensor.capture.kernel import Map, map_memory
from apisensor.events.ring import Ring
from apisensor.loader.kernel import Definition, create_maps
from apisensor.loader.macros import BPF_F_NO_PREALLOC

pytestmark = pytest.mark.kernel

HASH, RINGBUF = 1, 27
RING_BYTES = 4 << 20

Make = Callable[[Definition], int]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes one map; it is gone after the test."""
    made: list[int] = []

    def one(definition: Definition) -> int:
        made.extend(create_maps([definition]))
        return made[-1]

    yield one
    for descriptor in made:
        os.close(descriptor)


def test_a_table_as_needed_takes_what_is_in_it(make: Make) -> None:
    whole = map_memory(make(Definition(HASH, 8, 200, 32_768, 0, None, "whole")))
    assert whole > 32_768 * 200
    descriptor = make(Definition(HASH, 8, 200, 32_768, BPF_F_NO_PREALLOC, None, "as_needed"))
    empty = map_memory(descriptor)
    assert empty < whole / 4
    table = Map(descriptor, 8, 200)
    for number in range(1_000):
        table.set(number.to_bytes(8, "little"), bytes(200))
    assert 1_000 * 200 <= map_memory(descriptor) - empty <= 1_000 * 300


def test_a_mapped_ring_is_no_memory_of_the_part(make: Make) -> None:
    descriptor = make(Definition(RINGBUF, 0, 0, RING_BYTES, 0, None, "ring"))
    assert RING_BYTES <= map_memory(descriptor) < 2 * RING_BYTES
    ring = Ring(descriptor, RING_BYTES)
    procfs.memory_bytes(os.getpid(), maps=True)  # looking takes memory itself
    own, all_of_it = procfs.memory_bytes(os.getpid(), maps=True), procfs.memory_bytes(os.getpid())
    assert ring.waiting() == 0
    assert own is not None
    assert all_of_it is not None
    # Its pages are mapped twice in a row, which makes no more of them.
    assert abs(all_of_it - own - RING_BYTES) < RING_BYTES / 4


def test_what_is_no_map_takes_nothing() -> None:
    with open(os.devnull, "rb") as file:
        assert map_memory(file.fileno()) == 0
