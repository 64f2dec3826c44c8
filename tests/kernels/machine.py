"""A virtual machine with another kernel and this machine's files, in QEMU's software emulation.

    outcome = run(debian_kernel("linux-image-amd64"), ["uname", "-r"], directory, seconds=60)

It needs no hardware support, and leaves nothing behind: its root is this machine's, read-only, with fresh file systems
in memory where programs write. It has no network but its own loopback.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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


def run(
    kernel: Kernel,
    command: Sequence[str],
    directory: Path,
    *,
    seconds: float,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Boots the kernel, runs one command in the project's folder, and ends the machine.

    What lies in the folder `work` of `directory` is the command's /run/machine.

    Raises:
        KernelError: QEMU does not start.
    """
    work = directory / "work"
    work.mkdir(parents=True, exist_ok=True)
    start = _START.format(
        folder=shlex.quote(str(ROOT)),
        path=shlex.quote(f"{os.environ['PATH']}:/usr/sbin:/sbin"),
        environment=" ".join(f"{name}={shlex.quote(value)}" for name, value in (environment or {}).items()),
        command=shlex.join(command),
    )
    (work / "start").write_text(start)
    first = directory / "initramfs"
    first.write_bytes(initramfs(Path(program("busybox")).read_bytes(), kernel.needed(*MODULES)))
    console = directory / "console"
    machine = [
        program("qemu-system-x86_64"),
        *("-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max,-smap,-smep,-la57"),
        *("-smp", str(PROCESSORS), "-m", str(MEGABYTES)),
        *("-kernel", str(kernel.image), "-initrd", str(first)),
        *("-append", f"{APPEND}{counter_khz()}"),
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", f"file:{console}"),
        *("-virtfs", "local,path=/,mount_tag=files,security_model=none,readonly=on,multidevs=remap"),
        *("-virtfs", f"local,path={ROOT},mount_tag=project,security_model=none,readonly=on,multidevs=remap"),
        *("-virtfs", f"local,path={work},mount_tag=work,security_model=none"),
    ]
    try:
        done = subprocess.run(machine, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        pass
    else:
        if done.returncode:
            raise KernelError(f"QEMU ended with {done.returncode}: {done.stderr[-2000:]}")
    status = _read(work / "status").strip()
    return Outcome(int(status) if status else None, _read(work / "output"), _read(console))


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
