"""Payment card numbers (ISO/IEC 7812): brand prefix, length, Luhn check digit; digits may stand in groups."""

from __future__ import annotations

from apisensor.content.model import Span

CANDIDATE = r"(?:\b|_)[2-6][0-9]{2}(?:[ +-]?[0-9]){10,}(?:\b|_)"
"""Digits, perhaps in groups with one space, dash or plus (a space of a form) between them."""

SHORTEST, LONGEST = 13, 19
SHORTEST_GROUP = 3
SHORTEST_GROUPED = 15
"""Shorter numbers are printed without spaces; a telephone number is not one of them."""

_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_SINGLE = bytes.maketrans(b"0123456789", bytes(range(10)))

# Issuer identification ranges: (first, last) of the leading digits, lengths. From the brands' published ranges.
_BRANDS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset((13, 16, 19))),  # Visa
    (51, 55, frozenset((16,))),  # Mastercard
    (2221, 2720, frozenset((16,))),  # Mastercard
    (34, 34, frozenset((15,))),  # American Express
    (37, 37, frozenset((15,))),  # American Express
    (300, 305, frozenset((14, 16))),  # Diners Club
    (36, 36, frozenset((14, 16))),  # Diners Club
    (38, 39, frozenset((14, 16))),  # Diners Club
    (3528, 3589, frozenset((16, 17, 18, 19))),  # JCB
    (2200, 2204, frozenset((16, 17, 18, 19))),  # Mir
    (50, 50, frozenset((16, 18, 19))),  # Maestro
    (56, 58, frozenset((16, 18, 19))),  # Maestro
    (60, 69, frozenset((16, 17, 18, 19))),  # Discover, UnionPay, Maestro, RuPay
)


def _prefixes() -> dict[bytes, frozenset[int]]:
    table: dict[bytes, frozenset[int]] = {}
    for first, last, lengths in _BRANDS:
        for prefix in range(first, last + 1):
            table[b"%d" % prefix] = lengths
    return table


_LENGTHS = _prefixes()


def luhn(digits: bytes) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1 annex B). `digits` is ASCII 0 to 9."""
    return (sum(digits[-1::-2].translate(_SINGLE)) + sum(digits[-2::-2].translate(_DOUBLED))) % 10 == 0


def is_card_number(digits: bytes) -> bool:
    """Whether the digits (no separators) have a brand's prefix and length, and the right check digit."""
    for size in (1, 2, 3, 4):
        lengths = _LENGTHS.get(digits[:size])
        if lengths is not None and len(digits) in lengths:
            return luhn(digits)
    return False


def cards_within(text: bytes, start: int, end: int) -> list[Span]:
    """Card numbers in a CANDIDATE that lies at text[start:end]. The longest of those that begin at a group is taken."""
    groups = _groups(text, start, end)
    found: list[Span] = []
    index = 0
    while index < len(groups):
        last = _card_from(text, groups, index)
        if last is None:
            index += 1
        else:
            found.append((groups[index][0], groups[last][1], "credit_card"))
            index = last + 1
    return found


def _groups(text: bytes, start: int, end: int) -> list[tuple[int, int]]:
    groups: list[tuple[int, int]] = []
    begin = None
    for index in range(start, end + 1):
        digit = index < end and 0x30 <= text[index] <= 0x39
        if digit and begin is None:
            begin = index
        elif not digit and begin is not None:
            groups.append((begin, index))
            begin = None
    return groups


def _card_from(text: bytes, groups: list[tuple[int, int]], first: int) -> int | None:
    """Index of the group with which the longest card number that begins at group `first` ends."""
    start = groups[first][0]
    if _decimal_point(text, start - 1, start - 2):
        return None
    digits = b""
    last = None
    for index in range(first, len(groups)):
        begin, end = groups[index]
        digits += text[begin:end]
        if end - begin < SHORTEST_GROUP or len(digits) > LONGEST:
            break
        shortest = SHORTEST if index == first else SHORTEST_GROUPED
        if len(digits) >= shortest and is_card_number(digits) and not _decimal_point(text, end, end + 1):
            last = index
    return last


def _decimal_point(text: bytes, point: int, digit: int) -> bool:
    """The digits are part of a decimal fraction: 0.4111111111111111."""
    return 0 <= point < len(text) and text[point] == 0x2E and 0 <= digit < len(text) and 0x30 <= text[digit] <= 0x39
