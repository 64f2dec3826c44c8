"""The lock files: what is installed is exact, checked, allowed by pyproject.toml, and names no place it came from."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.versioned import PROJECT

LOCKS = PROJECT / "deploy" / "lock"
PYTHONS = ["3.11", "3.12"]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def locked(name: str) -> list[tuple[Requirement, int]]:
    """Each requirement of a lock file with the number of its hashes."""
    text = (LOCKS / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return [(Requirement(line.split("--hash")[0].strip()), len(HASH.findall(line))) for line in lines]


def versions(name: str, python: str) -> dict[str, str]:
    """Normalized project name -> version, of what is installed on Linux x86-64 under that Python."""
    environment = {
        "python_version": python,
        "python_full_version": f"{python}.2",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for requirement, _ in locked(name)
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }


def wanted(*extras: str) -> list[Requirement]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in listed]


@pytest.mark.parametrize("name", ["runtime.txt", "test.txt", "go.txt"])
def test_every_line_is_exact_and_hashed(name: str) -> None:
    lines = locked(name)
    assert lines
    for requirement, hashes in lines:
        assert [specifier.operator for specifier in requirement.specifier] == ["=="], requirement
        assert requirement.url is None
        assert hashes, requirement


@pytest.mark.parametrize("name", ["runtime.txt", "test.txt", "go.txt"])
def test_no_line_says_where_to_download(name: str) -> None:
    text = (LOCKS / name).read_text()
    assert not re.findall(r"://|--(?:extra-)?index-url|--find-links|--trusted-host", text)


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("name", "extras"), [("runtime.txt", []), ("test.txt", ["test"])])
def test_lock_satisfies_pyproject(name: str, extras: list[str], python: str) -> None:
    found = versions(name, python)
    for requirement in wanted(*extras):
        version = found.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not locked: deploy/lock/renew"
        assert requirement.specifier.contains(version, prereleases=True), f"{requirement}, but {version} is locked"


@pytest.mark.parametrize("python", PYTHONS)
def test_tests_run_with_what_is_installed_on_a_node(python: str) -> None:
    runtime = versions("runtime.txt", python)
    assert {name: versions("test.txt", python).get(name) for name in runtime} == runtime


def test_bcc_is_never_taken_from_the_python_index() -> None:
    assert all("bcc" not in versions(name, "3.11") for name in ("runtime.txt", "test.txt"))
    assert "python3-bpfcc" in (PROJECT / "deploy" / "packages.txt").read_text()
