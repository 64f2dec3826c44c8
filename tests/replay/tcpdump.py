"""Runs tcpdump around something that talks on loopback; ends it only when it has everything."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

needs_tcpdump = pytest.mark.skipif(
    shutil.which("tcpdump") is None or os.geteuid() != 0, reason="needs tcpdump and root to capture packets"
)

_DEADLINE = 20.0
_QUIET = 1.5
"""Seconds without growth after which everything is in the file: the kernel hands over what it gathered each second."""


class Capturing:
    """A running tcpdump."""

    def __init__(self, path: Path, expression: str, options: list[str], prefix: list[str]) -> None:
        # Not --immediate-mode: it gives each packet a slot of the snapshot length, and 64 MiB of them fill at once.
        command = [*prefix, "tcpdump", "-n", "-U", "-B", "65536", "-Z", "root", *options]
        self._process = subprocess.Popen(
            [*command, "-w", str(path), *expression.split()], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        self.said = ""
        while "listening on" not in self.said:
            line = self._process.stderr.readline()
            assert line, f"tcpdump ended: {self.said}"
            self.said += line
        self._path = path

    def stop(self) -> None:
        """Waits until the file stops growing, then ends tcpdump and makes sure that it lost nothing."""
        deadline = time.monotonic() + _DEADLINE
        size = -1
        while time.monotonic() < deadline and size != (size := self._path.stat().st_size):
            time.sleep(_QUIET)
        self._process.send_signal(signal.SIGINT)
        _, rest = self._process.communicate(timeout=_DEADLINE)
        self.said += rest
        dropped = re.search(r"(\d+) packets dropped by kernel", self.said)
        assert dropped, self.said
        assert dropped[1] == "0", self.said


@contextlib.contextmanager
def tcpdump(path: Path, expression: str, *options: str, prefix: list[str] | None = None) -> Iterator[None]:
    """Captures into `path` while the body runs.

    Args:
        expression: What to capture, in pcap-filter's language.
        options: e.g. "-i", "lo".
        prefix: A command to run tcpdump by, e.g. in a network namespace.
    """
    capturing = Capturing(path, expression, list(options), prefix or [])
    try:
        yield
    finally:
        capturing.stop()
