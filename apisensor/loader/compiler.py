"""From source to compiled programs, with BCC: the only module that imports bcc, and only where nothing is kept."""

import ctypes
import importlib.util
import os
import shutil
import sys
import tempfile
from typing import Any

from apisensor.loader.errors import LoaderError
from apisensor.loader.headers import make_headers
from apisensor.loader.programs import Compiled, gather
from apisensor.loader.source import LAYOUTS, MAPS, RING_TEMPLATE, Source


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


def version() -> str:
    """What is installed of bcc, without its import, which costs more than all else of a start from the cache."""
    found = importlib.util.find_spec("bcc")
    if found is None or found.origin is None:
        return ""
    status = os.stat(found.origin)
    return f"{found.origin} {status.st_mtime_ns} {status.st_size}"


def compile_with_bcc(source: Source) -> tuple[Compiled, list[int], Any]:
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
    compiled, maps = gather(
        {name: program.dump_func(name.encode()) for name in source.functions},
        {name: program[name].map_fd for name in (RING_TEMPLATE, *MAPS)},
        RING_TEMPLATE,
        {name: layout(program[name].Leaf) for name in LAYOUTS},
    )
    return compiled, maps, program


def layout(structure: Any) -> dict[str, Any]:
    """[[name, offset, size], ...] of a ctypes structure, and its size."""
    fields = [[name, getattr(structure, name).offset, getattr(structure, name).size] for name, *_ in structure._fields_]
    return {"fields": fields, "size": ctypes.sizeof(structure)}
