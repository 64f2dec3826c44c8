"""A folder that BCC takes for kernel headers, so that none need be installed.

It is used even where they are: one way to compile, the same on every node. Offsets of kernel structures come from the
running kernel's BTF (macros.py).
"""

import glob
import os
import platform

from apisensor.loader.errors import LoaderError


def make_headers(directory: str) -> None:
    """Fills a folder that BCC takes for kernel headers from the user-space API headers (package linux-libc-dev)."""
    multiarch = f"{platform.machine()}-linux-gnu"
    if not os.path.exists("/usr/include/linux/types.h") or not os.path.isdir(f"/usr/include/{multiarch}/asm"):
        raise LoaderError("the user-space kernel headers are missing: install the package linux-libc-dev")
    for name in ("include/linux", "include/asm", "include/uapi/linux", "arch/x86/include"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    path = os.path.join

    def write(name: str, text: str) -> None:
        with open(path(directory, name), "w", encoding="ascii") as file:
            file.write(text)

    for header in glob.glob("/usr/include/linux/*.h"):
        os.symlink(header, path(directory, "include/uapi/linux", os.path.basename(header)))
        os.symlink(header, path(directory, "include/linux", os.path.basename(header)))
    for header in glob.glob(f"/usr/include/{multiarch}/asm/*.h"):
        os.symlink(header, path(directory, "include/asm", os.path.basename(header)))
    os.symlink("/usr/include/asm-generic", path(directory, "include/asm-generic"))
    os.symlink("/usr/include/linux/byteorder", path(directory, "include/linux/byteorder"))
    # bcc brings its own bpf.h; the user-space one has another include guard and would define everything twice.
    for name in (
        "include/uapi/linux/bpf.h",
        "include/linux/bpf.h",
        "include/asm/ptrace.h",
        "include/linux/types.h",
        "include/linux/version.h",
    ):
        if os.path.lexists(path(directory, name)):
            os.unlink(path(directory, name))
    write("include/uapi/linux/bpf.h", "")
    write("include/linux/bpf.h", "")
    write("include/linux/log2.h", "")
    write("include/asm/page.h", "#define PAGE_SIZE 4096\n")
    write("include/linux/kconfig.h", "#define CONFIG_BPF_SYSCALL 1\n#define CONFIG_X86_64 1\n")
    write(
        "include/linux/version.h",
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        "#ifndef LINUX_VERSION_CODE\n#define LINUX_VERSION_CODE KERNEL_VERSION(6, 1, 0)\n#endif\n",
    )
    write(
        "include/linux/types.h",
        "#pragma once\n#include <uapi/linux/types.h>\n"
        "typedef __u8 u8; typedef __u16 u16; typedef __u32 u32; typedef __u64 u64;\n"
        "typedef __s8 s8; typedef __s16 s16; typedef __s32 s32; typedef __s64 s64;\n"
        "typedef _Bool bool; typedef unsigned long size_t; typedef unsigned long uintptr_t; typedef int pid_t;\n"
        "enum { false = 0, true = 1 };\n",
    )
    write(
        "include/asm/ptrace.h",
        "#pragma once\nstruct pt_regs { unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di,"
        " orig_ax, ip, cs, flags, sp, ss; };\n",
    )
