"""Who runs as whom, read from /proc; and what the sandbox allows, tried from inside."""

from __future__ import annotations

import json
import platform
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apisensor.capture.preflight import perf_is_closed
from apisensor.cli.doctor.kernel_checks import kernel_version
from apisensor.processes.capabilities import NUMBERS
from apisensor.processes.capture import CAPABILITIES as CAPTURE_CAPABILITIES
from tests.peers.process import ROOT
from tests.sensor import Sensor

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def parts() -> Iterator[dict[str, dict[str, str]]]:
    """Name of each part: its /proc/PID/status."""
    with Sensor() as sensor:
        yield {name: _status(pid) for name, pid in sensor.parts().items()}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _uids(status: dict[str, str]) -> set[int]:
    return set(map(int, status["Uid"].split()))


def test_all_parts_are_there(parts: dict[str, dict[str, str]]) -> None:
    assert set(parts) == {"run", "finder", "core", "worker-0", "capture", "web"}


@pytest.mark.parametrize("name", ["worker-0", "finder"])
def test_what_parses_hostile_bytes_is_sandboxed(parts: dict[str, dict[str, str]], name: str) -> None:
    status = parts[name]
    assert _uids(status) == {pwd.getpwnam("nobody").pw_uid}
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"
    assert status["Groups"] == ""


@pytest.mark.parametrize("name", ["core", "web"])
def test_what_talks_to_the_network_has_no_capability(parts: dict[str, dict[str, str]], name: str) -> None:
    status = parts[name]
    assert 0 not in _uids(status)
    assert _uids(status) != _uids(parts["worker-0"])
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[capabilities], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_capture_has_exactly_the_named_capabilities(parts: dict[str, dict[str, str]]) -> None:
    status = parts["capture"]
    assert 0 not in _uids(status)
    expected = sum(1 << NUMBERS[name] for name in CAPTURE_CAPABILITIES)
    if perf_is_closed() and (kernel_version(platform.release()) or (0, 0)) < (6, 6):
        expected |= 1 << NUMBERS["CAP_SYS_ADMIN"]
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == expected
    assert int(status["CapBnd"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"


def test_nothing_of_bcc_stays_in_memory() -> None:
    with Sensor() as sensor:
        for pid in sensor.parts().values():
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "libbcc" not in maps
            assert "LLVM" not in maps


_TRIES = """
import ctypes, errno, json, mmap, os, socket, sys
from apisensor.processes.privileges import become
from apisensor.processes.sandbox import seal
libc = ctypes.CDLL(None, use_errno=True)
buffer = ctypes.create_string_buffer(256)
become("nobody")
seal()

def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    return "allowed" if result >= 0 else errno.errorcode[ctypes.get_errno()]

tries = {
    "open": call(2, b"/etc/hostname", 0),
    "openat": call(257, -100, b"/etc/hostname", 0, 0),
    "openat2": call(437, -100, b"/etc/hostname", buffer, 24),
    "socket": call(41, 2, 1, 0),
    "connect": call(42, 0, buffer, 16),
    "bpf": call(321, 0, buffer, 128),
    "execve": call(59, b"/bin/true", 0, 0),
    "fork": call(57),
    "clone3": call(435, buffer, 88),
    "ptrace": call(101, 0, 0, 0, 0),
    "process_vm_readv": call(310, os.getppid(), buffer, 0, buffer, 0, 0),
    "io_uring_setup": call(425, 8, buffer),
    "perf_event_open": call(298, buffer, 0, -1, -1, 0),
    "kill": call(62, os.getppid(), 0),
    "setuid": call(105, 0),
    "mount": call(165, 0, 0, 0, 0, 0),
    "unlink": call(87, b"/nowhere"),
    "prctl": call(157, 4, 1, 0, 0, 0),
    "ioctl": call(16, 1, 0x5401, buffer),
    "memfd_create": call(319, b"x", 0),
    "a number that no kernel has": call(9999),
}
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    tries["executable memory"] = "allowed"
except PermissionError:
    tries["executable memory"] = "EPERM"
mmap.mmap(-1, 4096).close()
os.getrandom(8)
os.write(1, json.dumps(tries).encode())
"""


def test_the_sandbox_denies_by_default() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _TRIES], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    tries = json.loads(done.stdout)
    assert len(tries) == 22
    assert set(tries.values()) == {"EPERM"}, tries
