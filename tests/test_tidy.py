"""What a clone must and must not hold."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.versioned import PROJECT, versioned_files

MAXIMUM_BYTES = 2_000_000
"""Recordings and pictures included: a clone stays quick."""

FOREIGN = {
    # Where packages come from is the machine's setting (a mirror, a proxy), never the project's.
    "the host of a package registry": (
        r"deb[.]debian[.]org|security[.]debian[.]org|snapshot[.]debian[.]org|archive[.]ubuntu[.]com|nodesource[.]com"
        r"|pypi[.]org|pythonhosted[.]org|registry[.]npmjs[.]org|proxy[.]golang[.]org|sum[.]golang[.]org|crates[.]io"
    ),
    # `/home/user/...` of a person, or a folder that only one machine has.
    "a path of one machine": r"(?<![\w.$}-])/(?:wor[k]|Users|root/projec[t])/",
}


def files() -> list[Path]:
    return [path for path in versioned_files() if not (PROJECT / path).is_symlink()]


@pytest.mark.parametrize("what", FOREIGN)
def test_no_file_names(what: str) -> None:
    pattern = re.compile(FOREIGN[what])
    found = []
    for path in files():
        text = (PROJECT / path).read_bytes().decode(errors="replace")
        lines = enumerate(text.splitlines(), 1)
        found += [f"{path}:{number}: {line[:120]}" for number, line in lines if pattern.search(line)]
    assert not found, what


def test_no_file_is_large() -> None:
    sizes = {str(path): (PROJECT / path).stat().st_size for path in files()}
    assert sizes
    assert not {path: size for path, size in sizes.items() if size > MAXIMUM_BYTES}


def test_readme_mentions_every_top_level_name() -> None:
    readme = (PROJECT / "README.md").read_text()
    names = {path.parts[0] for path in versioned_files()} - {"README.md"}
    assert not {name for name in names if not re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w-])", readme)}


@pytest.mark.parametrize("page", [path for path in versioned_files() if path.suffix == ".md"], ids=str)
def test_links_lead_somewhere(page: Path) -> None:
    text = (PROJECT / page).read_text()
    targets = [target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target]
    assert targets or page != Path("README.md")
    assert not [target for target in targets if not (PROJECT / page.parent / target).exists()]


def test_readme_mentions_every_stage() -> None:
    row = next(line for line in (PROJECT / "README.md").read_text().splitlines() if line.startswith("| `apisensor/` |"))
    stages = {path.parts[1].removesuffix(".py") for path in versioned_files() if path.parts[0] == "apisensor"}
    assert set(re.findall(r"`(\w+)`", row)) == stages - {"__init__", "bpf"}


def test_the_map_of_the_processes_is_complete() -> None:
    folder = PROJECT / "apisensor" / "processes"
    map_ = (folder / "__init__.py").read_text()
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert not {name for name in modules if not re.search(rf"\b{name}\b", map_)}


def test_files_that_are_named_are_there() -> None:
    """In comments and documents: from the top, as in docs/store.md, or from a stage, as in live/server.py.

    Names in capitals are of other projects.
    """
    there = {str(path) for path in versioned_files()}
    folders = {path.split("/")[-2] for path in there if path.count("/") and path.endswith((".py", ".h"))} | {
        "docs",
        "protos",
    }
    named = re.compile(rf"(?<![\w/.*-])((?:{'|'.join(sorted(folders))})/[\w/-]+\.(?:py|h|md|proto|txt)|[a-z_-]+\.md)\b")
    missing = set()
    for page in there:
        if page.endswith((".py", ".md", ".h", ".c", ".sh", ".toml")):
            for name in named.findall((PROJECT / page).read_text(errors="replace")):
                if not any(path == name or path.endswith(f"/{name}") for path in there):
                    missing.add(f"{page}: {name}")
    assert not missing


def test_private_names_are_used() -> None:
    """What a module keeps for itself it uses: a linter looks for that only within functions."""
    unused = set()
    for page in versioned_files():
        if page.suffix != ".py" or page.stem.endswith("_pb2"):  # which protoc writes
            continue
        text = (PROJECT / page).read_text()
        for name in _given(ast.parse(text)):
            if re.match("_[^_]", name) and len(re.findall(rf"\b{name}\b", text)) == 1:
                unused.add(f"{page}: {name}")
    assert not unused


def _given(module: ast.Module) -> Iterator[str]:
    """Names of a module's own; not of what is decorated, as pytest finds a fixture by itself, nor several at a time,
    as an enumeration may go on without its first."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.decorator_list:
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))
