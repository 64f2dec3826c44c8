"""What bpf/iterator.h has to know of the running kernel: struct iov_iter, which says where bytes lie."""

from apisensor.loader.btf import Btf


def iterator_macros(btf: Btf) -> dict[str, int]:
    """Offsets and numbers by macro."""
    types = btf.constants("iter_type")
    macros = {
        "MESSAGE_ITERATOR": btf.offset("msghdr", "msg_iter"),
        "ITERATOR_TYPE": btf.first("iov_iter", "iter_type", "type"),
        "ITERATOR_COUNT": btf.offset("iov_iter", "count"),
        "ITERATOR_OFFSET": btf.offset("iov_iter", "iov_offset"),
        "ITERATOR_VECTORS": btf.first("iov_iter", "__iov", "iov"),
        "ITERATOR_VECTOR_COUNT": btf.offset("iov_iter", "nr_segs"),
        "ITERATOR_IS_VECTORS": types["ITER_IOVEC"],
        # Until kernel 5.13 the lowest bit of the type is the direction, and types are powers of two from 4 on.
        "ITERATOR_TYPE_MASK": 0xFE if types["ITER_IOVEC"] == 4 else 0xFF,
    }
    if "ITER_UBUF" in types:  # kernel 6.0
        macros |= {"ITERATOR_IS_BUFFER": types["ITER_UBUF"], "ITERATOR_BUFFER": btf.offset("iov_iter", "ubuf")}
    return macros
