"""The first file system of a virtual machine: a static busybox, modules, and a script that mounts this machine's files.

The format is "newc" (Documentation/driver-api/early-userspace/buffer-format.rst of Linux): for each file a header of
thirteen hexadecimal numbers, the name, and the content, each padded to four bytes.
"""

from __future__ import annotations

import stat

DIRECTORY, PROGRAM = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o755
LAST = "TRAILER!!!"

INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
while read -r module; do $b insmod "/modules/$module" || echo "machine: no module $module"; done </modules/order
$b ip link set lo up
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=loose,access=any,ro files /files
for place in run tmp var/tmp var/log; do $b mount -t tmpfs tmpfs "/files/$place"; done
$b chmod 1777 /files/tmp /files/var/tmp
$b mkdir -p /files/run/machine /files/run/lock
$b mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,access=any work /files/run/machine
for place in proc sys dev; do $b mount --move "/$place" "/files/$place"; done
$b mkdir -p /files/dev/pts /files/dev/shm
$b mount -t devpts devpts /files/dev/pts
$b mount -t tmpfs tmpfs /files/dev/shm
$b mount -t tracefs tracefs /files/sys/kernel/tracing
$b mount -t debugfs debugfs /files/sys/kernel/debug
$b mount -t securityfs securityfs /files/sys/kernel/security
$b mount -t cgroup2 cgroup2 /files/sys/fs/cgroup
exec $b switch_root /files /bin/sh /run/machine/start
"""
"""`files` is this machine's root, read-only; `work` a folder of the host for what goes in and comes out."""


def initramfs(busybox: bytes, modules: list[tuple[str, bytes]]) -> bytes:
    """The archive. The modules are loaded in this order."""
    folders = ("bin", "dev", "files", "modules", "proc", "sys")
    order = "".join(f"{name}.ko\n" for name, _ in modules)
    files = [
        *((folder, DIRECTORY, b"") for folder in folders),
        ("bin/busybox", PROGRAM, busybox),
        ("init", PROGRAM, INIT.encode()),
        ("modules/order", PROGRAM, order.encode()),
        *((f"modules/{name}.ko", PROGRAM, content) for name, content in modules),
        (LAST, 0, b""),
    ]
    return b"".join(_file(number, *file) for number, file in enumerate(files, 1))


def _file(number: int, name: str, mode: int, content: bytes) -> bytes:
    # inode, mode, uid, gid, links, time, size, device (2), device it is (2), length of the name, checksum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name.encode() + b"\0") + _padded(content)


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % 4)
