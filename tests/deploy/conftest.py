"""A copy of the files under version control, and rooms to install it in."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.room import Room
from tests.versioned import PROJECT, versioned_files


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a newcomer's clone holds. The test may change it; the room sees it at /run/room."""
    target = tmp_path / "clone"
    for path in versioned_files():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / path, target / path, follow_symlinks=False)
    return target


@pytest.fixture
def room(clone: Path, tmp_path: Path) -> Iterator[Room]:
    """A machine on which the sensor was never installed: what this one may have of it is taken away inside the room."""
    place = tmp_path / "room"
    place.mkdir()
    with Room(place, clone) as entered:
        # Without it the packages that came for the tests do not count as the sensor's.
        entered.run("rm", "-rf", "/opt/apisensor/debian-packages")
        entered.run("./deploy/uninstall")
        yield entered
