"""Compiles the modules on the path of every record into the environment whose Python runs this: apisensor/compiled.py.

    VENV/bin/python deploy/compile.py [PROJECT]

mypyc makes C of the modules listed in pyproject.toml ([tool.apisensor.compiled]); the distribution's compiler makes one
library of it and, for each module, a small one that refers to it. Nothing is written to PROJECT, this clone unless
another is named. Exit status 1 with what the compiler said where it cannot be done; an earlier build is gone then.
"""

from __future__ import annotations

import ast
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from mypyc.build import mypycify
from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from apisensor.compiled import GROUP, SOURCES, hash_of, place


def modules(project: Path) -> list[str]:
    """Paths of the modules to compile, in the project."""
    table = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["apisensor"]["compiled"]
    return [f"apisensor/{stage}/{name}.py" for stage, names in table.items() for name in names.split()]


def imported(project: Path, path: str) -> Iterator[str]:
    """Paths of the project's modules that a module imports, anywhere."""
    for node in ast.walk(ast.parse((project / path).read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            base = name.replace(".", "/")
            yield from (file for file in (f"{base}.py", f"{base}/__init__.py") if (project / file).is_file())


def sources(project: Path, compiled: list[str]) -> set[str]:
    """What the compiled code depends on: types and constants of what its modules import become part of it."""
    found: set[str] = set()
    waiting = list(compiled)
    while waiting:
        path = waiting.pop()
        if path not in found and path.startswith("apisensor/"):
            found.add(path)
            waiting += imported(project, path)
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


def build(project: Path, scratch: Path) -> Path:
    """Compiles in `scratch`; returns the folder with what was made."""
    paths = modules(project)
    os.chdir(project)  # names of modules follow from paths relative to it
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
    command = ParallelBuild(Distribution({"name": "apisensor", "ext_modules": extensions}))
    command.build_lib, command.build_temp = str(scratch / "made"), str(scratch / "objects")
    command.ensure_finalized()
    command.run()
    depended = [path.removeprefix("apisensor/") for path in sorted(sources(project, paths))]
    (scratch / "made" / SOURCES).write_text("".join(f"{path} {hash_of(path)}\n" for path in depended))
    return scratch / "made"


def main() -> None:
    project = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
    shutil.rmtree(place(), ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="apisensor-compile-") as scratch:
        shutil.move(build(project, Path(scratch)), place())


if __name__ == "__main__":
    main()
