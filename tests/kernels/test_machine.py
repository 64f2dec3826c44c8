"""The named core of the suite on other kernels than this machine's, in a virtual machine without hardware support."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from apisensor.processes.loading import LOADER_PYTHON, macros
from apisensor.sections import Settings
from tests.kernels import core
from tests.kernels.debian import Kernel, debian_kernel
from tests.kernels.machine import run
from tests.patience import VARIABLE
from tests.peers.go import go_peers

pytestmark = pytest.mark.kernel

COMPILE_SECONDS = 60.0
MOST_SECONDS = 600.0
"""What the core may take, with boot and compiling, on two cores."""
PATIENCE = "10"
"""An emulated processor is about that much slower."""


def compile_for(kernel: Kernel, back_end: str, directory: Path) -> None:
    """Leaves the compiled programs where the machine's command finds them."""
    (directory / "work").mkdir(parents=True)
    names = (back_end, str(kernel.types), kernel.release, kernel.version, str(directory / "work" / core.PROGRAMS.name))
    done = subprocess.run(
        [LOADER_PYTHON, "-I", Path(__file__).parent / "compile.py", *names],
        input=json.dumps(macros(Settings())), capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout == "compiled\n", done.stdout + done.stderr


@pytest.mark.timeout(MOST_SECONDS + 120)
@pytest.mark.parametrize(("package", "back_end"), [("linux-image-amd64", "kprobe")])
def test_the_core_passes(package: str, back_end: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    go_peers("go")
    go_peers("go-stripped")
    kernel = debian_kernel(package)
    directory = tmp_path / "machine"
    directory.mkdir()
    compile_for(kernel, back_end, directory)
    pytest_options = ("-p", "no:cacheprovider", "-o", f"timeout={MOST_SECONDS:g}", "--durations=15")
    command = [sys.executable, "-m", "pytest", *pytest_options, "tests/kernels/core.py"]
    outcome = run(
        kernel,
        command,
        directory,
        seconds=MOST_SECONDS,
        environment={core.BACK_END_VARIABLE: back_end, VARIABLE: PATIENCE},
    )
    with capsys.disabled():
        print(f"\nLinux {kernel.release} in a virtual machine, back end {back_end}:")
        print("\n".join(outcome.output.splitlines()[-40:]))
    assert outcome.status == 0, f"{outcome.output[-20000:]}\n{outcome.console[-5000:]}"
