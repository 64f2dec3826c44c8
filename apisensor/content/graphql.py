"""GraphQL documents (specification of October 2021): operation type, name and top-level fields, and nothing of values.

Not a validating parser: selections below the top are passed over by counting braces, arguments by counting
parentheses. Strings and comments go first, so that what they hold counts for nothing. All of it is a few passes of
compiled code over the text and one short loop over its tokens: on a query of 400 bytes some ten times faster than
graphql-core, which the tests compare it with, and linear in the text whatever a peer sends.
"""

from __future__ import annotations

from typing import NamedTuple

from apisensor.content.identifiers import FIELDS, NAME_BYTES, OPERATIONS
from apisensor.content.matching import compiled

TOKENS = 20_000
"""Tokens of one document that are looked at. Queries of real clients have hundreds, the introspection query 300."""
LITERALS = 2_000
"""Strings and comments of one document."""

KINDS = frozenset((b"query", b"mutation", b"subscription"))

_LITERAL = compiled(
    r'"""(?:\\"""|[^"\\]|\\|""?(?:[^"\\]|\\"""|\\))*?"""'  # block string, section 2.9.4
    r'|"(?:[^"\\\r\n]|\\.)*"'
    r"|#[^\r\n]*"
)
_BLANKS = bytes.maketrans(b",\t\r\n", b"    ")
"""Commas are blanks (section 2.1.7)."""
_PUNCTUATORS = (b"{", b"}", b"(", b")", b":")
_NAME_START = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_NAME = bytes(_NAME_START) + b"0123456789"
_BOM = b"\xef\xbb\xbf"


class Selection(NamedTuple):
    """One operation of a document."""

    kind: bytes
    """"query", "mutation" or "subscription"."""
    name: bytes | None
    fields: list[bytes]
    """Top-level fields, not their aliases, those of fragments included; each once, FIELDS at most."""
    cut: bool
    """There were more."""


class _Selected(NamedTuple):
    """What one selection set names at its top."""

    fields: list[bytes]
    spreads: list[bytes]


class _Malformed(Exception):
    """Not an executable document, or beyond the limits."""


def selections(document: bytes) -> list[Selection]:
    """The document's operations in order, OPERATIONS at most; empty where it is no executable document."""
    try:
        return _read(_tokens(document))
    except (_Malformed, IndexError):  # IndexError: it ends too early
        return []


def _tokens(document: bytes) -> list[bytes]:
    text = document.removeprefix(_BOM)
    if b'"' in text or b"#" in text:
        text = _without_literals(text)
    text = text.translate(_BLANKS).replace(b"...", b" ... ").replace(b"@", b" @ ")
    for punctuator in _PUNCTUATORS:
        text = text.replace(punctuator, b" %b " % punctuator)
    tokens = text.split(None, TOKENS)
    if len(tokens) > TOKENS:
        raise _Malformed
    return tokens


def _without_literals(text: bytes) -> bytes:
    """Strings become a digit (any value will do), comments a blank."""
    pieces: list[bytes] = []
    end = 0
    for match in _LITERAL.finditer(text):
        start, stop = match.span()
        pieces.append(text[end:start])
        pieces.append(b" " if text[start] == 0x23 else b" 0 ")
        end = stop
        if len(pieces) > 2 * LITERALS:
            raise _Malformed
    pieces.append(text[end:])
    found = b"".join(pieces)
    if b'"' in found:
        raise _Malformed
    return found


def _read(tokens: list[bytes]) -> list[Selection]:
    operations: list[tuple[bytes, bytes | None, _Selected]] = []
    fragments: dict[bytes, _Selected] = {}
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token == b"{":
            selected, at = _selection(tokens, at + 1)
            operations.append((b"query", None, selected))
        elif token in KINDS:
            name = None
            at += 1
            if tokens[at][0] in _NAME_START:
                name = _name(tokens[at])
                at += 1
            if tokens[at] == b"(":
                at = _skip(tokens, at, b"(", b")")
            selected, at = _selection(tokens, _opened(tokens, at))
            operations.append((token, name, selected))
        elif token == b"fragment" and tokens[at + 2] == b"on":
            selected, at_next = _selection(tokens, _opened(tokens, at + 4))
            fragments[_name(tokens[at + 1])] = selected
            at = at_next
        else:
            raise _Malformed
    return [_resolved(kind, name, selected, fragments) for kind, name, selected in operations[:OPERATIONS]]


def _selection(tokens: list[bytes], at: int) -> tuple[_Selected, int]:
    """The selection set whose first token is at `at`, and where what follows it is."""
    fields: list[bytes] = []
    spreads: list[bytes] = []
    depth = 1  # inline fragments belong to the set they stand in
    while depth:
        token = tokens[at]
        if token == b"}":
            depth -= 1
            at += 1
        elif token == b"...":
            what = tokens[at + 1]
            if what == b"on":
                _name(tokens[at + 2])
                at = _opened(tokens, at + 3)
                depth += 1
            elif what in (b"@", b"{"):
                at = _opened(tokens, at + 1)
                depth += 1
            else:
                spreads.append(_name(what))
                at = _directives(tokens, at + 2)
        else:
            if tokens[at + 1] == b":":
                at += 2
            fields.append(_name(tokens[at]))
            at += 1
            if tokens[at] == b"(":
                at = _skip(tokens, at, b"(", b")")
            at = _directives(tokens, at)
            if tokens[at] == b"{":
                at = _skip(tokens, at, b"{", b"}")
    return _Selected(fields, spreads), at


def _opened(tokens: list[bytes], at: int) -> int:
    """Behind the brace that opens a selection set, directives before it passed over."""
    at = _directives(tokens, at)
    if tokens[at] != b"{":
        raise _Malformed
    return at + 1


def _directives(tokens: list[bytes], at: int) -> int:
    while at < len(tokens) and tokens[at] == b"@":
        _name(tokens[at + 1])
        at += 2
        if at < len(tokens) and tokens[at] == b"(":
            at = _skip(tokens, at, b"(", b")")
    return at


def _skip(tokens: list[bytes], at: int, opening: bytes, closing: bytes) -> int:
    """Behind the group that opens at `at`."""
    depth = 1
    while depth:
        at += 1
        token = tokens[at]
        if token == closing:
            depth -= 1
        elif token == opening:
            depth += 1
    return at + 1


def _name(token: bytes) -> bytes:
    if token[0] not in _NAME_START or len(token) > NAME_BYTES or token.translate(None, _NAME):
        raise _Malformed
    return token


def _resolved(kind: bytes, name: bytes | None, selected: _Selected, fragments: dict[bytes, _Selected]) -> Selection:
    """With the fields of the fragments that it spreads at its top; each fragment counts once."""
    fields = dict.fromkeys(selected.fields)
    waiting = list(selected.spreads)
    seen: set[bytes] = set()
    for fragment in waiting:  # grows while it is walked
        if fragment in seen:
            continue
        seen.add(fragment)
        found = fragments.get(fragment)
        if found is not None:
            fields.update(dict.fromkeys(found.fields))
            waiting += found.spreads
    return Selection(kind, name, list(fields)[:FIELDS], len(fields) > FIELDS)
