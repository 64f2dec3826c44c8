"""A virtual machine with another kernel and this machine's files, in QEMU's software emulation.

    with Machine(debian_kernel(), ["uname", "-r"], directory) as machine:
        outcome = machine.wait(60)

It needs no hardware support, and leaves nothing behind: its root is this machine's, read-only, with fresh file systems
in memory where programs write. It has no network but its own loopback.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tests.kernels.debian import Kernel, KernelError
from tests.kernels.initramfs import initramfs
from tests.peers.process import ROOT, program

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "tls", "gcm", "ctr", "ghash_generic", "aesni_intel")
APPEND = " ".join(
    (
        "console=ttyS0 panic=-1 random.trust_cpu=on",
        # What costs an emulated processor most and proves nothing here.
        "mitigations=off no5lvl init_on_alloc=0 hardened_usercopy=off apparmor=0 audit=0 nowatchdog",
        "rcupdate.rcu_expedited=1",
        # The kernel trusts no emulated time stamp counter by itself, nor can it measure its frequency; every look at
        # another clock leaves the machine: with this one it is twice as fast.
        "clocksource=tsc tsc=reliable tsc_early_khz=",
    )
)
COUNTER_SECONDS = 0.2
PROCESSORS = 2
MEGABYTES = 3072
_START = """mkdir -p {folder}
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any,ro project {folder}
cd {folder}
export PATH={path} HOME=/tmp LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 {environment}
{command} >/run/machine/output 2>&1 </dev/null
echo $? >/run/machine/status
sync
echo o >/proc/sysrq-trigger
sleep 60
"""
"""The project's folder is mounted by itself: where it lies in /tmp, the root does not show it."""


@dataclass(frozen=True)
class Outcome:
    """How a command in the machine ended."""

    status: int | None
    """None: it did not end in time, or the machine did not come so far."""
    output: str
    """Both streams."""
    console: str
    """What the kernel said."""


class Machine:
    """A running machine: boots the kernel, runs one command in the project's folder, and ends. A context manager that
    leaves no process behind.

    What lies in the folder `work` of `directory` is the command's /run/machine.

    Raises:
        PeerError: QEMU or busybox is not installed.
    """

    def __init__(
        self,
        kernel: Kernel,
        command: Sequence[str],
        directory: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.kernel = kernel
        self._directory, self._work = directory, directory / "work"
        self._work.mkdir(parents=True, exist_ok=True)
        start = _START.format(
            folder=shlex.quote(str(ROOT)),
            path=shlex.quote(f"{os.environ['PATH']}:/usr/sbin:/sbin"),
            environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()),
            command=shlex.join(command),
        )
        (self._work / "start").write_text(start)
        first = directory / "initramfs"
        first.write_bytes(initramfs(Path(program("busybox")).read_bytes(), kernel.needed(*MODULES)))
        arguments = [
            *("setpriv", "--pdeathsig", "KILL"),  # whatever ends the tests ends it
            program("qemu-system-x86_64"),
            *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-smap,-smep,-la57"),
            *("-smp", str(PROCESSORS), "-m", str(MEGABYTES)),
            *("-kernel", str(kernel.image), "-initrd", str(first)),
            *("-append", f"{APPEND}{counter_khz()}"),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            *("-serial", f"file:{directory / 'console'}"),
            *("-virtfs", "local,path=/,mount_tag=files,security_model=none,readonly=on,multidevs=remap"),
            *("-virtfs", f"local,path={ROOT},mount_tag=project,security_model=none,readonly=on,multidevs=remap"),
            *("-virtfs", f"local,path={self._work},mount_tag=work,security_model=none"),
        ]
        with (directory / "errors").open("wb") as errors:
            self._process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)

    def wait(self, seconds: float) -> Outcome:
        """Waits for its end, or ends it.

        Raises:
            KernelError: QEMU failed.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            if code := self._process.wait(seconds):
                raise KernelError(f"QEMU ended with {code}: {_read(self._directory / 'errors')[-2000:]}")
        self.stop()
        status = _read(self._work / "status").strip()
        console = _read(self._directory / "console")
        return Outcome(int(status) if status else None, _read(self._work / "output"), console)

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def counter_khz() -> int:
    """The frequency of this processor's time stamp counter, which is the emulated one's."""
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3")  # rdtsc; shl $32, %rdx; or %rdx, %rax; ret
        there = ctypes.c_char.from_buffer(page)
        read = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(there))
        since, first = time.perf_counter(), read()
        time.sleep(COUNTER_SECONDS)
        count, elapsed = read() - first, time.perf_counter() - since
        del there
    return int(count / elapsed / 1000)


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""
