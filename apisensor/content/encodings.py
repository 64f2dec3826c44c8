"""Looking through encodings: percent-encoding with positions kept, and base64 of plain text."""

from __future__ import annotations

import binascii
from collections.abc import Iterator

from apisensor.content.matching import compiled
from apisensor.content.model import Span

PERCENT_ROUNDS = 3
"""A URL nested in a URL nested in a URL is encoded three times; more is nobody's traffic, and each round costs."""

Positions = list[int] | None
"""Index in the view -> index in the original, one more entry than the view is long. None: they are the same."""

_HEX = {bytes((a, b)): int(bytes((a, b)), 16) for a in b"0123456789abcdefABCDEF" for b in b"0123456789abcdefABCDEF"}

# One quad of the base64 of three ASCII characters of which the first is printable: the top bits of each byte are zero,
# which leaves few digits in the first three places. UUIDs, hashes and words rarely have three such quads in a row.
_QUAD = r"[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9+/_-]"
BASE64_TEXT = rf"(?:^|[^A-Za-z0-9+])(?:{_QUAD}){{3,}}[A-Za-z0-9+/_-]*"
"""Something that may be the base64 of ASCII text, with the character before it."""

_BASE64_RUN = compiled(rf"(?:^|[^A-Za-z0-9+])((?:{_QUAD}){{3,}}[A-Za-z0-9+/_-]*={{0,2}})")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_PRINTABLE = compiled(r"[\t\n\r\x20-\x7e]*")


def views(text: bytes) -> Iterator[tuple[bytes, Positions]]:
    """The text, then the text with percent-encoding removed once, twice, ... as long as that changes it."""
    yield text, None
    view, positions = text, None
    for _ in range(PERCENT_ROUNDS):
        if b"%" not in view:
            return
        decoded, where = percent_decode(view)
        if len(decoded) == len(view):
            return
        positions = where if positions is None else [positions[index] for index in where]
        view = decoded
        yield view, positions


def percent_decode(text: bytes) -> tuple[bytes, list[int]]:
    """Removes percent-encoding once. Incomplete or wrong escapes stay as they are.

    Returns the decoded bytes and, for each of them and for the end, the index in `text` where it begins.
    """
    first, *rest = text.split(b"%")
    decoded = bytearray(first)
    where = list(range(len(first)))
    offset = len(first)
    for part in rest:
        value = _HEX.get(part[:2])
        if value is None:
            decoded += b"%" + part
            where.extend(range(offset, offset + 1 + len(part)))
        else:
            decoded.append(value)
            decoded += part[2:]
            where.append(offset)
            where.extend(range(offset + 3, offset + 1 + len(part)))
        offset += 1 + len(part)
    where.append(offset)
    return bytes(decoded), where


def base64_texts(view: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Runs that are the base64 of text, either alphabet: (start, end, the text's printable ASCII beginning)."""
    for match in _BASE64_RUN.finditer(view):
        start, end = match.span(1)
        digits = view[start:end].rstrip(b"=").translate(_URL_ALPHABET)
        digits = digits[: len(digits) - (len(digits) % 4 == 1)]
        text = binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))
        printable = _PRINTABLE.match(text)
        if printable is not None and printable.end() >= 8:
            yield start, end, text[: printable.end()]


def moved(spans: list[Span], positions: Positions) -> list[Span]:
    """Spans of a view as spans of the original."""
    if positions is None:
        return spans
    return [(positions[start], positions[end], kind) for start, end, kind in spans]
