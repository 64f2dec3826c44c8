"""Compiles and loads `bpf/` with BCC, hands the descriptors over, and exits.

The only importer of bcc. It runs on the standard library alone under the distribution's Python (`/usr/bin/python3`), so
that the rest of the sensor runs on any Python >= 3.11 and LLVM's memory goes when it exits.

    loader.py SOCKET_DESCRIPTOR BPF_DIRECTORY  < parameters as JSON  > the same socket: one message

The answer is one JSON object with the descriptors attached (SCM_RIGHTS), in the order of its "descriptors" list, or
an object {"error": one line}. Kernel headers are not needed: a folder made of the user-space API headers satisfies BCC,
and offsets of kernel structures come from the running kernel's BTF. It is used even where kernel headers are installed:
one way to compile, the same on every node.
"""

import ctypes
import glob
import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import socket
import struct
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

if not __package__:  # run by its path: only so does it find its neighbour
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from apisensor import program_cache

MAX_DESCRIPTORS = 250
"""SCM_MAX_FD is 253: the kernel passes no more descriptors in one message."""

MOST_THREADS = 4
"""Programs loaded at once: there are three long ones."""

BPF_MAP_CREATE, BPF_MAP_UPDATE, BPF_RAW_TRACEPOINT_OPEN, BPF_LINK_CREATE = 0, 2, 17, 28
BPF_MAP_TYPE_RINGBUF, BPF_TRACE_FEXIT, BPF_TRACE_UPROBE_MULTI = 27, 25, 48
BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_TRACING = 2, 17, 26
KINDS = {
    "tracepoint": (BPF_PROG_TYPE_RAW_TRACEPOINT, 0),
    "kprobe": (BPF_PROG_TYPE_KPROBE, 0),
    "fexit": (BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT),
}
"""What programs with a place in the kernel are loaded as: type, and how they are to be attached."""
RETURN_ZERO = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
"""The smallest program: r0 = 0; exit."""
KPROBES = "/sys/bus/event_source/devices/kprobe"

OFFSETS = {
    "SOCK_FAMILY": ("sock", "__sk_common.skc_family"),
    "SOCK_PROTOCOL": ("sock", "sk_protocol"),
    "SOCK_LOCAL_PORT": ("sock", "__sk_common.skc_num"),
    "SOCK_REMOTE_PORT": ("sock", "__sk_common.skc_dport"),
    "SOCK_LOCAL_ADDRESS": ("sock", "__sk_common.skc_rcv_saddr"),
    "SOCK_REMOTE_ADDRESS": ("sock", "__sk_common.skc_daddr"),
    "SOCK_LOCAL_ADDRESS6": ("sock", "__sk_common.skc_v6_rcv_saddr"),
    "SOCK_REMOTE_ADDRESS6": ("sock", "__sk_common.skc_v6_daddr"),
    "TCP_UNACKNOWLEDGED": ("tcp_sock", "snd_una"),
    "TCP_BYTES_ACKED": ("tcp_sock", "bytes_acked"),
    "TCP_NEXT": ("tcp_sock", "rcv_nxt"),
    "TCP_BYTES_RECEIVED": ("tcp_sock", "bytes_received"),
    "SOCK_TYPE": ("sock", "sk_type"),
    "SOCK_SOCKET": ("sock", "sk_socket"),
    "SOCKET_FILE": ("socket", "file"),
    "SOCK_UPPER_PROTOCOL": ("inet_connection_sock", "icsk_ulp_ops"),
    "UPPER_PROTOCOL_NAME": ("tcp_ulp_ops", "name"),
    "TASK_FILES": ("task_struct", "files"),
    "TASK_TGID": ("task_struct", "tgid"),
    "TASK_PID": ("task_struct", "pid"),
    "TASK_PARENT": ("task_struct", "real_parent"),
    "TASK_MM": ("task_struct", "mm"),
    "TASK_SIGNAL": ("task_struct", "signal"),
    "SIGNAL_LIVE": ("signal_struct", "live"),
    "MM_ARGUMENTS": ("mm_struct", "arg_start"),
    "MM_ARGUMENTS_END": ("mm_struct", "arg_end"),
    "FILES_TABLE": ("files_struct", "fdt"),
    "TABLE_FILES": ("fdtable", "fd"),
    "TABLE_SIZE": ("fdtable", "max_fds"),
    "FILE_INODE": ("file", "f_inode"),
    "FILE_PRIVATE": ("file", "private_data"),
    "INODE_MODE": ("inode", "i_mode"),
    "INODE_NUMBER": ("inode", "i_ino"),
    "INODE_SUPER": ("inode", "i_sb"),
    "SUPER_DEVICE": ("super_block", "s_dev"),
    "SOCKET_SOCK": ("socket", "sk"),
    "TCP_COPIED_SEQUENCE": ("tcp_sock", "copied_seq"),
    "TCP_NEXT_SEQUENCE": ("tcp_sock", "rcv_nxt"),
    "SOCK_SHUTDOWN": ("sock", "sk_shutdown"),
    "BPRM_FILE": ("linux_binprm", "file"),
}
"""Macro in bpf/: (structure, field) whose byte offset in the running kernel it is."""
UNIX_OFFSETS = {
    "SOCK_PEER_PID": ("sock", "sk_peer_pid"),
    "SOCKET_INODE": ("socket_alloc", "vfs_inode"),
    "PID_NUMBERS": ("pid", "numbers"),
    "UPID_NUMBER": ("upid", "nr"),
    "UNIX_PEER": ("unix_sock", "peer"),
    "UNIX_ADDRESS": ("unix_sock", "addr"),
    "UNIX_ADDRESS_LENGTH": ("unix_address", "len"),
    "UNIX_ADDRESS_NAME": ("unix_address", "name"),
}
"""The same for unix sockets: absent where they are a module of the kernel (CONFIG_UNIX=m)."""

