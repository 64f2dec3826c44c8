"""A sensor for all tests of a module, and a server whose calls it sees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers.certificates import Certificate
from tests.peers.nginx import Nginx
from tests.sensor import Sensor


@pytest.fixture(scope="module")
def sensor() -> Iterator[Sensor]:
    """One sensor for all that happens, as on a node."""
    with Sensor() as running:
        yield running


@pytest.fixture
def nginx(tmp_path: Path, certificate: Certificate) -> Iterator[Nginx]:
    made = Nginx(tmp_path / "nginx", certificate)
    yield made
    made.stop()
