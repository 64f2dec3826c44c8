"""Where the value that follows a name ends: in a request target, a field value, a form, or JSON."""

from __future__ import annotations

_QUOTES = (0x22, 0x27)  # " and '
_BACKSLASH = 0x5C

_NO_STRING = (b"null", b"true", b"false", b"{", b"[")

_ENDS_IN_PATH = b";/?#&"
_ENDS_IN_QUERY = b"&#"
_ENDS_IN_FIELD = b'&#<>"'
_ENDS_IN_BODY = b"&\r\n\"'<>;, "
_ENDS_OF_JSON_SCALAR = b",}] \t\r\n&"


def extent(view: bytes, key: int, start: int, target: bool, field: bool) -> tuple[int, int]:
    """Extent of the value that begins at or after `start`, whose key begins at `key`. Empty where there is none.

    Args:
        view: the text.
        key: index of the key's first character.
        start: index behind the separator and spaces.
        target: the text is a request target.
        field: the text is a field value: a value without quotes extends to the next URL or markup delimiter, spaces
            and commas included, since nothing tells whether they belong to it.
    """
    separator = view[key:start].rstrip(b" \t")[-1:]
    if separator == b":":
        return _json_value(view, start)
    if not target:
        quoted = _quoted(view, start)
        if quoted is not None:
            return quoted
    return start, _first_of(view, _ends(view, key, target, field), start)


def _ends(view: bytes, key: int, target: bool, field: bool) -> bytes:
    if target:
        query = view.find(b"?")
        return _ENDS_IN_QUERY if 0 <= query < key else _ENDS_IN_PATH
    return _ENDS_IN_FIELD if field else _ENDS_IN_BODY


def _json_value(view: bytes, start: int) -> tuple[int, int]:
    quoted = _quoted(view, start)
    if quoted is not None:
        return quoted
    if view.startswith(_NO_STRING, start):
        return start, start
    return start, _first_of(view, _ENDS_OF_JSON_SCALAR, start)


def _quoted(view: bytes, start: int) -> tuple[int, int] | None:
    """The inside of a quoted string that begins at `start`; its quotes may be escaped (JSON within JSON)."""
    escaped = view[start : start + 1] == b"\\"
    quote_at = start + escaped
    if quote_at >= len(view) or view[quote_at] not in _QUOTES:
        return None
    quote = view[quote_at]
    begin = quote_at + 1
    position = begin
    while True:
        end = view.find(quote, position)
        if end < 0:
            return begin, len(view)
        slashes = 0
        while end - slashes > begin and view[end - slashes - 1] == _BACKSLASH:
            slashes += 1
        if slashes % 2 == escaped:
            return begin, end - escaped
        position = end + 1


def _first_of(view: bytes, ends: bytes, start: int) -> int:
    found = len(view)
    for end in ends:
        at = view.find(end, start, found)
        if at >= 0:
            found = at
    return found
