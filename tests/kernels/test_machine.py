"""The named core of the suite on other kernels than this machine's, in virtual machines without hardware support."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from apisensor.processes.loading import LOADER_PYTHON, macros
from apisensor.sections import Settings
from tests.kernels import core
from tests.kernels.debian import Kernel, KernelError, debian_kernel
from tests.kernels.machine import Machine
from tests.patience import VARIABLE
from tests.peers.go import go_peers
from tests.peers.process import ROOT

pytestmark = pytest.mark.kernel

COMPILE_SECONDS = 60.0
MOST_SECONDS = 600.0
"""What the core may take, with boot, on two cores that two machines share."""
PATIENCE = "10"
"""An emulated processor is about that much slower."""


@dataclass(frozen=True)
class Tried:
    """A kernel that the core has to pass on."""

    backports: bool
    """Not the release's own kernel, but the newer one."""
    back_end: str
    """That `auto` has to take there."""
    uprobes: str
    """How probes have to be attached there, as the status says it."""


TRIED = {"stock": Tried(False, "kprobe", "perf"), "backports": Tried(True, "sock", "uprobe_multi links")}


def compile_for(kernel: Kernel, back_end: str, directory: Path) -> None:
    """Leaves the compiled programs where the machine's command finds them."""
    (directory / "work").mkdir(parents=True)
    names = (back_end, str(kernel.types), str(directory / "work" / core.PROGRAMS.name))
    done = subprocess.run(
        [LOADER_PYTHON, "-I", Path(__file__).parent / "compile.py", *names],
        input=json.dumps(macros(Settings())), capture_output=True, text=True, timeout=COMPILE_SECONDS, check=False,
    )  # fmt: skip
    assert done.stdout == "compiled\n", done.stdout + done.stderr


def compile_modules() -> None:
    """Python's modules, where this run has not imported them: each process in a machine would compile its own."""
    command = [sys.executable, "-m", "compileall", "-q", "apisensor", "tests/peers", "tests/kernels"]
    subprocess.run(command, cwd=ROOT, timeout=COMPILE_SECONDS, check=True)


def boot(tried: Tried, directory: Path) -> Machine:
    """A machine with this kernel in which the core runs."""
    kernel = debian_kernel(backports=tried.backports)
    compile_for(kernel, tried.back_end, directory)
    pytest_options = ("-p", "no:cacheprovider", "-o", f"timeout={MOST_SECONDS:g}", "--durations=15")
    command = [sys.executable, "-m", "pytest", *pytest_options, "tests/kernels/core.py"]
    chosen = f"{tried.back_end}; uprobes: {tried.uprobes}"
    return Machine(kernel, command, directory, {core.CHOSEN_VARIABLE: chosen, VARIABLE: PATIENCE})


@pytest.fixture(scope="module")
def booted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Machine | KernelError]]:
    """The machines of all kernels whose test is to run, at once: each waits for much of its time."""
    compile_modules()
    go_peers("go")
    go_peers("go-stripped")
    tests = [one for one in request.session.items if isinstance(one, pytest.Function) and one.parent is request.node]
    found: dict[str, Machine | KernelError] = {}
    with ExitStack() as running:
        for name in (str(test.callspec.params["name"]) for test in tests):
            try:
                found[name] = running.enter_context(boot(TRIED[name], tmp_path_factory.mktemp(name)))
            except KernelError as error:  # the other is tried all the same
                found[name] = error
        yield found


@pytest.mark.timeout(MOST_SECONDS + 120)
@pytest.mark.parametrize("name", TRIED)
def test_the_core_passes(
    name: str, booted: dict[str, Machine | KernelError], capsys: pytest.CaptureFixture[str]
) -> None:
    machine = booted[name]
    if isinstance(machine, KernelError):
        raise machine
    outcome = machine.wait(MOST_SECONDS)
    with capsys.disabled():
        print(f"\nLinux {machine.kernel.release} in a virtual machine, back end {TRIED[name].back_end}:")
        print("\n".join(outcome.output.splitlines()[-40:]))
    assert outcome.status == 0, f"{outcome.output[-20000:]}\n{outcome.console[-5000:]}"
