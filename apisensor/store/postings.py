"""Which rows of a segment have a value: what an index would be, made at once when the segment is full.

A B-tree would be written in random places with every commit, and cost more than the rows. Here each field of a segment
has one body: marks of the rows' values, rising, and the rows, as numbers within the segment, in the same order.
Different values may share a mark, and a row may have changed or gone since: who asks looks at the row, too.

    zstandard frame with a checksum: u32 mark ... | u16 row ...   (as many of each, little-endian)
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import zstandard

Value = bytes | str | int

LARGEST = 1 << 20
"""Bytes of a body, decompressed: 8,192 rows have 48 KiB."""
MARK_BYTES, ROW_BYTES = 4, 2

_compress = zstandard.ZstdCompressor(level=1, write_checksum=True).compress


def mark(value: Value) -> int:
    """30 bits: what Python compares fastest."""
    return zlib.crc32(value if isinstance(value, bytes) else str(value).encode()) >> 2


def encode(values: Sequence[Value | None], rows: Sequence[int]) -> bytes:
    """
    Args:
        values: of the segment's rows; None where the field has none.
        rows: numbers of those rows, below 65,536.
    """
    if None in values:
        rows = [row for row, value in zip(rows, values, strict=True) if value is not None]
    marks_of = {value: mark(value) for value in set(values) if value is not None}
    marks = [marks_of[value] for value in values if value is not None]
    order = sorted(range(len(marks)), key=marks.__getitem__)
    rising, ordered = map(marks.__getitem__, order), map(rows.__getitem__, order)
    return _compress(array("I", rising).tobytes() + array("H", ordered).tobytes())


def find(body: bytes, values: Iterable[Value]) -> list[memoryview]:
    """For each of the values, numbers of the rows that may have it.

    Raises:
        zstandard.ZstdError: the body is damaged.
    """
    # A decompressor has a state and is cheap: readers are threads.
    content = memoryview(zstandard.ZstdDecompressor().decompress(body, max_output_size=LARGEST))
    rows_at = len(content) // (MARK_BYTES + ROW_BYTES) * MARK_BYTES
    marks, rows = content[:rows_at].cast("I"), content[rows_at:].cast("H")
    found = []
    for wanted in map(mark, values):
        first = bisect_left(marks, wanted)
        found.append(rows[first : bisect_right(marks, wanted, first)])
    return found
