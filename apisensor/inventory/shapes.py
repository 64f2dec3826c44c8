"""What one segment of a path is: a word of the API, or a value. Decided by its form alone, for all services alike.

A segment that only looks like a word stays one until enough different ones were seen in its place (`tree`).
Each test costs time in proportion to its text, whatever the text; nothing here is a regular expression.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import NamedTuple

LONGEST_SHAPED = 256
"""Characters beyond which a segment is not looked at: it is {text}."""
LONGEST_LITERAL = 64
"""Characters of a word; the longest operation names have some fifty. Longer ones are {text}."""

_DIGITS = "0123456789"
_HEX = "0123456789abcdefABCDEF"
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_POD_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Kubernetes makes the ends of pod names of these (apimachinery's rand): no vowels, no words."""
_TOKEN = frozenset(string.ascii_letters + _DIGITS)
_ISO_639 = """
    ar bg bn bs ca cs cy da de el en es et eu fa fi fr ga gl he hi hr hu hy id is it ja ka kk km ko lt lv mk ml mn mr
    ms nb ne nl nn no pa pl pt ro ru sk sl sq sr sv sw ta te th tr uk ur uz vi zh
"""
"""Languages that sites are translated to."""
_LANGUAGES = frozenset(_ISO_639.split())

_SHORTEST_HASH = 7
"""Digits that git shows of a commit."""
_HASH_OF_LETTERS = 16
"""From here on hexadecimal letters without digits are no word (the longest English one has eight)."""
_SHORTEST_TOKEN = 12
_SHORTEST_MIXED_TOKEN = 8
"""With capitals, small letters and digits: bundlers put eight such characters into file names."""
_MANY_DIGITS = 5
"""Digits at the end of a name that make it a number's name: order-10023, not utf-8, covid-19, rfc-2616."""


class Shape(NamedTuple):
    """A form that values have."""

    fits: Callable[[str], bool]
    meaning: str
    examples: tuple[str, ...]


def _only(text: str, characters: str) -> bool:
    return all(c in characters for c in text)


def _digits_in(text: str) -> int:
    return sum(map(text.count, _DIGITS))


def _is_secret(s: str) -> bool:
    return "[redacted]" in s


def _is_email(s: str) -> bool:
    local, at, host = s.rpartition("@")
    return bool(local and at) and "." in host.strip(".")


def _is_id(s: str) -> bool:
    digits = s[1:] if s[:1] == "-" else s
    return digits.isascii() and digits.isdigit()


def _is_uuid(s: str) -> bool:
    s = s.removeprefix("urn:uuid:")
    if s[:1] == "{" and s[-1:] == "}":
        s = s[1:-1]
    return len(s) == 36 and [len(part) for part in s.split("-")] == [8, 4, 4, 4, 12] and _only(s.replace("-", ""), _HEX)


def _is_date(s: str) -> bool:
    """2024-05 and 2024-05-17, with or without a time behind it; 20240517T101500Z."""
    if not s[:4].isdigit() or not s.isascii():
        return False
    if s[8:9] == "T" and s[:8].isdigit():
        return _only(s[9:], _DIGITS + "Z.") and s[9:13].isdigit()
    if s[4:5] != "-" or s[5:7] not in _MONTHS:
        return False
    rest = s[7:]
    if not rest:
        return True
    return rest[:1] == "-" and rest[1:3] in _DAYS and (len(rest) == 3 or (rest[3] in "T _" and rest[4:6].isdigit()))


_MONTHS = frozenset(f"{month:02d}" for month in range(1, 13))
_DAYS = frozenset(f"{day:02d}" for day in range(1, 32))


def _is_ip(s: str) -> bool:
    if s.count(":") >= 2:
        return _only(s.strip("[]").partition("%")[0], _HEX + ":.")
    parts = s.split(".")
    return len(parts) == 4 and all(p.isascii() and p.isdigit() and len(p) <= 3 and int(p) < 256 for p in parts)


def _is_number(s: str) -> bool:
    """A decimal number, or several: coordinates. Versions (1.0, 2.1.3) have fewer digits."""
    numbers = [part.removeprefix("-").partition(".") for part in s.split(",")]
    if not s.isascii() or "." not in s or not all(n.isdigit() and (not dot or d.isdigit()) for n, dot, d in numbers):
        return False
    return len(numbers) > 1 or len(numbers[0][2]) > 2 or s[0] == "-"


def _is_ulid(s: str) -> bool:
    return len(s) == 26 and s[0] in "01234567" and (s.isupper() or s.islower()) and _only(s.upper(), _CROCKFORD)


def _is_hash(s: str) -> bool:
    """Hexadecimal digits: letters and at least two decimal ones, or too many for a word."""
    s = s.removeprefix("0x")
    if len(s) < _SHORTEST_HASH or not _only(s, _HEX):
        return False
    return len(s) >= _HASH_OF_LETTERS or (_digits_in(s) >= 2 and not s.isdigit())


def _is_locale(s: str) -> bool:
    """en-US, pt_BR. A bare language is a word: /id, /is, /no."""
    return len(s) == 5 and s[2] in "-_" and s[:2] in _LANGUAGES and s[3:].isupper() and s[3:].isalpha() and s.isascii()


