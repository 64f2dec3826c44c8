"""Each parser on its corpus and near it; `python -m tests.fuzz NAME` goes further, led by coverage."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from tests.fuzz.mutation import mutations
from tests.fuzz.seeds import CORPUS, inputs
from tests.fuzz.targets import TARGETS

RUNS = {"redaction": 1_000}
"""Executions of each target here, which takes seconds; 5,000 of those that are not named."""

GROWTH = 500_000
"""Bytes that may stay behind of 500 inputs. Caches of a fixed size fill up: 1 KB of HTTP, 160 KB of route segments,
of which 8,192 are kept."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus(name: str) -> None:
    found = inputs(name)
    assert found
    for data in found:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_near_the_corpus(name: str) -> None:
    for data in mutations(inputs(name), RUNS.get(name, 5_000), seed=1):
        try:
            TARGETS[name](data)
        except Exception as error:
            error.add_note(f"input: {data.hex()}")
            raise


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_stays_behind(name: str) -> None:
    target, pool = TARGETS[name], inputs(name)
    for data in mutations(pool, 200, seed=2):
        target(data)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for data in mutations(pool, 500, seed=3):
        target(data)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert after - before < GROWTH


def test_the_corpus_belongs_to_targets() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= set(TARGETS)
