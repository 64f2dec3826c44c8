"""The modules on the path of every record, compiled: the same as in plain Python, and never those of other sources."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from apisensor import compiled
from apisensor.compiled import PLAIN, SOURCES, Finder, differences, hash_of
from tests.versioned import PROJECT

TABLE = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["apisensor"]["compiled"]
MODULES = [f"apisensor.{stage}.{name}" for stage, names in TABLE.items() for name in names.split()]


def python(*arguments: str, plain: bool = False) -> str:
    variables = {name: value for name, value in os.environ.items() if name != PLAIN} | ({PLAIN: "1"} if plain else {})
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=PROJECT,
        env=variables,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_they_say_the_same_as_plain_ones() -> None:
    told, *machine = python("-m", "tests.path_outcome").splitlines()
    assert told == compiled.COMPILED, "run .venv/bin/python deploy/compile.py: what is installed is to be tested"
    told, *plain = python("-m", "tests.path_outcome", plain=True).splitlines()
    assert told.startswith("plain")
    assert len(plain) > 4_000
    assert machine == plain


def test_all_of_them_are_found_compiled() -> None:
    said = python("-c", f"import importlib\nfor name in {MODULES}: print(importlib.import_module(name).__file__)")
    files = said.splitlines()
    assert len(files) == len(MODULES) > 40
    assert {file for file in files if not file.startswith(compiled.place())} == set()


def test_none_holds_what_a_compiled_module_cannot() -> None:
    """A msgspec.Struct would lose its fields without a word, and a second call of __init__ would leak the first's."""
    wrong = []
    for name in MODULES:
        for node in ast.walk(ast.parse((PROJECT / f"{name.replace('.', '/')}.py").read_text())):
            if isinstance(node, ast.ClassDef):
                wrong += [f"{name}: {node.name}" for base in node.bases if ast.unparse(base).endswith("Struct")]
                wrong += [f"{name}: {node.name}" for one in node.body if getattr(one, "name", "") == "__call__"]
            if isinstance(node, ast.Attribute) and node.attr == "__init__" and ast.unparse(node.value) != "super()":
                wrong.append(f"{name}: {ast.unparse(node)}")
    assert not wrong


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What looks like a build of one module."""
    (tmp_path / "apisensor" / "streams").mkdir(parents=True)
    (tmp_path / "apisensor" / "streams" / f"lane{EXTENSION_SUFFIXES[0]}").write_bytes(b"")
    names = ("streams/lane.py", "events/model.py")
    (tmp_path / SOURCES).write_text("".join(f"{name} {hash_of(name)}\n" for name in names))
    return tmp_path


def test_only_what_was_compiled_is_found(build: Path) -> None:
    finder = Finder(str(build))
    found = finder.find_spec("apisensor.streams.lane", None)
    assert found is not None
    assert found.origin == str(build / "apisensor" / "streams" / f"lane{EXTENSION_SUFFIXES[0]}")
    assert finder.find_spec("apisensor.streams.limits", None) is None
    assert finder.find_spec("msgspec", None) is None


@pytest.mark.parametrize("changed", ["streams/lane.py", "events/model.py"])
def test_where_a_source_differs_nothing_is_found(build: Path, changed: str) -> None:
    text = (build / SOURCES).read_text()
    (build / SOURCES).write_text(text.replace(hash_of(changed), "0" * 16))
    assert list(differences(str(build))) == [changed]
    assert Finder(str(build)).find_spec("apisensor.streams.lane", None) is None


def test_where_a_source_is_gone_nothing_is_found(build: Path) -> None:
    with (build / SOURCES).open("a") as file:
        file.write(f"elsewhere/gone.py {'0' * 16}\n")
    assert list(differences(str(build))) == ["elsewhere/gone.py"]
    assert Finder(str(build)).find_spec("apisensor.streams.lane", None) is None


def test_a_copy_that_is_worked_on_runs_plain(tmp_path: Path) -> None:
    """This environment's build is there, and of other sources."""
    shutil.copytree(PROJECT / "apisensor", tmp_path / "apisensor", ignore=shutil.ignore_patterns("__pycache__"))
    ask = (
        "from apisensor import compiled; import apisensor.streams.lane as m; print(m.__file__); print(compiled.told())"
    )
    path = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
    assert python("-c", path + ask).splitlines()[1] == compiled.COMPILED
    with (tmp_path / "apisensor" / "events" / "model.py").open("a") as file:
        file.write("# another\n")
    assert python("-c", path + ask).splitlines() == [
        f"{tmp_path}/apisensor/streams/lane.py",
        "plain Python: events/model.py changed since they were compiled",
    ]
    assert python("-c", path + ask, plain=True).splitlines()[1] == f"plain Python: {PLAIN} is set"
