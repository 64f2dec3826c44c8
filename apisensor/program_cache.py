"""Compiled programs, kept so that the next start needs no compiler. Part of the loader: the standard library alone.

BCC compiles C for seconds; what comes of it depends on the text, its macros (which hold the offsets of the running
kernel) and the compiler. So it is kept under a key of all that: the instructions of each program, in which a map's
descriptor is replaced by its place in the list of maps, and what each map is made of.

The file is root's alone (0600) in a folder that only root may write, and carries its own hash. Whatever is wrong with
it, it is passed over, said, and written anew.
"""

import base64
import ctypes
import hashlib
import json
import os
import platform
import stat
import struct
from typing import Any, NamedTuple

FORMAT = 1
"""Raised when the form of the file changes."""
MOST_BYTES = 64 << 20
"""A file larger than this is not one of ours: all programs are a few MB."""

_INSTRUCTION = struct.Struct("<BBhi")
_LOAD_IMMEDIATE = 0x18  # BPF_LD | BPF_IMM | BPF_DW: two slots
_MAP_DESCRIPTOR = 1  # BPF_PSEUDO_MAP_FD in the source register
_MAPS_OF_MAPS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS

_SYS_BPF = 321
_MAP_CREATE, _PROG_LOAD, _OBJECT_INFO = 0, 5, 15
_MAP_INFO = struct.Struct("IIIIII16s")  # type, id, key_size, value_size, max_entries, map_flags, name
_LOG_BYTES = 1 << 20


class CacheError(Exception):
    """The programs cannot be kept, or what was kept cannot be used: one line."""


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


class Compiled(NamedTuple):
    """All that there is to load."""

    maps: list[Definition]
    programs: dict[str, bytes]
    """Instructions, a map's place where its descriptor goes."""
    layouts: dict[str, Any]


def key(*parts: str) -> str:
    """Of the text and all that it is compiled with; the running kernel is added to it."""
    digest = hashlib.sha256(f"{FORMAT}\0{platform.machine()}\0{platform.release()}\0{platform.version()}".encode())
    for part in parts:
        digest.update(b"\0" + hashlib.sha256(part.encode()).digest())
    return digest.hexdigest()


def gather(
    functions: dict[str, bytes], named: dict[str, int], pattern: str, layouts: dict[str, Any]
) -> tuple[Compiled, list[int]]:
    """What a compiler has made, ready to be kept, and the descriptors of its maps in the order of the list.

    Args:
        functions: Instructions, with descriptors of maps in them.
        named: Maps that are asked for by name; there may be more in the instructions.
        pattern: Which of them is the pattern of the maps in maps of maps.
        layouts: Kept beside them.

    Raises:
        CacheError: it cannot be kept.
    """
    descriptors = dict.fromkeys([named[pattern], *named.values()])
    for code in functions.values():
        descriptors.update(dict.fromkeys(_references(code)))
    places = {descriptor: place for place, descriptor in enumerate(descriptors)}
    names = {descriptor: name for name, descriptor in named.items()}
    maps = [_describe(descriptor, names.get(descriptor)) for descriptor in descriptors]
    programs = {name: relocate(code, places) for name, code in functions.items()}
    return Compiled(maps, programs, layouts), list(descriptors)


def _describe(descriptor: int, name: str | None) -> Definition:
    info = ctypes.create_string_buffer(_MAP_INFO.size)
    try:
        bpf(_OBJECT_INFO, struct.pack("IIQ", descriptor, _MAP_INFO.size, ctypes.addressof(info)))
    except OSError as error:
        raise CacheError(f"the kernel does not tell what the map {name} is made of: {error.strerror}") from error
    kind, _, key_size, value_size, entries, flags, own_name = _MAP_INFO.unpack(info.raw)
    inner = 0 if kind in _MAPS_OF_MAPS else None
    return Definition(kind, key_size, value_size, entries, flags, inner, name or own_name.rstrip(b"\0").decode())


def _references(code: bytes) -> list[int]:
    """Descriptors of maps in instructions."""
    found = []
    at = 0
    while at < len(code):
        operation, registers, _, immediate = _INSTRUCTION.unpack_from(code, at)
        if operation == _LOAD_IMMEDIATE and registers >> 4 == _MAP_DESCRIPTOR:
            found.append(immediate)
        at += 16 if operation == _LOAD_IMMEDIATE else 8
    return found


def relocate(code: bytes, places: dict[int, int]) -> bytes:
    """The instructions with every map reference replaced: descriptor by place, or place by descriptor.

    Raises:
        CacheError: a reference leads elsewhere.
    """
    out = bytearray(code)
    at = 0
    while at < len(code):
        operation, registers, offset, immediate = _INSTRUCTION.unpack_from(code, at)
        if operation != _LOAD_IMMEDIATE:
            at += 8
            continue
        source = registers >> 4
        if source:
            if source != _MAP_DESCRIPTOR or immediate not in places:
                raise CacheError(f"an instruction refers to something that is no known map (at {at // 8})")
            _INSTRUCTION.pack_into(out, at, operation, registers, offset, places[immediate])
        at += 16
    return bytes(out)


def write(path: str, cache_key: str, compiled: Compiled) -> None:
    """Keeps it in place of what was there. Raises CacheError."""
    content = {
        "maps": compiled.maps,
        "programs": {name: base64.b64encode(code).decode() for name, code in compiled.programs.items()},
        "layouts": compiled.layouts,
    }
    body = f"{cache_key}\n{json.dumps(content)}".encode()
    temporary = f"{path}.new"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CacheError(f"{path} cannot be written: {error.strerror}") from error


def read(path: str, cache_key: str) -> Compiled | None:
    """What was kept under this key; None: nothing, or for another text, kernel or compiler.

    Raises:
        CacheError: there is a file that cannot be trusted or read.
    """
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
                raise CacheError(f"{path} is not a file that only its owner, who runs this, may read and write")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"{path} cannot be read: {error.strerror}") from error
    digest, _, body = content.partition(b"\n")
    if len(content) > MOST_BYTES or hashlib.sha256(body).hexdigest().encode() != digest:
        raise CacheError(f"{path} is damaged")
    kept_key, _, text = body.partition(b"\n")
    if kept_key.decode() != cache_key:
        return None
    try:
        kept = json.loads(text)
        maps = [Definition(*row) for row in kept["maps"]]
        programs = {name: base64.b64decode(code) for name, code in kept["programs"].items()}
        return Compiled(maps, programs, kept["layouts"])
    except (ValueError, TypeError, KeyError) as error:
        raise CacheError(f"{path} is not what this version writes ({error})") from error


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


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2). Returns the result; raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 160))
    result = libc.syscall(_SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)
