"""Connections that are not HTTP: their payload is no longer copied once that is known, and their bytes stay counted."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

BLOCK = bytes(range(256)) * 64
BLOCKS = 2000
"""32 MB each way, in calls of 16 KiB."""


def _echo(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    with connection:
        left = BLOCKS * len(BLOCK)
        while left:
            block = connection.recv(1 << 16)
            left -= len(block)
            connection.sendall(block)


def _talk(pause_after: int, pause: Callable[[], None]) -> None:
    """Sends and receives everything; pauses once, so that the worker can have its say."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=_echo, args=(listening,))
        server.start()
        with socket.create_connection(listening.getsockname()) as connection:
            for number in range(BLOCKS):
                connection.sendall(BLOCK)
                left = len(BLOCK)
                while left:
                    left -= len(connection.recv(left))
                if number == pause_after:
                    pause()
        server.join()


def _others() -> list[int]:
    """Every process of the node but this one. What they start is never captured either: so what the sensor counts is
    this test's, whatever else goes on."""
    pids = (int(entry.parent.name) for entry in Path("/proc").glob("[0-9]*/exe") if _has_program(entry))
    return [pid for pid in pids if pid != os.getpid()]


def _has_program(entry: Path) -> bool:
    try:
        return bool(os.readlink(entry))
    except OSError:
        return False  # a kernel thread, or gone


def test_the_payload_is_left_in_the_kernel_and_counted() -> None:
    never = ",".join(map(str, _others()))
    with Sensor(settings=[f"capture.never_pids={never}"]) as sensor:

        def moved_by_others() -> int:
            """Bytes of processes that began while the list was made."""
            rows = sensor.status()["processes"]
            return sum(row["plaintext_bytes"] for row in rows if row["pid"] != os.getpid())

        before, others_before = sensor.status()["counters"], moved_by_others()

        def known() -> None:
            """Returns when the worker has said so of both ends, however busy the machine is."""
            until = time.monotonic() + 20.0
            said = before.get("worker.flows_not_http", 0) + 2
            while sensor.status()["counters"].get("worker.flows_not_http", 0) < said:
                assert time.monotonic() < until, "not known after 20 s"
                time.sleep(0.1)
            time.sleep(0.5)

        _talk(20, known)
        time.sleep(1.5)
        after, others = sensor.status()["counters"], moved_by_others() - others_before
        rise = {name: after[name] - before.get(name, 0) for name in after}
        total = 4 * BLOCKS * len(BLOCK)  # sent and received at both ends
        # Whatever others moved may be among what was skipped, and among what was not.
        assert rise["kernel.skipped_bytes"] - others > 0.95 * total
        assert rise["kernel.chunk_bytes"] < 0.05 * total + others
        assert rise["worker.flows_not_http"] >= 2
        rows = {row["pid"]: row for row in sensor.status()["processes"]}
        assert rows[os.getpid()]["plaintext_bytes"] >= total
        assert not [t for t in sensor.transactions if t["process"] and t["process"]["pid"] == os.getpid()]
