"""Types of the running kernel: offsets of structures, parameters of functions, constants."""

import ctypes
import os
import platform
import struct

from apisensor.loader.errors import LoaderError


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