TRACEPOINTS = (
    "inet_sock_set_state",
    "tcp_destroy_sock",
    "sched_process_fork",
    "sched_process_exec",
    "sched_process_exit",
)
BACK_ENDS = {
    "sock": ("tracepoint:sock_send_length", "tracepoint:sock_recv_length", "tracepoint:tcp_rcv_space_adjust"),
    "kprobe": (
        *("kprobe:tcp_sendmsg", "kprobe:tcp_recvmsg"),
        *("fexit:tcp_sendmsg", "fexit:tcp_recvmsg", "fexit:tcp_sendpage", "fexit:tcp_splice_read"),
    ),
    "syscall": ("tracepoint:sys_exit",),
}
"""Back end: its programs by what they are attached to, in the order of attaching; `auto` takes the first back end that
the kernel offers. "sock" is one program a call and no trap; "kprobe" two, for socket calls only; "syscall" has every
system call of the machine pay."""
UPROBES = (
    *(f"openssl_{role}" for role in ("read", "write", "read_counted", "write_counted", "write_flags_counted")),
    *(f"openssl_{role}" for role in ("write_elsewhere", "quiet", "set_fd", "set_bio", "free", "clear", "bio_write")),
    *(f"gnutls_{role}" for role in ("read", "write", "read_elsewhere", "quiet", "set_fd", "free")),
    *(f"go_{role}" for role in ("read", "write", "quiet", "free")),
    "tls_return",
)
MAPS = (
    "notices",
    "rings",
    "config",
    "epochs",
    "governor",
    "connections",
    "tls_sessions",
    "attaching",
    "calls",
    "memory_bio",
    "policies",
    "pauses",
    "paused_ports",
    "ports_paused",
    "never_ports",
    "never_executables",
    "own_tuples",
    "skips",
    "traffic",
    "counts",
)
RING_TEMPLATE = "ring_template"
LAYOUTS = (
    "layout_record",
    "layout_endpoints",
    "layout_unix_identity",
    "layout_unix_names",
    "layout_notice",
    "skips",
    "governor",
    "config",
    "traffic",
    "tls_sessions",
)
"""Maps whose value type's layout is reported, for the decoders in Python to be compared with."""


