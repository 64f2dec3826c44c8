"""Text for a terminal: what came from traffic stays text, and fits its place.

A path or a host name is an attacker's to choose. Control characters, escape sequences, bidirectional overrides,
zero-width and other invisible characters are shown as escapes, so that no line can colour, move, hide or reorder what
a person sees; a backslash is doubled, so that nothing can pretend to be an escape.
"""

from __future__ import annotations

from rich.cells import get_character_cell_size

_BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and symbols without a shape (fillers of Hangul and Khmer, the empty Braille pattern)."""

UNITS = ("B", "k", "M", "G", "T")


def visible(text: str) -> str:
    """The text with everything that is not plainly visible as an escape (\\x1b, \\u202e, \\U000e0041)."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_character(c) for c in text)


def _character(c: str) -> str:
    if c == "\\":
        return "\\\\"
    # isprintable() is false for controls, format characters (bidi, zero-width), separators, surrogates, unassigned;
    # what takes no place of its own (combining marks) would pile up on what is before it
    if c.isprintable() and c not in _BLANK and get_character_cell_size(c) > 0:
        return c
    code = ord(c)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def columns(text: str) -> int:
    """Places that visible text takes: two for wide characters (East Asian wide and fullwidth, emoji)."""
    if text.isascii():
        return len(text)
    return sum(map(get_character_cell_size, text))


def fit(text: str, width: int) -> str:
    """Visible text cut to `width` places; "…" shows that its end is missing."""
    if columns(text) <= width:
        return text
    if width <= 0:
        return ""
    kept, used = [], 1
    for c in text:
        used += columns(c)
        if used > width:
            break
        kept.append(c)
    return "".join(kept) + "…"


def pad(text: str, width: int, right: bool = False) -> str:
    """`fit`, and filled up with spaces; right: text at the right end."""
    text = fit(text, width)
    space = " " * (width - columns(text))
    return space + text if right else text + space


def size(count: int | None) -> str:
    """Bytes in at most five characters: "0B", "999B", "1.2k", "34M" (powers of 1,000); "-" where unknown."""
    if count is None:
        return "-"
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.1f}{UNITS[unit]}" if unit and value < 9.95 else f"{value:.0f}{UNITS[unit]}"


def duration(ms: float | None) -> str:
    """Milliseconds in at most six characters: "0.12ms", "12ms", "3.4s", "2m05s", "26h30m", "12d"; "-" where unknown."""
    if ms is None:
        return "-"
    if ms < 9.995:
        return f"{ms:.2f}ms"
    if ms < 999.5:
        return f"{ms:.0f}ms"
    seconds = ms / 1000
    if seconds < 99.95:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02d}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02d}m" if hours < 100 else f"{hours // 24}d"
