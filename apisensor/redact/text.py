"""Bytes with sensitive spans -> text without them."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote_to_bytes

from apisensor.content.lines import Lines
from apisensor.content.model import FieldMarks, Spans
from apisensor.transactions.lines import NONE, Line, section, written
from apisensor.transactions.model import Header

MARKER: Final = "[redacted]"
"""What stands in place of a secret."""

_MARKER: Final = MARKER.encode()
_SHORTEST_SHOWN: Final = 3
"""A local part this long or longer shows its first character."""

_NAMES: Final = {
    name.encode(): name
    for name in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "http", "https")
}


class TextForm:
    """Turns bytes with their sensitive spans into text. Remembers the text of clean field lines, nothing else."""

    def __init__(self, *, reveal: bool) -> None:
        self.reveal = reveal
        """Spans are ignored: everything is shown."""
        self.invalid = False
        """Something was not UTF-8 since this was last set to False."""
        self._lines = Lines[bytes]()

    def name(self, text: bytes | None, spans: Spans) -> str | None:
        """A method or scheme: mostly one of a few."""
        return None if text is None else _NAMES.get(text) or self.plain(text, spans)

    def plain(self, text: bytes | None, spans: Spans) -> str | None:
        """Any text."""
        if text is None:
            return None
        if spans and not self.reveal:
            text = redacted(text, spans)
        try:
            return text.decode()
        except UnicodeDecodeError:
            self.invalid = True
            return text.decode(errors="replace")

    def lines(self, headers: list[Header] | None, marks: FieldMarks) -> bytes | None:
        """A head's field lines, as transactions have them."""
        if not headers:
            return None if headers is None else NONE
        known, line = self._lines.get, self._line
        if not marks:
            return section([known(header) or line(header) for header in headers])
        clean = headers.copy()
        for index in marks:
            clean[index] = _EMPTY
        texts = [known(header) or line(header) for header in clean]
        for index, (in_name, in_value) in marks.items():
            name, value = headers[index]
            texts[index] = written((self.plain(name, in_name), self.plain(value, in_value)))
        return section(texts)

    def trailers(self, trailers: list[Header], marks: FieldMarks) -> list[Line]:
        """The field lines behind a body, which few messages have."""
        texts: list[Line] = []
        for index, (name, value) in enumerate(trailers):
            in_name, in_value = marks.get(index, (_NOTHING, _NOTHING))
            texts.append((self.plain(name, in_name), self.plain(value, in_value)))
        return texts

    def _line(self, header: Header) -> bytes:
        name, value = header
        if name is None or value is None:
            return written((self.plain(name, _NOTHING), self.plain(value, _NOTHING)))
        try:
            line = written((name.decode(), value.decode()))
        except UnicodeDecodeError:  # not remembered: it must be said of the next transaction, too
            return written((self.plain(name, _NOTHING), self.plain(value, _NOTHING)))
        return self._lines.remember(header, line)


_NOTHING: Final[Spans] = []
_EMPTY: Final[Header] = (b"", b"")
"""Stands for a field line that is not clean."""


def redacted(text: bytes, spans: Spans) -> bytes:
    """The text with each span replaced: e-mail addresses by their mask, all else by MARKER."""
    pieces: list[bytes] = []
    end = 0
    for start, stop, kind in spans:
        pieces.append(text[end:start])
        pieces.append(masked_email(text[start:stop]) if kind == "email" else _MARKER)
        end = stop
    pieces.append(text[end:])
    return b"".join(pieces)


def masked_email(address: bytes) -> bytes:
    """alice@example.com -> a***@example.com, in any percent-encoding; a short local part shows nothing."""
    plain = address
    while b"@" not in plain and b"%" in plain:
        plain, before = unquote_to_bytes(plain), plain
        if plain == before:
            break
    local, at, host = plain.rpartition(b"@")
    if not at or b"%" in host:
        return _MARKER
    shown = local[:1] if len(local) >= _SHORTEST_SHOWN and local[:1].isalnum() else b""
    return shown + b"***@" + host