class LoaderError(Exception):
    """What stands in the way, as one line that says what to do."""


class Btf:
    """Offsets of the running kernel's structures, read through libbpf (a dependency of the distribution's bcc)."""

    _STRUCT, _UNION, _ENUM, _TYPEDEF, _FUNCTION = 4, 5, 6, 8, 12
    _QUALIFIERS = (8, 9, 10, 11, 18)  # typedef, volatile, const, restrict, type tag

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL("libbpf.so.1")
        except OSError as error:
            raise LoaderError(f"libbpf.so.1 cannot be loaded ({error}): install the package libbpf1") from error
        self._lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
        self._lib.btf__find_by_name_kind.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]
        self._lib.btf__type_by_id.restype = ctypes.c_void_p
        self._lib.btf__type_by_id.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        self._lib.btf__name_by_offset.restype = ctypes.c_char_p
        self._lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        self._btf = self._load()

    def _load(self) -> int:
        if not os.path.exists("/sys/kernel/btf/vmlinux"):
            raise LoaderError(
                "the kernel has no BTF (/sys/kernel/btf/vmlinux): a kernel with CONFIG_DEBUG_INFO_BTF is needed"
            )
        return int(self._lib.btf__load_vmlinux_btf())

    def _type(self, number: int) -> tuple[int, int, int, int, int]:
        address = self._lib.btf__type_by_id(self._btf, number)
        _name, info, target = struct.unpack("III", ctypes.string_at(address, 12))
        return address, (info >> 24) & 0x1F, info & 0xFFFF, info >> 31, target

    def _find(self, number: int, field: str) -> tuple[int, int] | None:
        """(byte offset, type) of a field, anonymous members included; None if there is none."""
        address, kind, count, kind_flag, target = self._type(number)
        while kind in self._QUALIFIERS:
            number = target
            address, kind, count, kind_flag, target = self._type(number)
        if kind not in (self._STRUCT, self._UNION):
            return None
        for i in range(count):
            name_at, member, bits = struct.unpack("III", ctypes.string_at(address + 12 + 12 * i, 12))
            name = self._lib.btf__name_by_offset(self._btf, name_at).decode()
            offset = (bits & 0xFFFFFF if kind_flag else bits) // 8
            if name == field:
                return offset, member
            if not name:
                inner = self._find(member, field)
                if inner:
                    return offset + inner[0], inner[1]
        return None

    def _number(self, name: str, kind: int) -> int:
        """The type's number; 0: there is none."""
        return max(0, int(self._lib.btf__find_by_name_kind(self._btf, name.encode(), kind)))

    def _names(self, address: int, count: int) -> list[tuple[str, int]]:
        """(name, number) of an enumeration's constants or a function's parameters, which follow their type."""
        rows = struct.iter_unpack("Ii", ctypes.string_at(address + 12, 8 * count))
        return [(self._lib.btf__name_by_offset(self._btf, name).decode(), value) for name, value in rows]

    def has_tracepoint(self, name: str) -> bool:
        """Does the kernel have this raw tracepoint?"""
        return self._number(f"btf_trace_{name}", self._TYPEDEF) > 0

    def function(self, name: str) -> tuple[int, list[str]] | None:
        """(type number, names of its parameters) of a function of the kernel; None if there is none."""
        number = self._number(name, self._FUNCTION)
        if not number:
            return None
        address, _, count, _, _ = self._type(self._type(number)[4])
        return number, [parameter for parameter, _ in self._names(address, count)]

    def constants(self, enumeration: str) -> dict[str, int]:
        """The constants of an enumeration; none if there is no such."""
        number = self._number(enumeration, self._ENUM)
        if not number:
            return {}
        address, _, count, _, _ = self._type(number)
        return dict(self._names(address, count))

    def first(self, structure: str, *paths: str) -> int:
        """Byte offset of the first of these that the structure has: a field's name may be another in later kernels."""
        for path in paths[:-1]:
            try:
                return self.offset(structure, path)
            except LoaderError:
                continue
        return self.offset(structure, paths[-1])

    def offset(self, structure: str, path: str) -> int:
        """Byte offset of a dotted path in a structure."""
        number = self._lib.btf__find_by_name_kind(self._btf, structure.encode(), self._STRUCT)
        total = 0
        for field in path.split("."):
            found = self._find(number, field) if number > 0 else None
            if found is None:
                raise LoaderError(
                    f"this kernel's BTF ({platform.release()}) has no {structure}.{path}: "
                    "please report it with the kernel's name"
                )
            total, number = total + found[0], found[1]
        return total


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


