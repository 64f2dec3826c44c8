"""Dependencies point one way along the path of an event; a stranger who knows the order knows who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "apisensor"

ORDER: tuple[frozenset[str], ...] = tuple(
    frozenset(names.split())
    for names in (
        "compiled",
        "sections secret_file spreadsheet",
        "loader",
        "settings",
        "events finder",
        "streams",
        "protocols",
        "transactions",
        "content",
        "redact",
        "enrich",
        "inventory detect",
        "store",
        "export live",
        "replay capture web metrics",
        "processes",
        "cli",
    )
)
"""Along the path. Each may import what stands before it; what stands together does not import each other."""

PURE = ("streams", "protocols", "transactions", "content", "inventory", "detect")
"""Time comes to these with the event, bytes as arguments: no clock, socket, thread or database."""
IMPURE_MODULES = {
    *("asyncio", "concurrent", "multiprocessing", "queue", "subprocess", "threading"),
    *("os", "select", "selectors", "signal", "socket", "sqlite3", "ssl"),
}
CLOCKS = frozenset(
    f"time.{name}{suffix}"
    for name in ("time", "monotonic", "perf_counter", "process_time", "clock_gettime")
    for suffix in ("", "_ns")
) | {"time.sleep", "datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today"}

MODULES = sorted(PACKAGE.rglob("*.py"))
STANDARD_LIBRARY = sys.stdlib_module_names


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports(path: Path, only_at_import: bool = False) -> Iterator[str]:
    """Names of imported modules, absolute. `from a import b` gives a.b where that is a module, else a."""
    nodes = top_level(tree(path)) if only_at_import else ast.walk(tree(path))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; the order is read from absolute ones"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in NAMES else node.module or ""


def top_level(module: ast.Module) -> Iterator[ast.stmt]:
    """What runs when the module is imported; TYPE_CHECKING blocks do not."""
    for node in module.body:
        if isinstance(node, ast.Try):
            yield from node.body
        elif not isinstance(node, ast.If):
            yield node


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(path): path for path in MODULES}


def stage_of(module: str) -> str | None:
    """ "streams" of "apisensor.streams.lane"; None of the package itself and of others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "apisensor" and len(parts) > 1 else None


def rank(stage: str) -> int:
    return next(index for index, stages in enumerate(ORDER) if stage in stages)


def test_every_folder_has_its_place() -> None:
    found = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if holds_python(path)}
    assert found - {"__init__"} == set().union(*ORDER)


def holds_python(path: Path) -> bool:
    return path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    own = stage_of(name_of(path))
    if own is None:
        assert set(imports(path)) == {"apisensor.compiled"}, "the package itself only says how its modules are found"
        return
    wrong = [
        module
        for module in imports(path)
        if (stage := stage_of(module)) is not None and stage != own and rank(stage) >= rank(own)
    ]
    assert not wrong, f"{own} comes before these"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if stage_of(name_of(p)) in PURE], ids=lambda p: p.parent.name + "." + p.stem
)
def test_pure_stages_know_no_clock_and_no_outside(path: Path) -> None:
    assert not {module for module in imports(path) if module.partition(".")[0] in IMPURE_MODULES}
    called = {ast.unparse(node.func) for node in ast.walk(tree(path)) if isinstance(node, ast.Call)}
    assert not called & (CLOCKS | {"open"})
    assert "time" not in {node.module for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}, (
        "import time as a module: the calls are checked by name"
    )


def test_only_the_loader_imports_bcc_and_it_nothing_but_the_standard_library() -> None:
    users = {name for name, path in NAMES.items() if any(m.partition(".")[0] == "bcc" for m in imports(path))}
    assert users == {"apisensor.loader.compiler"}
    modules = {module for path in (PACKAGE / "loader").glob("*.py") for module in imports(path)}
    assert {stage_of(module) for module in modules} == {None, "loader"}
    assert {module.partition(".")[0] for module in modules} <= STANDARD_LIBRARY | {"bcc", "apisensor"}


def test_no_module_needs_itself_to_be_imported() -> None:
    graph = {name: {m for m in imports(path, True) if m in NAMES and m != name} for name, path in NAMES.items()}
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " -> ".join((*above, name))
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*above, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_checks_see_what_they_are_for(tmp_path: Path) -> None:
    path = tmp_path / "probe.py"
    path.write_text("import apisensor.cli.main\nfrom apisensor.events import model\nfrom time import time\n")
    assert set(imports(path)) == {"apisensor.cli.main", "apisensor.events.model", "time"}
    assert rank("cli") > rank("events")
    assert stage_of("apisensor") is None


@pytest.mark.parametrize("part", ["run", "capture", "worker", "core", "web"])
def test_only_the_finder_loads_what_reads_elf(part: str) -> None:
    """Files of containers are not parsed with privilege, and a parser that is not loaded takes no memory."""
    readers = {"elftools", "capstone"}
    code = f"import sys, apisensor.processes.{part}; print(sorted({readers} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_what_supervises_loads_nothing_that_only_the_start_needs() -> None:
    """It is there for as long as the sensor, beside the parts (processes/supervising.py)."""
    unwanted = {
        "click",
        "re2",
        "tomllib",
        "apisensor.settings",
        "apisensor.detect",
        "apisensor.export",
        "apisensor.web",
    }
    code = f"import sys, apisensor.processes.supervising; print(sorted({unwanted} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
