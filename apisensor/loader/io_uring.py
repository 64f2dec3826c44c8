"""What bpf/io_uring.h has to know of the running kernel, and whether it has what is needed."""

import contextlib

from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.iterators import iterator_macros

PROGRAMS = ("tracepoint:io_uring_submit_req", "tracepoint:io_uring_complete")
OFFSETS = {
    "REQUEST_OPERATION": ("io_kiocb", "opcode"),
    "REQUEST_FLAGS": ("io_kiocb", "flags"),
    "REQUEST_RING": ("io_kiocb", "ctx"),
    "REQUEST_DATA": ("io_kiocb", "async_data"),
    "REQUEST_DESCRIPTOR": ("io_kiocb", "cqe.fd"),
    "REQUEST_MESSAGE": ("io_async_msghdr", "msg"),
    "READ_ITERATOR": ("io_async_rw", "iter"),
}
"""From kernel 6.10 on: before, a request had no iterator of its own until it had to wait."""
FILE_OFFSETS = {
    "RING_FILES": ("io_ring_ctx", "file_table.data"),
    "RING_FILES_NUMBER": ("io_rsrc_data", "nr"),
    "RING_FILES_NODES": ("io_rsrc_data", "nodes"),
    "RING_FILE_POINTER": ("io_rsrc_node", "file_ptr"),
}
"""Of a ring's own table of files, from kernel 6.13 on."""


def io_uring_macros(btf: Btf) -> dict[str, int]:
    """Offsets by macro; nothing where the kernel lacks a tracepoint or a field."""
    if not all(btf.has_tracepoint(label.partition(":")[2]) for label in PROGRAMS):
        return {}
    try:
        macros = {macro: btf.offset(*field) for macro, field in OFFSETS.items()} | iterator_macros(btf)
    except LoaderError:
        return {}
    with contextlib.suppress(LoaderError):
        macros |= {macro: btf.offset(*field) for macro, field in FILE_OFFSETS.items()}
    return macros