def flatten(directory: str, name: str = "apisensor.c") -> str:
    """The main file with each include of a file beside it replaced by that file's text; #line keeps the positions."""
    lines = []
    with open(os.path.join(directory, name), encoding="ascii") as file:
        for number, line in enumerate(file, 1):
            included = re.match(r'#include "([\w.]+)"', line)
            if included:
                lines += [
                    f'#line 1 "{included[1]}"\n',
                    flatten(directory, included[1]),
                    f'\n#line {number + 1} "{name}"\n',
                ]
            else:
                lines.append(line)
    return "".join(lines)


def has_fexit(btf: Btf) -> bool:
    """Does the kernel have BPF trampolines? Tried on tcp_sendmsg: some load such a program and refuse to attach it."""
    function = btf.function("tcp_sendmsg")
    if function is None:
        return False
    try:
        program = program_cache.load_program("nothing", RETURN_ZERO, *KINDS["fexit"], function[0])
        link = program_cache.bpf(BPF_RAW_TRACEPOINT_OPEN, struct.pack("QI", 0, program))
    except OSError:
        return False
    os.close(link)
    os.close(program)
    return True


def lacking(back_end: str, btf: Btf) -> str | None:
    """What this kernel lacks for a back end; None: nothing."""
    if back_end == "sock" and not btf.has_tracepoint("sock_send_length"):
        return "the tracepoint sock:sock_send_length (kernel 6.3 and later)"
    if back_end == "kprobe" and not os.path.exists(KPROBES):
        return f"kprobes (CONFIG_KPROBE_EVENTS; no {KPROBES})"
    if back_end == "kprobe" and not has_fexit(btf):
        return "BPF trampolines (CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS), or lockdown forbids them"
    return None


def choose_back_end(wanted: str, btf: Btf) -> str:
    """The back end of the setting capture.backend. Raises LoaderError where this kernel does not offer it."""
    if wanted == "auto":
        return next(name for name in BACK_ENDS if lacking(name, btf) is None)
    reason = lacking(wanted, btf)
    if reason is not None:
        raise LoaderError(f"capture.backend {wanted}: this kernel ({platform.release()}) lacks {reason}: take auto")
    return wanted


def programs_in_kernel(back_end: str, btf: Btf) -> dict[str, int]:
    """The programs with a place in the kernel, in the order of attaching: what each is attached to, and for a BPF
    trampoline the number of the function's type. Which functions there are is the kernel's version's."""
    found = {f"tracepoint:{name}": 0 for name in TRACEPOINTS}
    for label in BACK_ENDS[back_end]:
        kind, _, place = label.partition(":")
        function = btf.function(place) if kind == "fexit" else (0, [])
        if function is not None:
            found[label] = function[0]
    return found


def function_of(label: str) -> str:
    """The C function that is attached there: in bpf/ one kernel function may have a program at its entry and another at
    its return."""
    kind, _, place = label.partition(":")
    return f"{kind}_{place}" if kind in ("kprobe", "fexit") else place


