"""Rights that are missing are said in one line before anything is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from apisensor.cli.doctor.node_checks import CAPABILITIES
from apisensor.processes import rights
from apisensor.processes.capabilities import NUMBERS
from apisensor.processes.capture import CAPABILITIES as OF_CAPTURE
from tests.peers.process import ROOT, program

STATUS = "Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t{:016x}\nCapBnd:\t000001ffffffffff\n"


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a status and a lockdown file in place of the kernel's: all rights, no lockdown."""
    (tmp_path / "status").write_text(STATUS.format((1 << 41) - 1))
    monkeypatch.setattr(rights, "STATUS", tmp_path / "status")
    monkeypatch.setattr(rights, "LOCKDOWN", tmp_path / "lockdown")
    return tmp_path


@pytest.mark.parametrize("name", rights.NEEDED)
def test_a_capability_that_is_missing(name: str, node: Path) -> None:
    assert rights.refusal() is None
    (node / "status").write_text(STATUS.format(((1 << 41) - 1) & ~(1 << NUMBERS[name])))
    said = rights.refusal() or ""
    assert re.findall(r"CAP_\w+", said) == [name]
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("[none] integrity confidentiality\n", False),
        ("none [integrity] confidentiality\n", False),
        ("none integrity [confidentiality]\n", True),
        ("", False),
        (None, False),
    ],
)
def test_lockdown(text: str | None, refused: bool, node: Path) -> None:
    if text is not None:
        (node / "lockdown").write_text(text)
    said = rights.refusal()
    assert (said is not None) is refused
    assert said is None or ("lockdown=integrity" in said and "\n" not in said)


def test_they_are_those_that_doctor_asks_for() -> None:
    needed = {capability.name for capability in CAPABILITIES if capability.needed}
    assert set(rights.NEEDED) == needed
    assert set(OF_CAPTURE) - needed == {"CAP_CHECKPOINT_RESTORE"}


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["bpf", "perfmon", "sys_ptrace"])
def test_root_without_a_right(name: str, tmp_path: Path) -> None:
    command = [program("setpriv"), f"--bounding-set=-{name}", sys.executable, "-m", "apisensor.cli.main", "run"]
    places = [f"--set=general.{key}_directory={tmp_path}/{key}" for key in ("runtime", "state")]
    done = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"apisensor: this needs CAP_{name.upper()}: ")
    assert not list(tmp_path.iterdir())
