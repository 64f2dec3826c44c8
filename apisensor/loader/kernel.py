"""bpf(2), as far as the loader uses it: maps, programs, and what of both the running kernel has.

Numbers and structures: include/uapi/linux/bpf.h of Linux 6.6.
"""

import ctypes
import os
import struct
from typing import NamedTuple

from apisensor.loader.btf import Btf
from apisensor.loader.errors import CacheError

_SYS_BPF = 321
_MAP_CREATE, _MAP_UPDATE, _PROG_LOAD, _OBJECT_INFO, _RAW_TRACEPOINT_OPEN, _LINK_CREATE = 0, 2, 5, 15, 17, 28
_MAP_TYPE_RINGBUF = 27
_MAPS_OF_MAPS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS
_MAP_INFO = struct.Struct("IIIIII16s")  # type, id, key_size, value_size, max_entries, map_flags, name
_LOG_BYTES = 1 << 20
BPF_TRACE_FEXIT, BPF_TRACE_UPROBE_MULTI = 25, 48
BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_TRACING = 2, 17, 26
_RETURN_ZERO = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
"""The smallest program: r0 = 0; exit."""


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2). Returns the result; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 160))
    result = libc.syscall(_SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


class Definition(NamedTuple):
    """What a map is made of: the first fields of union bpf_attr."""

    kind: int
    key_size: int
    value_size: int
    entries: int
    flags: int
    inner: int | None
    """Place in the list of the map that is the pattern of those in it."""
    name: str


def describe(descriptor: int, name: str | None) -> Definition:
    """What a map is made of, by its descriptor; its name where it has one here. Raises CacheError."""
    info = ctypes.create_string_buffer(_MAP_INFO.size)
    try:
        bpf(_OBJECT_INFO, struct.pack("IIQ", descriptor, _MAP_INFO.size, ctypes.addressof(info)))
    except OSError as error:
        raise CacheError(f"the kernel does not tell what the map {name} is made of: {error.strerror}") from error
    kind, _, key_size, value_size, entries, flags, own_name = _MAP_INFO.unpack(info.raw)
    inner = 0 if kind in _MAPS_OF_MAPS else None
    return Definition(kind, key_size, value_size, entries, flags, inner, name or own_name.rstrip(b"\0").decode())


def create_maps(definitions: list[Definition]) -> list[int]:
    """Makes the maps; patterns of maps of maps come before these. Raises OSError."""
    made: list[int] = []
    for one in definitions:
        inner = made[one.inner] if one.inner is not None else 0
        # map_type, key_size, value_size, max_entries, map_flags, inner_map_fd, numa_node, map_name
        sizes = (one.kind, one.key_size, one.value_size, one.entries, one.flags)
        attributes = struct.pack("IIIIIII16s", *sizes, inner, 0, one.name[:15].encode())
        made.append(bpf(_MAP_CREATE, attributes))
    return made


def make_rings(table: int, template: int, count: int, size: int) -> list[int]:
    """Creates the workers' rings, ring 0 being the template, and enters them in the array of maps."""
    rings = [template]
    for _ in range(1, count):
        rings.append(bpf(_MAP_CREATE, struct.pack("IIIII", _MAP_TYPE_RINGBUF, 0, 0, size, 0)))
    for index, ring in enumerate(rings):
        key, value = ctypes.c_uint32(index), ctypes.c_uint32(ring)
        bpf(_MAP_UPDATE, struct.pack("IIQQQ", table, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
    return rings


def load_program(name: str, code: bytes, kind: int, attach: int = 0, function: int = 0) -> int:
    """Loads one program; where the kernel refuses it, the verifier's words are in the error. Raises OSError.

    Args:
        function: Number of the BTF type of the function that a BPF trampoline is for.
    """
    at = ctypes.addressof
    instructions, license_ = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_BYTES)
    label = name[:15].encode()

    def attempt(level: int) -> int:
        # prog_type, insn_cnt, insns, license, log_level, log_size, log_buf, kern_version, prog_flags, prog_name,
        # prog_ifindex, expected_attach_type, prog_btf_fd, func_info_rec_size, func_info, func_info_cnt,
        # line_info_rec_size, line_info, line_info_cnt, attach_btf_id
        attributes = struct.pack(
            "IIQQIIQII16sIIIIQIIQII",
            *(kind, len(code) // 8, at(instructions), at(license_), level, _LOG_BYTES if level else 0),
            *(at(log) if level else 0, 0, 0, label, 0, attach),
            *(0, 0, 0, 0, 0, 0, 0, function),
        )
        return bpf(_PROG_LOAD, attributes)

    try:
        return attempt(0)
    except OSError as error:
        try:
            return attempt(1)
        except OSError:
            words = log.value.decode("utf-8", "replace")[-4096:]
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)}\n{words}") from error


def has_fexit(btf: Btf) -> bool:
    """Does the kernel have BPF trampolines? Tried on tcp_sendmsg: some load such a program and refuse to attach it."""
    function = btf.function("tcp_sendmsg")
    if function is None:
        return False
    try:
        program = load_program("nothing", _RETURN_ZERO, BPF_PROG_TYPE_TRACING, BPF_TRACE_FEXIT, function[0])
        link = bpf(_RAW_TRACEPOINT_OPEN, struct.pack("QI", 0, program))
    except OSError:
        return False
    os.close(link)
    os.close(program)
    return True


def has_uprobe_multi() -> bool:
    """Does the kernel have uprobe_multi links (6.6+)? Tried on the first byte of this program's file, which nothing
    executes: older kernels accept the program and refuse the link."""
    path, offsets = ctypes.create_string_buffer(b"/proc/self/exe"), (ctypes.c_uint64 * 1)(0)
    try:
        program = load_program("nothing", _RETURN_ZERO, BPF_PROG_TYPE_KPROBE, BPF_TRACE_UPROBE_MULTI)
        # prog_fd, target_fd, attach_type, flags; uprobe_multi: path, offsets, ref_ctr_offsets, cookies, cnt, flags, pid
        target = (ctypes.addressof(path), ctypes.addressof(offsets))
        attributes = struct.pack("IIIIQQQQIII", program, 0, BPF_TRACE_UPROBE_MULTI, 0, *target, 0, 0, 1, 0, 0)
        link = bpf(_LINK_CREATE, attributes)
    except OSError:
        return False
    os.close(link)
    os.close(program)
    return True
