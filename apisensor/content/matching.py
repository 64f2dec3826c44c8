"""RE2 for hostile text: linear in its length whatever the pattern. The only importer of re2, which has no type stubs.

Patterns are over bytes (Latin-1: one byte is one character), so that text need not be valid UTF-8 to be searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import re2  # type: ignore[import-untyped]


class Match(Protocol):
    """What the patterns' users need of a match."""

    def group(self, group: int = 0, /) -> bytes: ...
    def start(self, group: int = 0, /) -> int: ...
    def end(self, group: int = 0, /) -> int: ...
    def span(self, group: int = 0, /) -> tuple[int, int]: ...


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: bytes, /) -> Match | None: ...
    def match(self, text: bytes, /) -> Match | None: ...
    def fullmatch(self, text: bytes, /) -> Match | None: ...
    def finditer(self, text: bytes, /) -> Iterator[Match]: ...


def compiled(pattern: str) -> Pattern:
    """One pattern."""
    regex: Pattern = re2.compile(pattern.encode("latin-1"), _options())
    return regex


def joined(patterns: list[str]) -> Callable[[bytes], list[int] | None]:
    """All patterns in one automaton: text -> indices of the patterns that match somewhere in it, or None."""
    search_set = re2.Set.SearchSet(_options())
    for pattern in patterns:
        search_set.Add(pattern.encode("latin-1"))
    search_set.Compile()
    match: Callable[[bytes], list[int] | None] = search_set.Match
    return match


def _options() -> object:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return options
