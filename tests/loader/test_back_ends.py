"""Which socket back end the loader takes, and what it learns of kernels of other versions; BTF is made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from apisensor.loader import back_ends
from apisensor.loader.back_ends import choose_back_end
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.io_uring import io_uring_macros
from apisensor.loader.macros import kernel_function_macros, result_macros


class Types(Btf):
    """A kernel's BTF: these fields, functions, constants and tracepoints."""

    def __init__(
        self,
        fields: dict[str, int],
        functions: dict[str, list[str]],
        constants: dict[str, dict[str, int]],
        tracepoints: set[str],
    ) -> None:
        self.fields, self.functions, self.enumerations = fields, functions, constants
        self.tracepoints = tracepoints

    def has_tracepoint(self, name: str) -> bool:
        return name in self.tracepoints

    def function(self, name: str) -> tuple[int, list[str]] | None:
        return (1, self.functions[name]) if name in self.functions else None

    def constants(self, enumeration: str) -> dict[str, int]:
        return self.enumerations.get(enumeration, {})

    def offset(self, structure: str, path: str) -> int:
        try:
            return self.fields[f"{structure}.{path}"]
        except KeyError:
            raise LoaderError(f"no {structure}.{path}") from None


COMMON = {"msghdr.msg_iter": 16, "iov_iter.iov_offset": 8, "iov_iter.nr_segs": 32, "task_struct.stack": 32}
SEND, SPLICE = ["sk", "msg", "size"], ["sock", "ppos", "pipe", "len", "flags"]
OLD = Types(
    COMMON | {"iov_iter.type": 0, "iov_iter.count": 16, "iov_iter.iov": 24},
    {
        "tcp_sendmsg": SEND,
        "tcp_recvmsg": ["sk", "msg", "len", "nonblock", "flags", "addr_len"],
        "tcp_sendpage": ["sk", "page", "offset", "size", "flags"],
        "tcp_splice_read": SPLICE,
    },
    {"iter_type": {"ITER_IOVEC": 4, "ITER_KVEC": 8, "ITER_BVEC": 16}, "bpf_func_id": {}},
    set(),
)
"""As of 5.10."""
NEW = Types(
    COMMON | {"iov_iter.iter_type": 0, "iov_iter.count": 24, "iov_iter.__iov": 16, "iov_iter.ubuf": 16},
    {"tcp_sendmsg": SEND, "tcp_recvmsg": ["sk", "msg", "len", "flags", "addr_len"], "tcp_splice_read": SPLICE},
    {"iter_type": {"ITER_UBUF": 0, "ITER_IOVEC": 1}, "bpf_func_id": {"BPF_FUNC_task_pt_regs": 175}},
    {"sock_send_length"},
)
"""As of 6.6."""


def test_layouts_of_other_kernels() -> None:
    assert kernel_function_macros(OLD) == {
        "MESSAGE_ITERATOR": 16,
        "ITERATOR_TYPE": 0,
        "ITERATOR_COUNT": 16,
        "ITERATOR_OFFSET": 8,
        "ITERATOR_VECTORS": 24,
        "ITERATOR_VECTOR_COUNT": 32,
        "ITERATOR_IS_VECTORS": 4,
        "ITERATOR_TYPE_MASK": 0xFE,
        "TASK_STACK": 32,
        "TCP_RECVMSG_FLAGS": 4,
    }
    assert result_macros("kprobe", OLD) == {
        "TCP_SENDMSG_RESULT": 3,
        "TCP_RECVMSG_RESULT": 6,
        "TCP_SENDPAGE_RESULT": 5,
        "TCP_SPLICE_READ_RESULT": 5,
    }
    macros = kernel_function_macros(NEW)
    assert (macros["ITERATOR_IS_VECTORS"], macros["ITERATOR_TYPE_MASK"], macros["ITERATOR_VECTORS"]) == (1, 0xFF, 16)
    assert (macros["ITERATOR_IS_BUFFER"], macros["ITERATOR_BUFFER"], macros["HAVE_TASK_PT_REGS"]) == (0, 16, 1)
    assert macros["TCP_RECVMSG_FLAGS"] == 3
    assert result_macros("kprobe", NEW)["TCP_RECVMSG_RESULT"] == 5
    assert "TCP_SENDPAGE_RESULT" not in result_macros("kprobe", NEW)


