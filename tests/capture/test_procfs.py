from __future__ import annotations

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from apisensor.capture import procfs

GONE = 4_194_304
"""No process has this number: the kernel numbers them below."""


def test_this_process() -> None:
    pid = os.getpid()
    assert pid in procfs.pids()
    assert procfs.executable(pid) == os.path.realpath(sys.executable)
    status = os.stat("/proc/self/exe")
    assert procfs.executable_inode(pid) == (status.st_ino, os.major(status.st_dev), os.minor(status.st_dev))
    assert procfs.status(pid) == (os.geteuid(), os.getppid())
    assert procfs.arguments(pid)[0].endswith(os.path.basename(sys.executable).encode())
    assert procfs.cgroup(pid) == Path("/proc/self/cgroup").read_text()
    memory, start = procfs.memory_bytes(pid), procfs.start_ns(pid)
    assert memory is not None
    assert memory > 1 << 20
    assert start is not None


def test_only_the_variables_asked_for() -> None:
    code = "import sys; print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={"OTEL_SERVICE_NAME": "shöp", "EMPTY": "", "SECRET": "x"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert procfs.variables(child.pid, "OTEL_SERVICE_NAME", "EMPTY", "MISSING") == ["shöp", "", None]
        child.kill()


def test_a_process_that_is_gone_is_nothing() -> None:
    assert procfs.executable(GONE) is None
    assert procfs.executable_inode(GONE) is None
    assert procfs.arguments(GONE) == []
    assert procfs.cgroup(GONE) == ""
    assert procfs.variables(GONE, "A", "B") == [None, None]
    assert procfs.status(GONE) is None
    assert procfs.start_ns(GONE) is None
    assert procfs.memory_bytes(GONE) is None
    assert list(procfs.mapped_files(GONE)) == []
    assert procfs.open_mapped(GONE, procfs.MappedFile((8, 1), 5, "/usr/lib/libssl.so.3", "7f00-7f01")) is None


@pytest.mark.parametrize("name", ["lib with spaces.so", "libssl.so.3"])
def test_mapped_files_even_deleted_ones(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x7fELF" + bytes(8192))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        inode = os.fstat(file.fileno()).st_ino
    path.unlink()
    path.write_bytes(b"another file of that name")
    (found,) = [mapped for mapped in procfs.mapped_files(os.getpid()) if mapped.path == str(path)]
    assert found.inode == inode
    descriptor = procfs.open_mapped(os.getpid(), found)
    if os.geteuid() == 0:  # map_files asks for a capability; by its name it would be the other file
        assert descriptor is not None
        assert os.fstat(descriptor).st_ino == inode
        os.close(descriptor)
    mapping.close()


@pytest.mark.parametrize(
    ("path", "tls", "crypto"),
    [
        ("/usr/lib/x86_64-linux-gnu/libssl.so.3", True, False),
        ("/usr/lib/libssl.so.1.1", True, False),
        ("/opt/wheel.libs/libssl-1c5e0a7e.so.1.1.1k", True, False),
        ("/usr/lib/libcrypto.so.3", False, True),
        ("/opt/libcrypto-d8a2.so", False, True),
        ("/usr/lib/libssl3.so", False, False),  # NSS
        ("/usr/lib/libsslcommon.so", False, False),
        ("/libssl.so.3/other", False, False),
        ("libssl.so", True, False),
        ("", False, False),
    ],
)
def test_names_of_libraries(path: str, tls: bool, crypto: bool) -> None:
    assert (procfs.is_tls_library(path), procfs.is_crypto_library(path)) == (tls, crypto)
