"""Which socket back end the loader takes, and what it learns of kernels of other versions; BTF is made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from apisensor.loader import back_ends
from apisensor.loader.back_ends import choose_back_end
from apisensor.loader.btf import Btf
from apisensor.loader.errors import LoaderError
from apisensor.loader.macros import kernel_function_macros


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
        "TCP_SENDMSG_RESULT": 3,
        "TCP_RECVMSG_RESULT": 6,
        "TCP_RECVMSG_FLAGS": 4,
        "TCP_SENDPAGE_RESULT": 5,
        "TCP_SPLICE_READ_RESULT": 5,
    }
    macros = kernel_function_macros(NEW)
    assert (macros["ITERATOR_IS_VECTORS"], macros["ITERATOR_TYPE_MASK"], macros["ITERATOR_VECTORS"]) == (1, 0xFF, 16)
    assert (macros["ITERATOR_IS_BUFFER"], macros["ITERATOR_BUFFER"], macros["HAVE_TASK_PT_REGS"]) == (0, 16, 1)
    assert (macros["TCP_RECVMSG_RESULT"], macros["TCP_RECVMSG_FLAGS"]) == (5, 3)
    assert "TCP_SENDPAGE_RESULT" not in macros


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
