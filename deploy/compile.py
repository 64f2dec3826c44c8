"""Compiles the modules on the path of every record into the environment whose Python runs this: apisensor/compiled.py.

    VENV/bin/python deploy/compile.py [--is-current]

mypyc makes C of the modules listed in pyproject.toml ([tool.apisensor.compiled]); the distribution's compiler makes one
library of it and, for each module, a small one that refers to it. Nothing is written to this clone. Exit status 1 with
what the compiler said where it cannot be done. --is-current only looks: exit status 0 where there is nothing to do.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from apisensor.compiled import COMPILED, GROUP, SOURCES, hash_of, place, told

PROJECT = Path(__file__).resolve().parents[1]
RECIPE = "recipe"
"""File of a build: hash of what decides how it is made."""


def modules() -> list[str]:
    """Paths of the modules to compile, in the project."""
    table = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["apisensor"]["compiled"]
    names = [f"{stage}.{name}" for stage, several in table.items() for name in several.split()]
    return [f"apisensor/{name.replace('.', '/')}.py" for name in names]


def imported(path: str) -> Iterator[str]:
    """Paths of the project's modules that a module imports, anywhere."""
    for node in ast.walk(ast.parse((PROJECT / path).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            base = name.replace(".", "/")
            yield from (file for file in (f"{base}.py", f"{base}/__init__.py") if (PROJECT / file).is_file())


def sources(compiled: list[str]) -> set[str]:
    """What the compiled code depends on: types and constants of what its modules import become part of it."""
    found: set[str] = set()
    waiting = list(compiled)
    while waiting:
        path = waiting.pop()
        if path not in found and path.startswith("apisensor/"):
            found.add(path)
            waiting += imported(path)
    return found


class ParallelBuild(build_ext):
    """Compiles several C files at a time: setuptools itself does so for extensions only, and this is one."""

    def build_extensions(self) -> None:
        """Every extension, with a compiler that hands each file to a pool."""
        compiler, one_after_the_other = self.compiler, self.compiler.compile
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def compile_all(files: list[str], *args: Any, **kwargs: Any) -> list[str]:
                done = pool.map(lambda file: one_after_the_other([file], *args, **kwargs), files)
                return [made for one in done for made in one]

            compiler.compile = compile_all
            super().build_extensions()


def build(scratch: Path) -> Path:
    """Compiles in `scratch`; returns the folder with what was made."""
    paths = modules()
    os.chdir(PROJECT)  # names of modules follow from paths relative to it
    options = ["--config-file=pyproject.toml", f"--cache-dir={scratch}/types", "--follow-imports=silent"]
    # Types were checked with the tests; here stubs that only these need may be missing.
    options += ["--ignore-missing-imports", "--no-warn-unused-ignores", "--allow-subclassing-any"]
    extensions = mypycify(
        [*options, *paths],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        target_dir=f"{scratch}/c",
        group_name=GROUP,
    )
    for extension in extensions:
        extension.extra_compile_args.append("-Wno-error")  # of a compiler that is newer than mypyc
    command = ParallelBuild(Distribution({"name": "apisensor", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(scratch / "made"), str(scratch / "objects")
    command.ensure_finalized()
    command.run()
    depended = [path.removeprefix("apisensor/") for path in sorted(sources(paths))]
    (scratch / "made" / SOURCES).write_text("".join(f"{path} {hash_of(path)}\n" for path in depended))
    (scratch / "made" / RECIPE).write_text(recipe())
    return scratch / "made"


def recipe() -> str:
    """Changes where another build would be made of the same sources."""
    parts = [Path(__file__).read_text(), *modules(), version("mypy"), sys.version]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_current() -> bool:
    """Whether there is nothing to do."""
    made = Path(place(), RECIPE)
    return made.exists() and made.read_text() == recipe() and told() == COMPILED


def main() -> int:
    if sys.argv[1:] == ["--is-current"]:
        return int(not is_current())
    with tempfile.TemporaryDirectory(prefix="apisensor-compile-") as scratch:
        made = build(Path(scratch))
        shutil.rmtree(place(), ignore_errors=True)
        shutil.move(made, place())
    return 0


if __name__ == "__main__":
    sys.exit(main())
