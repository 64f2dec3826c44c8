"""The modules on the path of every record as machine code, where the installer compiled them (deploy/compile.py).

They stay plain Python that runs as it is. What mypyc made of them lies outside of the package, in the environment, with
a list of the sources it was made of, and is found before these. It is used as a whole or not at all, since compiled
modules call each other's C functions: where one source differs from what was compiled, as in a checkout that is
worked on, all are plain. With APISENSOR_PLAIN set they always are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import source_hash, spec_from_file_location
from types import ModuleType

PLAIN = "APISENSOR_PLAIN"
"""Environment variable: not empty, nothing compiled is used."""
GROUP = "apisensor_path"
SHARED = GROUP + "__mypyc"
"""The library that holds all of them, by the name that mypyc gives it; a compiled module itself only refers to it."""
SOURCES = "sources"
"""File of a build: path in the package and hash of every source that it depends on."""

COMPILED = "compiled"
"""What `told` says where they are."""

_PACKAGE = os.path.dirname(__file__)


def place() -> str:
    """The folder of this environment's build; its Python's version is part of the name."""
    return f"{sys.prefix}/lib/apisensor-{sys.implementation.cache_tag}"


def hash_of(path: str) -> str:
    """Of a source, relative to the package: the one of Python's own hash-based .pyc files (PEP 552)."""
    with open(f"{_PACKAGE}/{path}", "rb") as file:
        return source_hash(file.read()).hex()


class Finder:
    """Finds compiled modules; to stand in sys.meta_path before what finds sources."""

    def __init__(self, build: str) -> None:
        self._build = build
        self._usable: bool | None = None

    def find_spec(self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """See importlib.abc.MetaPathFinder."""
        if self._usable is False or not name.startswith("apisensor"):
            return None
        file = f"{self._build}/{name.replace('.', '/')}{EXTENSION_SUFFIXES[0]}"
        if not os.path.exists(file):
            return None
        if self._usable is None:
            self._usable = next(differences(self._build), None) is None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, file)) if self._usable else None


def differences(build: str) -> Iterator[str]:
    """Sources that are not those of the build."""
    with open(f"{build}/{SOURCES}") as file:
        for line in file:
            path, _, made_of = line.rstrip("\n").rpartition(" ")
            if not os.path.exists(f"{_PACKAGE}/{path}") or hash_of(path) != made_of:
                yield path


def use() -> None:
    """Has the modules that are imported from now on found compiled, where that is possible."""
    if not os.environ.get(PLAIN) and os.path.isdir(place()):
        sys.meta_path.insert(0, Finder(place()))


def told() -> str:
    """In words: whether they are compiled, and why not."""
    if os.environ.get(PLAIN):
        return f"plain Python: {PLAIN} is set"
    if not os.path.exists(f"{place()}/{SOURCES}"):
        return "plain Python: not compiled in this environment"
    different = list(differences(place()))
    if different:
        others = f" and {len(different) - 1} more" if len(different) > 1 else ""
        return f"plain Python: {different[0]}{others} changed since they were compiled"
    return COMPILED
