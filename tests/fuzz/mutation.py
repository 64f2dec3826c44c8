"""A mutator without coverage feedback, for continuous integration: the same inputs for the same seed everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

_INTERESTING = (
    *(b"\0", b"\x01", b"\x7f", b"\x80", b"\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\r\n", b"\n", b": ", b"0"),
    *(b"-1", b"99999999999999999999", b"%", b"\xc3", b'"', b"{", b"[", b"&", b"=", b"/", b"\r\n\r\n"),
)
"""What parsers of lengths, lines and texts get wrong."""

LONGEST = 4096
"""Bytes of an input."""

Mutation = Callable[[bytearray, random.Random, list[bytes]], None]


def _place(data: bytearray, chance: random.Random) -> tuple[int, int]:
    """A stretch of the input, short more often than long."""
    at = chance.randrange(len(data) + 1)
    return at, min(len(data), at + chance.choice((1, 1, 2, 4, 16, 100)))


def _flip(data: bytearray, chance: random.Random, _pool: list[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, chance: random.Random, _pool: list[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _cut(data: bytearray, chance: random.Random, _pool: list[bytes]) -> None:
    at, end = _place(data, chance)
    del data[at:end]


def _repeat(data: bytearray, chance: random.Random, _pool: list[bytes]) -> None:
    at, end = _place(data, chance)
    data[at:at] = data[at:end] * chance.choice((1, 2, 10))


def _word(data: bytearray, chance: random.Random, _pool: list[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    word = chance.choice(_INTERESTING)
    data[at : at + chance.choice((0, len(word)))] = word


def _cross(data: bytearray, chance: random.Random, pool: list[bytes]) -> None:
    other = bytearray(chance.choice(pool))
    at, end = _place(other, chance)
    here, _ = _place(data, chance)
    data[here:here] = other[at:end]


def _splice(data: bytearray, chance: random.Random, pool: list[bytes]) -> None:
    other = chance.choice(pool)
    data[chance.randrange(len(data) + 1) :] = other[chance.randrange(len(other) + 1) :]


_MUTATIONS: tuple[Mutation, ...] = (_flip, _byte, _cut, _repeat, _word, _cross, _splice)


def mutations(pool: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """`count` inputs near those of the pool."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(pool))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            chance.choice(_MUTATIONS)(data, chance, pool)
        yield bytes(data[:LONGEST])
