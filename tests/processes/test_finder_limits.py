"""A file cannot hold the finder: neither by work nor by waiting."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from apisensor.processes.asking import WAIT_S
from apisensor.processes.finder import ANSWER_S, WORK_S
from tests.peers.process import ROOT

_FINDER = "import time; from apisensor.processes.finder import limit; limit({}, {}); {}; print('went on')"
_LONG = 60.0
"""More than the test waits."""


@pytest.mark.parametrize(
    ("work_s", "answer_s", "does", "ended"),
    [
        (0.05, _LONG, "sum(range(10**12))", -signal.SIGPROF),
        (_LONG, 0.05, "time.sleep(1000)", -signal.SIGALRM),
        (0.05, _LONG, "time.sleep(0.2)", 0),  # time that others had is not its own
        (0.05, 0.05, "limit(0, 0); sum(range(10**7)); time.sleep(0.1)", 0),
    ],
)
def test_work_and_waiting_have_limits(work_s: float, answer_s: float, does: str, ended: int) -> None:
    command = [sys.executable, "-c", _FINDER.format(work_s, answer_s, does)]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=_LONG / 2)
    assert (done.returncode, done.stdout) == (ended, "" if ended else "went on\n"), done.stderr


def test_capture_waits_longer_than_the_finder_may_take() -> None:
    assert WORK_S < ANSWER_S < WAIT_S