def _is_pod(s: str) -> bool:
    """web-7d4b9c6f5-x2x9k"""
    parts = s.rsplit("-", 2)
    return (
        len(parts) == 3
        and bool(parts[0])
        and 8 <= len(parts[1]) <= 10
        and len(parts[2]) == 5
        and _only(parts[1] + parts[2], _POD_SUFFIX)
        and _digits_in(parts[1]) > 0
    )


def _is_token(s: str) -> bool:
    """Long and without the look of words: kinds of characters change too often. Base64 by its padding."""
    body = s.rstrip("=")
    if len(body) != len(s) and len(s) >= _SHORTEST_MIXED_TOKEN and len(s) - len(body) <= 2:
        return _TOKEN.issuperset(body.translate(_BASE64))
    if len(s) >= _SHORTEST_TOKEN and s.isascii():
        return any(map(_is_random, s.replace("_", "-").replace("~", "-").split("-")))
    return False


_BASE64 = str.maketrans("", "", "+/-_")


def _is_random(run: str) -> bool:
    """Letters and digits in an order that no words have: letters and digits take turns, in a quarter of all neighbours;
    with capitals and small letters, which take turns in camelCase too, in an eighth, and four tenths differ in kind."""
    length = len(run)
    if length < _SHORTEST_TOKEN or not _TOKEN.issuperset(run) or _digits_in(run) < 2 or run.isdigit():
        return False
    turns, cases = _changes(run)
    return turns >= length / 8 and turns + cases >= length * 0.4 if _mixed(run) else turns >= length / 4


def _mixed(run: str) -> bool:
    return run != run.lower() and run != run.upper()


def _changes(run: str) -> tuple[int, int]:
    """Neighbours of which one is a digit and one a letter; neighbours of different case."""
    kinds = run.translate(_KINDS)
    return sum(map(kinds.count, ("0A", "A0", "a0", "0a"))), kinds.count("Aa") + kinds.count("aA")


_KINDS = str.maketrans(string.ascii_uppercase + string.ascii_lowercase + _DIGITS, "A" * 26 + "a" * 26 + "0" * 10)


def _is_key(s: str) -> bool:
    """A name, a separator, and what is no word: cus_NffrFeUfNV2Hib, order-10023, i-0abcd12345."""
    cut = max(s.rfind("-"), s.rfind("_"))
    head, tail = s[:cut], s[cut + 1 :]
    if cut < 1 or not head[0].isalpha() or not tail.isascii():
        return False
    return (tail.isdigit() and len(tail) >= _MANY_DIGITS) or is_opaque(tail)


def is_opaque(part: str) -> bool:
    """Part of a segment that is a hash or a short random token."""
    if len(part) >= _SHORTEST_HASH - 1 and _only(part, _HEX) and not part.isdigit() and _digits_in(part) >= 2:
        return True
    if len(part) < _SHORTEST_MIXED_TOKEN or not _TOKEN.issuperset(part) or not _digits_in(part):
        return _is_random(part)
    return _mixed(part) and sum(_changes(part)) >= len(part) * 0.4


SHAPES: dict[str, Shape] = {
    "secret": Shape(_is_secret, "what the redactor hid", ("[redacted]", "key-[redacted]")),
    "email": Shape(_is_email, "an e-mail address, masked", ("a***@example.com", "***@example.com")),
    "id": Shape(_is_id, "an integer", ("17", "-1", "1700000000")),
    "uuid": Shape(_is_uuid, "a UUID", ("0190c3f2-8a4e-7cc1-b5f0-3d5c1a2b4e6f",)),
    "date": Shape(_is_date, "a date or time stamp (RFC 3339, ISO 8601)", ("2024-05-17", "2024-05", "20240517T101500Z")),
    "ip": Shape(_is_ip, "an IP address", ("10.0.0.1", "2001:db8::1")),
    "number": Shape(_is_number, "a decimal number, or several", ("52.52437", "52.5,13.4")),
    "ulid": Shape(_is_ulid, "a ULID", ("01ARZ3NDEKTSV4RRFFQ69G5FAV",)),
    "hash": Shape(_is_hash, "hexadecimal digits: a hash, an ObjectId", ("3f9a1c2", "507f1f77bcf86cd799439011")),
    "locale": Shape(_is_locale, "a language with a region", ("en-US", "pt_BR")),
    "pod": Shape(_is_pod, "the name of a Kubernetes pod of a deployment", ("web-7d4b9c6f5-x2x9k",)),
    "token": Shape(_is_token, "long random text, base64", ("V1StGXR8Z5jdHi6BmyT4", "dXNlcjoxMjM=")),
    "key": Shape(_is_key, "a name with a number or random text behind it", ("cus_NffrFeUfNV2Hib", "order-10023")),
}
"""In the order in which they are tried; a parameter has the name of its shape."""

_FITS = tuple((name, shape.fits) for name, shape in SHAPES.items())


def shape_of(segment: str) -> str | None:
    """Name of the shape that a decoded segment has; None: it is a word."""
    if segment.isalpha() and len(segment) < _SHORTEST_TOKEN and segment.isascii():
        return None
    for name, fits in _FITS:
        if fits(segment):
            return name
    return None