def kernel_function_macros(btf: Btf) -> dict[str, int]:
    """What bpf/kernel_probes.h has to know of this kernel: struct iov_iter, arguments of functions."""
    types = btf.constants("iter_type")
    macros = {
        "MESSAGE_ITERATOR": btf.offset("msghdr", "msg_iter"),
        "ITERATOR_TYPE": btf.first("iov_iter", "iter_type", "type"),
        "ITERATOR_COUNT": btf.offset("iov_iter", "count"),
        "ITERATOR_OFFSET": btf.offset("iov_iter", "iov_offset"),
        "ITERATOR_VECTORS": btf.first("iov_iter", "__iov", "iov"),
        "ITERATOR_VECTOR_COUNT": btf.offset("iov_iter", "nr_segs"),
        "ITERATOR_IS_VECTORS": types["ITER_IOVEC"],
        # Until kernel 5.13 the lowest bit of the type is the direction, and types are powers of two from 4 on.
        "ITERATOR_TYPE_MASK": 0xFE if types["ITER_IOVEC"] == 4 else 0xFF,
        "TASK_STACK": btf.offset("task_struct", "stack"),
    }
    if "ITER_UBUF" in types:  # kernel 6.0
        macros |= {"ITERATOR_IS_BUFFER": types["ITER_UBUF"], "ITERATOR_BUFFER": btf.offset("iov_iter", "ubuf")}
    if "BPF_FUNC_task_pt_regs" in btf.constants("bpf_func_id"):
        macros["HAVE_TASK_PT_REGS"] = 1
    for program in BACK_ENDS["kprobe"]:
        name = program.partition(":")[2]
        function = btf.function(name)
        if function is not None:
            macros[f"{name.upper()}_RESULT"] = len(function[1])
            if name == "tcp_recvmsg":
                macros["TCP_RECVMSG_FLAGS"] = function[1].index("flags")
    return macros


def has_uprobe_multi() -> bool:
    """Does the kernel have uprobe_multi links (6.6+)? Tried on the first byte of this program's file, which nothing
    executes: older kernels accept the program and refuse the link."""
    path, offsets = ctypes.create_string_buffer(b"/proc/self/exe"), (ctypes.c_uint64 * 1)(0)
    try:
        program = program_cache.load_program("nothing", RETURN_ZERO, BPF_PROG_TYPE_KPROBE, BPF_TRACE_UPROBE_MULTI)
        # prog_fd, target_fd, attach_type, flags; uprobe_multi: path, offsets, ref_ctr_offsets, cookies, cnt, flags, pid
        target = (ctypes.addressof(path), ctypes.addressof(offsets))
        attributes = struct.pack("IIIIQQQQIII", program, 0, BPF_TRACE_UPROBE_MULTI, 0, *target, 0, 0, 1, 0, 0)
        link = program_cache.bpf(BPF_LINK_CREATE, attributes)
    except OSError:
        return False
    os.close(link)
    os.close(program)
    return True


def make_rings(table: int, template: int, count: int, size: int) -> list[int]:
    """Creates the workers' rings, ring 0 being the template, and enters them in the array of maps."""
    rings = [template]
    for _ in range(1, count):
        rings.append(program_cache.bpf(BPF_MAP_CREATE, struct.pack("IIIII", BPF_MAP_TYPE_RINGBUF, 0, 0, size, 0)))
    for index, ring in enumerate(rings):
        key, value = ctypes.c_uint32(index), ctypes.c_uint32(ring)
        program_cache.bpf(
            BPF_MAP_UPDATE, struct.pack("IIQQQ", table, 0, ctypes.addressof(key), ctypes.addressof(value), 0)
        )
    return rings


def load_function(code: bytes, name: str, kind: int, attach: int, function: int) -> int:
    """The descriptor of one loaded program; the verifier's own words are on standard error when it refuses."""
    try:
        return program_cache.load_program(name, code, kind, attach, function)
    except OSError as error:
        why, _, words = (error.strerror or "").partition("\n")
        print(words, file=sys.stderr)
        raise LoaderError(f"the kernel refuses the program {name}: {why} (the verifier's lines are above)") from error


