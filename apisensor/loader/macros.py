"""What bpf/ has to know of the running kernel: macro by macro, from its BTF."""

import contextlib
import secrets
import sys

from apisensor.loader.back_ends import BACK_ENDS
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.iterators import iterator_macros

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
    "TCP_WRITTEN_SEQUENCE": ("tcp_sock", "write_seq"),
    "TCP_URGENT_SEQUENCE": ("tcp_sock", "urg_seq"),
    "SOCK_FLAGS": ("sock", "__sk_common.skc_flags"),
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


def kernel_function_macros(btf: Btf) -> dict[str, int]:
    """What bpf/kernel_probes.h has to know of this kernel: iterators, arguments of functions."""
    macros = {**iterator_macros(btf), "TASK_STACK": btf.offset("task_struct", "stack")}
    if "BPF_FUNC_task_pt_regs" in btf.constants("bpf_func_id"):
        macros["HAVE_TASK_PT_REGS"] = 1
    for program in BACK_ENDS["kprobe"]:
        name = program.partition(":")[2]
        function = btf.function(name)
        if function is not None and name.endswith("_recvmsg"):
            macros[f"{name.upper()}_FLAGS"] = function[1].index("flags")
    return macros


def result_macros(back_end: str, btf: Btf) -> dict[str, int]:
    """Where a BPF trampoline has the result: behind the arguments of the function."""
    names = [program.partition(":")[2] for program in BACK_ENDS[back_end] if program.startswith("fexit:")]
    found = {name: btf.function(name) for name in names}
    return {f"{name.upper()}_RESULT": len(function[1]) for name, function in found.items() if function is not None}


BPF_F_NO_PREALLOC = 1


def entry_flags(btf: Btf) -> int:
    """How the large tables of bpf/maps.h are made. Until kernel 6.1 a program that allocates an entry may meet the
    locks of the allocator that it interrupted, and the verifier warns of it; since then tables have their own."""
    try:
        btf.offset("bpf_htab", "ma")
    except LoaderError:
        return 0
    return BPF_F_NO_PREALLOC


def unix_macros(btf: Btf, connections: int) -> dict[str, object]:
    """What bpf/unix.h has to know; 0 connections where the setting says so, or where the kernel's BTF lacks a field."""
    try:
        offsets = {macro: btf.offset(*field) for macro, field in UNIX_OFFSETS.items()} if connections else {}
        with contextlib.suppress(LoaderError):  # kernel 6.17 and later
            offsets["UNIX_QUEUED"] = btf.offset("unix_sock", "inq_len")
    except LoaderError as error:
        print(f"apisensor: unix sockets are not captured: {error}", file=sys.stderr)
        connections = 0
        offsets = {}
    return {**offsets, "MAX_UNIX_CONNECTIONS": connections, "PAIR_SALT": f"{secrets.randbits(64)}ULL"}