@pytest.mark.parametrize("trampolines", [True, False])
def test_splice_from_a_unix_socket_is_seen_where_the_kernel_has_trampolines(
    trampolines: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The back end "sock" needs them for nothing else."""
    monkeypatch.setattr(back_ends, "has_fexit", lambda _: trampolines)
    types = Types(NEW.fields, {**NEW.functions, "unix_stream_splice_read": SPLICE}, NEW.enumerations, NEW.tracepoints)
    programs = back_ends.loadable(back_ends.programs_in_kernel("sock", types), types)
    assert (back_ends.SPLICE_FROM_UNIX in programs) == trampolines
    assert "tracepoint:sock_recv_length" in programs
    assert result_macros("sock", types) == {"UNIX_STREAM_SPLICE_READ_RESULT": 5}


REQUESTS = {
    "io_kiocb.opcode": 64,
    "io_kiocb.flags": 72,
    "io_kiocb.ctx": 96,
    "io_kiocb.async_data": 184,
    "io_kiocb.cqe.fd": 92,
    "io_async_msghdr.msg": 64,
}
"""Of io_uring; `io_async_rw.iter` is there from 6.10 on."""
URING = {"io_uring_submit_req", "io_uring_complete"}


@pytest.mark.parametrize(
    ("fields", "tracepoints", "programs"),
    [
        (REQUESTS | {"io_async_rw.iter": 24}, URING, 2),
        (REQUESTS, URING, 0),
        (REQUESTS | {"io_async_rw.iter": 24}, {"io_uring_complete"}, 0),
    ],
)
def test_io_uring_is_looked_at_where_the_kernel_has_what_is_needed(
    fields: dict[str, int], tracepoints: set[str], programs: int
) -> None:
    types = Types(NEW.fields | fields, NEW.functions, NEW.enumerations, NEW.tracepoints | tracepoints)
    found = back_ends.programs_in_kernel("sock", types)
    assert sum("io_uring" in label for label in found) == programs
    macros = io_uring_macros(types)
    assert ("REQUEST_OPERATION" in macros, "ITERATOR_TYPE" in macros) == (programs > 0, programs > 0)
    assert "RING_FILES" not in macros
    assert not any("io_uring" in label for label in back_ends.programs_in_kernel("kprobe", types))


def test_unix_sockets_are_observed_where_they_are_no_module() -> None:
    functions = NEW.functions | {
        "unix_stream_sendmsg": ["sock", "msg", "len"],
        "unix_stream_recvmsg": ["sock", "msg", "size", "flags"],
    }
    types = Types(NEW.fields, functions, NEW.enumerations, NEW.tracepoints)
    assert sum("unix" in label for label in back_ends.programs_in_kernel("kprobe", types)) == 4
    assert not any("unix" in label for label in back_ends.programs_in_kernel("kprobe", NEW))
    macros = kernel_function_macros(types)
    results = result_macros("kprobe", types)
    assert results["UNIX_STREAM_SENDMSG_RESULT"] == 3
    assert (results["UNIX_STREAM_RECVMSG_RESULT"], macros["UNIX_STREAM_RECVMSG_FLAGS"]) == (4, 3)


@pytest.mark.parametrize(
    ("types", "kprobes", "trampolines", "taken"),
    [
        (NEW, True, True, "sock"),
        (NEW, False, False, "sock"),
        (OLD, True, True, "kprobe"),
        (OLD, False, True, "syscall"),
        (OLD, True, False, "syscall"),
    ],
)
def test_auto_takes_the_first_that_the_kernel_offers(
    types: Types, kprobes: bool, trampolines: bool, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_ends, "KPROBES", str(tmp_path) if kprobes else str(tmp_path / "none"))
    monkeypatch.setattr(back_ends, "has_fexit", lambda _: trampolines)
    assert choose_back_end("auto", types) == taken
    assert choose_back_end("syscall", types) == "syscall"


@pytest.mark.parametrize(
    ("wanted", "kprobes", "trampolines", "said"),
    [
        ("sock", True, True, r"sock_send_length \(kernel 6.3"),
        ("kprobe", False, True, "CONFIG_KPROBE_EVENTS"),
        ("kprobe", True, False, "trampolines .*lockdown"),
    ],
)
def test_one_that_it_does_not_offer_is_refused_in_one_line(
    wanted: str, kprobes: bool, trampolines: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_ends, "KPROBES", str(tmp_path) if kprobes else str(tmp_path / "none"))
    monkeypatch.setattr(back_ends, "has_fexit", lambda _: trampolines)
    with pytest.raises(LoaderError, match=rf"capture.backend {wanted}: .*lacks.*{said}.*take auto") as caught:
        choose_back_end(wanted, OLD)
    assert "\n" not in str(caught.value)