def unix_macros(btf: Btf, connections: int) -> dict[str, object]:
    """What bpf/unix.h has to know; 0 connections where the setting says so, or where the kernel's BTF lacks a field."""
    try:
        offsets = {macro: btf.offset(*field) for macro, field in UNIX_OFFSETS.items()} if connections else {}
    except LoaderError as error:
        print(f"apisensor: unix sockets are not captured: {error}", file=sys.stderr)
        connections = 0
        offsets = {}
    return {**offsets, "MAX_UNIX_CONNECTIONS": connections, "PAIR_SALT": f"{secrets.randbits(64)}ULL"}


def import_bcc() -> Any:
    """The BPF Compiler Collection. Raises LoaderError."""
    try:
        import bcc  # type: ignore[import-not-found] # noqa: PLC0415 - its absence is reported, not raised
    except ImportError as error:
        raise LoaderError(
            f"bcc cannot be imported by {sys.executable} ({error}): install the package python3-bpfcc"
        ) from error
    if not hasattr(bcc, "BPF"):
        raise LoaderError(
            f"{bcc.__file__} is not the BPF Compiler Collection (a crystal-lattice library has that name on PyPI): "
            "remove it and install the package python3-bpfcc"
        )
    return bcc


def compiler() -> str:
    """What is installed of bcc, without its import, which costs more than all else of a start from the cache."""
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        return ""
    status = os.stat(found.origin)
    return f"{found.origin} {status.st_mtime_ns} {status.st_size}"


class Source(NamedTuple):
    """What is to be compiled: text, flags, and what is wanted of it."""

    text: str
    flags: list[str]
    functions: list[str]


def source_of(macros: dict[str, int], directory: str, back_end: str, btf: Btf) -> Source:
    """What is to be compiled for the kernel whose BTF this is."""
    flags = [f"-D{macro}={btf.offset(*field)}" for macro, field in OFFSETS.items()]
    given = {**macros, **unix_macros(btf, macros["MAX_UNIX_CONNECTIONS"])}
    flags += [f"-D{name}={value}" for name, value in given.items()]
    flags += ["-Wno-macro-redefined", "-Wno-unused-function", f"-DBACK_END_{back_end.upper()}"]
    if back_end == "syscall" and not btf.has_tracepoint("sock_send_length"):
        # Both directions are in one program: at 128 the verifier of 6.1 gives up after its million instructions.
        flags.append("-DSOCKET_STEPS=64")
    if back_end == "kprobe":
        flags += [f"-D{macro}={value}" for macro, value in kernel_function_macros(btf).items()]
    functions = [*(function_of(label) for label in programs_in_kernel(back_end, btf)), *UPROBES]
    return Source(flatten(directory), flags, functions)


def compile_with_bcc(source: Source) -> tuple[program_cache.Compiled, list[int], Any]:
    """What BCC makes of it, the descriptors of the maps that it has made, and what they live as long as."""
    bcc = import_bcc()
    headers = tempfile.mkdtemp(prefix="apisensor-headers-")
    try:
        make_headers(headers)
        os.environ["BCC_KERNEL_SOURCE"] = headers
        program = bcc.BPF(text=source.text, cflags=source.flags)
    except LoaderError:
        raise
    except Exception as error:
        raise LoaderError(f"bpf/ does not compile or load: {error} (the compiler's lines are above)") from error
    finally:
        shutil.rmtree(headers, ignore_errors=True)
    compiled, maps = program_cache.gather(
        {name: program.dump_func(name.encode()) for name in source.functions},
        {name: program[name].map_fd for name in (RING_TEMPLATE, *MAPS)},
        RING_TEMPLATE,
        {name: layout(program[name].Leaf) for name in LAYOUTS},
    )
    return compiled, maps, program


def compiled(source: Source, cache: str | None) -> tuple[program_cache.Compiled, list[int], Any, str]:
    """From the cache where it is there, else compiled and kept; with what there is to say of it."""
    if cache is None:
        return (*compile_with_bcc(source), "compiled")
    # The salt is another one each time; with kept programs it is theirs, in a file that only root may read.
    flags = [flag for flag in source.flags if not flag.startswith("-DPAIR_SALT=")]
    key = program_cache.key(source.text, " ".join(flags), " ".join(source.functions), compiler())
    said = "compiled"
    try:
        kept = program_cache.read(cache, key)
        if kept is not None:
            return kept, program_cache.create_maps(kept.maps), None, "from the cache"
    except (program_cache.CacheError, OSError) as error:
        said = f"compiled, as the cache cannot be used ({error})"
    made, maps, owner = compile_with_bcc(source)
    try:
        program_cache.write(cache, key, made)
    except program_cache.CacheError as error:
        said += f"; they are not kept ({error})"
    return made, maps, owner, said


