"""What the log says of a receiver that takes no spans."""

from __future__ import annotations

import logging

import pytest

from apisensor.export.exporter import ExportStats
from apisensor.processes.delivered import Delivered


def stats(state: str, sent: int = 0, refused: int = 0, error: str | None = None) -> ExportStats:
    return ExportStats(
        offered=100, unsampled=0, encoded=100, sent=sent, dropped={"refused": refused, "queue_full": 0},
        queued=100 - sent - refused, queued_bytes=0, requests=1, retries=0, last_error=error, state=state,
    )  # fmt: skip


def test_a_dead_receiver_is_said_once_and_its_return_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    delivered = Delivered("grpc http://[::1]:4317", logging.getLogger("test"))
    delivered.look(stats("idle"))
    for _ in range(3):
        delivered.look(stats("retrying", error="connection \x1b[2J refused"))
    assert caplog.messages == [
        "spans are not delivered to grpc http://[::1]:4317 (connection \\x1b[2J refused): they wait, up to a limit; "
        "`apisensor doctor` looks at the way there"
    ]
    delivered.look(stats("sending", error="connection refused"))
    assert len(caplog.messages) == 1, "nothing was sent yet"
    for sent in (40, 80):
        delivered.look(stats("sending", sent=sent))
    assert caplog.messages[1:] == ["spans are delivered to grpc http://[::1]:4317 again"]
    delivered.look(stats("retrying", sent=80, error="gone"))
    assert "(gone)" in caplog.messages[2]


def test_a_receiver_that_refuses_is_said(caplog: pytest.LogCaptureFixture) -> None:
    delivered = Delivered("there", logging.getLogger("test"))
    for refused in (0, 30, 60):
        delivered.look(stats("idle", refused=refused, error="HTTP 401"))
    (message,) = caplog.messages
    assert "(HTTP 401): 30 were dropped" in message
