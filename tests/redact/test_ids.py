from __future__ import annotations

import os

import pytest

from apisensor.redact.ids import BATCH, IdSource


def test_seed_decides() -> None:
    first, second, other = IdSource(b"a"), IdSource(b"a"), IdSource(b"b")
    drawn = [(first.span_id(), first.trace_id()) for _ in range(BATCH // 10)]  # over several batches
    assert drawn == [(second.span_id(), second.trace_id()) for _ in range(BATCH // 10)]
    assert (other.span_id(), other.trace_id()) not in drawn
    assert len({span for span, _ in drawn}) == len(drawn)


def test_zero_is_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = iter([bytes(BATCH), bytes(BATCH - 1) + b"\x01", b"\x02" * BATCH, b"\x03" * BATCH])
    monkeypatch.setattr(os, "urandom", lambda _size: next(batches))
    ids = IdSource()
    assert ids.span_id() == "0" * 15 + "1"
    assert ids.trace_id() == "02" * 16


def test_form() -> None:
    ids = IdSource()
    for _ in range(BATCH):
        assert len(bytes.fromhex(ids.span_id())) == 8
        assert len(bytes.fromhex(ids.trace_id())) == 16
