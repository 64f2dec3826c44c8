"""Compiles bpf/ for another kernel into the loader's cache: what takes seconds here takes minutes in its machine.

    /usr/bin/python3 compile.py BACK_END BTF CACHE  < the loader's macros as JSON

Run by the distribution's Python, as the loader is.
"""

import ctypes
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
# It is no installed package of this Python.
from apisensor.loader.btf import Btf  # noqa: E402
from apisensor.loader.errors import LoaderError  # noqa: E402
from apisensor.loader.load import compiled  # noqa: E402
from apisensor.loader.source import source_of  # noqa: E402


class TypesOfFile(Btf):
    """The BTF of a kernel that is not running."""

    def __init__(self, file: str) -> None:
        self._file = file
        super().__init__()

    def _load(self) -> int:
        parse = self._lib.btf__parse
        parse.restype, parse.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_void_p]
        found = parse(self._file.encode(), None)
        if not found:
            raise LoaderError(f"{self._file} has no BTF")
        return int(found)


def main() -> None:
    back_end, types, cache = sys.argv[1:]
    source = source_of(json.load(sys.stdin), str(ROOT / "bpf"), back_end, TypesOfFile(types))
    _, _, owner, said = compiled(source, cache)
    print(said)
    del owner


if __name__ == "__main__":
    main()
