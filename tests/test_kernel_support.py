"""Where BPF is missing, tests that need it fail, unless that was asked for; and then the summary says so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.kernel_support import ALLOW_VARIABLE
from tests.peers.process import ROOT

WITHOUT_BPF = """
import sys
import pytest
from tests import kernel_support
kernel_support.missing = lambda: "this kernel has no BPF"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "tests/peers/test_containers.py", "-k", "one_libssl"]))
"""


@pytest.mark.parametrize(
    ("allowed", "status", "said"),
    [("", 1, "kernel tests cannot run: this kernel has no BPF"), ("1", 0, "1 kernel tests were NOT run")],
)
def test_kernel_tests_do_not_pass_by_not_running(allowed: str, status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_BPF],
        cwd=ROOT,
        env={**os.environ, ALLOW_VARIABLE: allowed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert said in done.stdout
    assert "passed" not in done.stdout.splitlines()[-1]
