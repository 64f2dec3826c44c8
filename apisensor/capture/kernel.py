"""bpf(2) and perf_event_open(2), as far as the sensor uses them, without bcc or libbpf.

Numbers and structures: include/uapi/linux/bpf.h and perf_event.h of Linux 6.6. x86-64 only, as the loader says.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_SYS_BPF, _SYS_PERF_EVENT_OPEN = 321, 298
_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_GET_NEXT_KEY = 1, 2, 3, 4
_RAW_TRACEPOINT_OPEN, _LINK_CREATE, _ENABLE_STATS = 17, 28, 32
_TRACE_UPROBE_MULTI, _UPROBE_MULTI_RETURN = 48, 1
_RING = 27
_PERF_FLAG_CLOEXEC = 8
_IOC_ENABLE, _IOC_SET_BPF = 0x2400, 0x40042408
_ATTRIBUTES = 160
"""Bytes of union bpf_attr that are passed; zero beyond what a command uses."""

POLICY_ADMITTED, POLICY_NEVER, POLICY_OWN = b"\1", b"\2", b"\3"
"""enum policy of bpf/maps.h."""

_libc = ctypes.CDLL(None, use_errno=True)
_at = ctypes.addressof


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _bpf(command: int, attributes: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attributes, max(_ATTRIBUTES, len(attributes)))
    return _check(_libc.syscall(_SYS_BPF, command, buffer, len(buffer)), what)


class Map:
    """A BPF map by its descriptor; keys and values are bytes of the map's sizes. Errors are OSError."""

    def __init__(self, descriptor: int, key_size: int, value_size: int) -> None:
        self.descriptor = descriptor
        self._key_size, self._value_size = key_size, value_size

    def get(self, key: bytes) -> bytes | None:
        """The value, or None where the key is absent."""
        k, v = ctypes.create_string_buffer(key, self._key_size), ctypes.create_string_buffer(self._value_size)
        try:
            _bpf(_MAP_LOOKUP, struct.pack("IIQQQ", self.descriptor, 0, _at(k), _at(v), 0), "map lookup")
        except FileNotFoundError:
            return None
        return v.raw

    def set(self, key: bytes, value: bytes) -> None:
        k, v = ctypes.create_string_buffer(key, self._key_size), ctypes.create_string_buffer(value, self._value_size)
        _bpf(_MAP_UPDATE, struct.pack("IIQQQ", self.descriptor, 0, _at(k), _at(v), 0), "map update")

    def delete(self, key: bytes) -> None:
        """Removes a key; absent is fine."""
        k = ctypes.create_string_buffer(key, self._key_size)
        try:
            _bpf(_MAP_DELETE, struct.pack("IIQQQ", self.descriptor, 0, _at(k), 0, 0), "map delete")
        except FileNotFoundError:
            return

    def keys(self, most: int = 1 << 20) -> list[bytes]:
        """The keys at this moment; entries that come or go meanwhile may be missed or repeated, so at most `most`."""
        found: list[bytes] = []
        key: bytes | None = None
        following = ctypes.create_string_buffer(self._key_size)
        while len(found) < most:
            k = ctypes.create_string_buffer(key, self._key_size) if key is not None else None
            attributes = struct.pack("IIQQQ", self.descriptor, 0, _at(k) if k is not None else 0, _at(following), 0)
            try:
                _bpf(_MAP_GET_NEXT_KEY, attributes, "map walk")
            except FileNotFoundError:
                break
            key = following.raw
            found.append(key)
        return found


def per_cpu_sum(descriptor: int, entries: int) -> list[int]:
    """The values of a per-CPU array of u64, summed over the processors."""
    processors = possible_processors()
    table = Map(descriptor, 4, 8 * processors)
    sums = []
    for index in range(entries):
        value = table.get(struct.pack("I", index)) or bytes(8 * processors)
        sums.append(sum(struct.unpack(f"{processors}Q", value)))
    return sums


def possible_processors() -> int:
    """Processors that may ever be present: the number of copies of a per-CPU value."""
    last = Path("/sys/devices/system/cpu/possible").read_text(encoding="ascii").strip().replace(",", "-").split("-")[-1]
    return int(last) + 1


def open_raw_tracepoint(program: int, name: str) -> int:
    """Attaches a raw tracepoint program (4.17+); the descriptor returned holds the attachment."""
    text = ctypes.create_string_buffer(name.encode())
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("QI", _at(text), program), f"attaching to {name}")