def layout(structure: Any) -> dict[str, Any]:
    """[[name, offset, size], ...] of a ctypes structure, and its size."""
    fields = [[name, getattr(structure, name).offset, getattr(structure, name).size] for name, *_ in structure._fields_]
    return {"fields": fields, "size": ctypes.sizeof(structure)}


def load(parameters: dict[str, Any], directory: str) -> tuple[dict[str, Any], list[int], Any]:
    """Compiles and loads everything. Returns (answer, descriptors, what the descriptors live as long as)."""
    if platform.machine() != "x86_64":
        raise LoaderError(f"this processor ({platform.machine()}) is not supported yet: only x86-64 is")
    btf = Btf()
    back_end = choose_back_end(parameters["back_end"], btf)
    in_kernel = programs_in_kernel(back_end, btf)
    source = source_of(parameters["macros"], directory, back_end, btf)
    made, map_descriptors, owner, said = compiled(source, parameters.get("cache"))
    maps = {one.name: descriptor for one, descriptor in zip(made.maps, map_descriptors, strict=True)}
    places = dict(enumerate(map_descriptors))
    code = {name: program_cache.relocate(kept, places) for name, kept in made.programs.items()}
    descriptors: list[int] = []
    names: list[str] = []

    def give(name: str, descriptor: int) -> None:
        names.append(name)
        descriptors.append(descriptor)

    multi = has_uprobe_multi()
    kinds = {label: (*KINDS[label.partition(":")[0]], in_kernel[label]) for label in in_kernel}
    attach = BPF_TRACE_UPROBE_MULTI if multi else 0
    kinds |= {f"uprobe:{name}": (BPF_PROG_TYPE_KPROBE, attach, 0) for name in UPROBES}

    def load_kind(label: str) -> int:
        name = function_of(label)
        return load_function(code[name], name, *kinds[label])

    # The verifier needs a second of processor time, most of it for three programs: longest first, side by side.
    longest = sorted(kinds, key=lambda label: -len(code[function_of(label)]))
    with ThreadPoolExecutor(min(os.cpu_count() or 1, MOST_THREADS)) as threads:
        loaded = dict(zip(longest, threads.map(load_kind, longest), strict=True))
    for label in kinds:
        give(label, loaded[label])
    for name in MAPS:
        give(f"map:{name}", maps[name])
    rings = make_rings(
        maps["rings"], maps[RING_TEMPLATE], parameters["workers"], parameters["macros"]["RING_PAGES"] * 4096
    )
    for index, ring in enumerate(rings):
        give(f"ring:{index}", ring)
    if len(descriptors) > MAX_DESCRIPTORS:
        raise LoaderError(f"{len(descriptors)} descriptors do not fit in one message: use fewer workers")
    answer = {
        "descriptors": names,
        "uprobe_multi": multi,
        "back_end": back_end,
        "layouts": made.layouts,
        "programs": said,
    }
    return answer, descriptors, owner


def main() -> int:
    link = socket.socket(fileno=int(sys.argv[1]))
    try:
        # `owner` must outlive the message: bcc closes what it has made.
        answer, descriptors, owner = load(json.load(sys.stdin), sys.argv[2])
    except (LoaderError, program_cache.CacheError) as error:
        answer, descriptors, owner = {"error": str(error)}, [], None
    except (OSError, KeyError, ValueError) as error:
        answer, descriptors, owner = {"error": f"loading failed: {type(error).__name__}: {error}"}, [], None
    socket.send_fds(link, [json.dumps(answer).encode()], descriptors)
    del owner
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main())
