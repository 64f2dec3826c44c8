"""What is to be compiled: the text of bpf/, its macros, and the functions, maps and layouts that are wanted of it."""

import os
import re
from typing import NamedTuple

from apisensor.loader.back_ends import function_of, programs_in_kernel
from apisensor.loader.btf import Btf
from apisensor.loader.io_uring import io_uring_macros
from apisensor.loader.macros import OFFSETS, entry_flags, kernel_function_macros, result_macros, unix_macros

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


class Source(NamedTuple):
    """What is to be compiled: text, flags, and what is wanted of it."""

    text: str
    flags: list[str]
    functions: list[str]


def source_of(macros: dict[str, int], directory: str, back_end: str, btf: Btf) -> Source:
    """What is to be compiled for the kernel whose BTF this is."""
    flags = [f"-D{macro}={btf.offset(*field)}" for macro, field in OFFSETS.items()]
    given = {**macros, **unix_macros(btf, macros["MAX_UNIX_CONNECTIONS"]), "ENTRY_FLAGS": entry_flags(btf)}
    flags += [f"-D{name}={value}" for name, value in given.items()]
    flags.append(f"-DSOCK_DONE={btf.constants('sock_flags')['SOCK_DONE']}")
    # BCC asks for debug information, which nobody reads here and which takes a fifth of the compiler's time.
    flags += ["-g0", "-Wno-macro-redefined", "-Wno-unused-function", f"-DBACK_END_{back_end.upper()}"]
    if back_end == "syscall" and not btf.has_tracepoint("sock_send_length"):
        # Both directions are in one program: at 128 the verifier of 6.1 gives up after its million instructions.
        flags.append("-DSOCKET_STEPS=64")
    if back_end == "sock":
        flags += [f"-D{macro}={value}" for macro, value in io_uring_macros(btf).items()]
    if back_end == "kprobe":
        flags += [f"-D{macro}={value}" for macro, value in kernel_function_macros(btf).items()]
    flags += [f"-D{macro}={value}" for macro, value in result_macros(back_end, btf).items()]
    functions = [*(function_of(label) for label in programs_in_kernel(back_end, btf)), *UPROBES]
    return Source(flatten(directory), flags, functions)


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