def attach_uprobe_multi(program: int, path: str, offsets: list[int], *, on_return: bool, pid: int = 0) -> int:
    """One uprobe_multi link (6.6+) over several file offsets of one file; `pid` 0 is every process."""
    text = ctypes.create_string_buffer(path.encode())
    places = (ctypes.c_uint64 * len(offsets))(*offsets)
    flags = _UPROBE_MULTI_RETURN if on_return else 0
    # prog_fd, target_fd, attach_type, flags; uprobe_multi: path, offsets, ref_ctr_offsets, cookies, cnt, flags, pid
    attributes = struct.pack(
        "IIIIQQQQIII", program, 0, _TRACE_UPROBE_MULTI, 0, _at(text), _at(places), 0, 0, len(offsets), flags, pid
    )
    return _bpf(_LINK_CREATE, attributes, f"attaching to {path}")


def attach_uprobe(program: int, path: str, offset: int, *, on_return: bool, pid: int = 0) -> int:
    """One uprobe or uretprobe through perf (4.17+), for kernels without uprobe_multi; `pid` 0 is every process."""
    return _attach_probe("uprobe", program, path, offset, on_return=on_return, pid=pid)


def attach_kprobe(program: int, function: str) -> int:
    """A kprobe at the entry of a function of the kernel, through perf (4.17+)."""
    return _attach_probe("kprobe", program, function, 0, on_return=False, pid=0)


def open_fexit(program: int, function: str) -> int:
    """Attaches a program to the return of the function of the kernel that it was loaded for (5.5+)."""
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("QI", 0, program), f"attaching to the return of {function}")


def _attach_probe(kind: str, program: int, place: str, offset: int, *, on_return: bool, pid: int) -> int:
    """`place`: a file for a uprobe, a function for a kprobe."""
    number = int(Path(f"/sys/bus/event_source/devices/{kind}/type").read_text(encoding="ascii"))
    text = ctypes.create_string_buffer(place.encode())
    # type, size, config (bit 0: on return), sample_period, sample_type, read_format, flags, wakeup, bp_type,
    # path or function, offset
    attributes = ctypes.create_string_buffer(
        struct.pack("IIQQQQQIIQQ", number, 112, int(on_return), 1, 0, 0, 0, 1, 0, _at(text), offset), 112
    )
    what = f"attaching to {place}"
    descriptor = _check(
        _libc.syscall(_SYS_PERF_EVENT_OPEN, attributes, pid or -1, -1 if pid else 0, -1, _PERF_FLAG_CLOEXEC), what
    )
    try:
        _check(_libc.ioctl(descriptor, _IOC_SET_BPF, program), what)
        _check(_libc.ioctl(descriptor, _IOC_ENABLE, 0), what)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_mapping_events(processor: int) -> int:
    """A perf event that reports executable mappings (PERF_RECORD_MMAP2) of every process on one processor.

    Each record ends with its time, CLOCK_MONOTONIC ns. Readable from the first byte on.
    """
    kind_software, config_dummy, size, sample_time, clock_monotonic = 1, 9, 112, 1 << 2, 1
    mmap_bit, watermark, sample_id_all, mmap2_bit, use_clockid = 1 << 8, 1 << 14, 1 << 18, 1 << 23, 1 << 25
    flags = mmap_bit | watermark | sample_id_all | mmap2_bit | use_clockid
    # type, size, config, sample_period, sample_type, read_format, flags, wakeup_watermark, bp_type, then config1,
    # config2, branch_sample_type, sample_regs_user, sample_stack_user, clockid
    attributes = ctypes.create_string_buffer(
        struct.pack(
            "IIQQQQQIIQQQQIi",
            *(kind_software, size, config_dummy, 0, sample_time, 0, flags, 1, 0, 0, 0, 0, 0, 0, clock_monotonic),
        ),
        size,
    )
    return _check(
        _libc.syscall(_SYS_PERF_EVENT_OPEN, attributes, -1, processor, -1, _PERF_FLAG_CLOEXEC),
        f"watching mappings on processor {processor}",
    )


def recursion_misses(program: int) -> int:
    """How often a program was not run because it was running on the processor already (5.12+); 0 where not told."""
    return _of(program, "recursion_misses:")


def run_time_ns(program: int) -> int:
    """How long a program has run, ns, on all processors; it rises while `count_run_time` is in force."""
    return _of(program, "run_time_ns:")


def count_run_time() -> int:
    """Has the kernel measure how long programs run (5.8+, root): two looks at the clock a run, for as long as the
    descriptor returned is open."""
    return _bpf(_ENABLE_STATS, struct.pack("I", 0), "measuring the run time of BPF programs")


def map_memory(descriptor: int) -> int:
    """Bytes of kernel memory that a map takes. Of a table whose entries are made as they are needed, those that are
    there, from kernel 6.4 on; before, the kernel tells what the table may grow to."""
    size = _of(descriptor, "max_entries:") if _of(descriptor, "map_type:") == _RING else 0
    return max(_of(descriptor, "memlock:"), size)  # from 5.11 to 6.3 it takes a ring's pages for nothing


def _of(descriptor: int, name: str) -> int:
    """A number that the kernel tells of an open program or map; 0 where it does not."""
    try:
        text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0
