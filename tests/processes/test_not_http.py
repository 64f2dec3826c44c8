"""Connections that are not HTTP: their payload is no longer copied once that is known, and their bytes stay counted."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest

from tests.peers.plan import new_run
from tests.peers.process import wait_until
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel

BLOCK = bytes(range(256)) * 64
BLOCKS = 1000
"""16 MB each way, in calls of 16 KiB."""
ROUNDS = 20
"""How often it is looked whether the worker knows the connection; each takes a second."""
WAIT_S = 20.0


class Talk:
    """A connection of this process with itself, on which each block is sent back."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._listening = socket.socket(family)
        self._listening.bind(("127.0.0.1", 0) if family == socket.AF_INET else f"\0{new_run()}")
        self._listening.listen()
        self._server = threading.Thread(target=self._echo)
        self._server.start()
        self._client = socket.socket(family)
        self._client.connect(self._listening.getsockname())
        self.moved = 0
        """Bytes that were sent and received at both ends."""

    def _echo(self) -> None:
        connection, _ = self._listening.accept()
        with connection:
            while block := connection.recv(1 << 16):
                connection.sendall(block)

    def exchange(self, blocks: int) -> None:
        for _ in range(blocks):
            self._client.sendall(BLOCK)
            left = len(BLOCK)
            while left:
                left -= len(self._client.recv(left))
            self.moved += 4 * len(BLOCK)

    def close(self) -> None:
        self._client.close()
        self._server.join()
        self._listening.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_the_payload_is_left_in_the_kernel_and_counted(family: socket.AddressFamily) -> None:
    """By the bytes of this process: whatever else the node does is no part of them."""
    talk = Talk(family)
    try:
        with Sensor() as sensor:

            def own() -> dict[str, Any]:
                """What is known of this process, once all that it has moved is."""
                rows: list[dict[str, Any]] = []

                def told() -> bool:
                    rows[:] = [row for row in sensor.status()["processes"] if row["pid"] == os.getpid()]
                    return bool(rows) and rows[0]["plaintext_bytes"] >= talk.moved

                wait_until(told, WAIT_S, "what was moved to be counted")
                return rows[0]

            talk.exchange(20)
            before = own()
            assert before["captured_bytes"] > 0
            for _ in range(ROUNDS):
                talk.exchange(10)
                now = own()
                if now["captured_bytes"] == before["captured_bytes"]:
                    break
                before = now
            else:
                pytest.fail("the worker does not know what it is")
            talk.exchange(BLOCKS)
            after = own()
            assert after["captured_bytes"] == before["captured_bytes"]
            assert after["plaintext_bytes"] == talk.moved
            sensor.wait_for_report()  # which may have begun before all was moved
            assert not [t for t in sensor.transactions if t["process"] and t["process"]["pid"] == os.getpid()]
            assert sensor.status()["counters"]["kernel.skipped_bytes"] >= talk.moved - after["captured_bytes"]
            assert sensor.status()["counters"]["worker.flows_not_http"] >= 2
    finally:
        talk.close()
